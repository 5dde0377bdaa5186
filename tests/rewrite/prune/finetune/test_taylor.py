"""Taylor importance: the gradient is that of finite differences, and it finds filters that the loss does not feel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgevision
from edgevision import ingest
from edgevision.errors import InputError
from edgevision.rewrite.prune.finetune.taylor import taylor
from edgevision.rewrite.prune.finetune.torch_network import NotAClassifierError, TorchNetwork
from edgevision.rewrite.prune.importance import Filters, layers_of
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.reparam.interpreter import Interpreter
from tests.measure.photographs import folder_of_images
from tests.rewrite.nets import Net

CLASSES, SIDE, IMAGES = 3, 5, 4
random = np.random.default_rng(3)
PICTURES = random.standard_normal((IMAGES, 3, SIDE, SIDE)).astype(np.float32)
LABELS = np.array([0, 1, 2, 1])


def classifier(width: int = 4, classes: int = CLASSES, *, ignored: int = 0) -> onnx.ModelProto:
    """Two convolutions, the second upsampling, and a Gemm that gives the first ``ignored`` channels no weight."""
    net = Net(dtype=np.float32)
    x = net.node("Tanh", net.conv(net.input([1, 3, SIDE, SIDE]), 3, width, 3, bias=True, pads=[1] * 4))
    x = net.node("Tanh", net.node("ConvTranspose", x, net.normal(width, width, 2, 2), strides=[2, 2]))
    weight = net.random.standard_normal((width, classes))
    weight[:ignored] = 0
    flat = net.node("Flatten", net.node("GlobalAveragePool", x))
    return ingest.read(net.model(net.node("Gemm", flat, net.constant(weight))), simplify=False).proto


def loss(proto: onnx.ModelProto) -> float:
    """Cross-entropy of one picture at a time, in float64."""
    network = Interpreter(ingest.to_onnx(proto), np.float64)
    scores = np.concatenate([next(iter(network.final({"x": each[None].astype(np.float64)}).values())) for each in PICTURES])
    shifted = scores - scores.max(1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(IMAGES), LABELS]).mean())


def moved(proto: onnx.ModelProto, name: str, index: tuple[int, ...], step: float) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    tensor = next(each for each in copy.graph.initializer if each.name == name)
    value = numpy_helper.to_array(tensor).copy()
    value[index] += step
    tensor.CopyFrom(numpy_helper.from_array(value, name))
    return copy


def by_node(proto: onnx.ModelProto) -> dict[str, Filters]:
    return {each.node: each for each in layers_of(Network(proto), {})}


def test_scores_are_those_of_finite_differences() -> None:
    proto = classifier(width=2)
    score = taylor(TorchNetwork(proto), [(PICTURES, LABELS)])
    step = 1e-2
    for node, axis in (("Conv", 0), ("ConvTranspose", 1), ("Gemm", 1)):
        proto_node = next(each for each in proto.graph.node if each.op_type == node)
        transposed = node == "Gemm" and any(each.name == "transB" and each.i for each in proto_node.attribute)
        axis = 0 if transposed else axis
        tensor = next(each for each in proto.graph.initializer if each.name == proto_node.input[1])
        weight = numpy_helper.to_array(tensor)
        change = np.zeros(weight.shape)
        for index in np.ndindex(*weight.shape):
            ends = [loss(moved(proto, tensor.name, index, sign * step)) for sign in (1, -1)]
            change[index] = abs(float(weight[index]) * (ends[0] - ends[1]) / (2 * step))
        expected = change.sum(tuple(each for each in range(weight.ndim) if each != axis))
        assert np.allclose(score(by_node(proto)[proto_node.name]), expected, rtol=2e-3)


def test_batches_add_up() -> None:
    proto = classifier()
    both = taylor(TorchNetwork(proto), [(PICTURES[:2], LABELS[:2]), (PICTURES[2:], LABELS[2:])])
    parts = [taylor(TorchNetwork(proto), [(PICTURES[i : i + 2], LABELS[i : i + 2])]) for i in (0, 2)]
    for each in by_node(proto).values():
        assert np.allclose(both(each), parts[0](each) + parts[1](each), rtol=1e-5)


def test_what_the_loss_does_not_feel_goes_first(tmp_path: Path) -> None:
    """Their weights are as large as the others', so no magnitude finds them."""
    folder = folder_of_images(tmp_path / "images", size=(SIDE, SIDE))
    proto = ingest.to_onnx(classifier(width=16, classes=5, ignored=8))
    result = edgevision.prune(proto, keep=0.75, importance="taylor", data=folder)
    before, after = (
        next(numpy_helper.to_array(t) for t in each.graph.initializer if len(t.dims) == 2)
        for each in (result.model.proto, result.pruned.proto)
    )
    assert 5 in before.shape and np.abs(before).sum() == pytest.approx(np.abs(after).sum(), rel=1e-6)
    by_size = edgevision.prune(proto, keep=0.75, importance="l1")
    assert np.abs(next(numpy_helper.to_array(t) for t in by_size.pruned.proto.graph.initializer if len(t.dims) == 2)).sum() < (
        0.9 * np.abs(before).sum()
    )


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    folder = folder_of_images(tmp_path / "images", size=(SIDE, SIDE))
    proto = ingest.to_onnx(classifier(width=16, classes=5))
    with pytest.raises(InputError, match="give them with --data DIR"):
        edgevision.prune(proto, keep=0.5, importance="taylor")
    with pytest.raises(InputError, match="--data is for --importance taylor"):
        edgevision.prune(proto, keep=0.5, importance="l1", data=folder)
    with pytest.raises(InputError, match="no such folder"):
        edgevision.prune(proto, keep=0.5, importance="taylor", data=tmp_path / "none")
    with pytest.raises(InputError):
        edgevision.prune(ingest.to_onnx(classifier(width=16, classes=3)), keep=0.5, importance="taylor", data=folder)
    with pytest.raises(InputError, match="one class|single class|class"):
        edgevision.prune(proto, keep=0.5, importance="taylor", data=folder_of_images(tmp_path / "one", classes=1))
    net = Net(dtype=np.float32)
    segmenter = net.model(net.conv(net.conv(net.input([1, 3, 6, 6]), 3, 16, 1), 16, 2, 1))
    with pytest.raises(NotAClassifierError):
        edgevision.prune(segmenter, keep=0.5, importance="taylor", data=folder)
