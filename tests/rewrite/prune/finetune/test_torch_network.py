"""The graph as a torch module: the same function, more images at once, and back under the same names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgevision import ingest, zoo
from edgevision.finetuning import named_as
from edgevision.measure.reference import open_session
from edgevision.rewrite.prune import prune
from edgevision.rewrite.prune.finetune.fresh import draw
from edgevision.rewrite.prune.finetune.normalization import FILTER_LENGTH, filter_lengths
from edgevision.rewrite.prune.finetune.torch_network import NotAClassifierError, TorchNetwork, scores
from tests.rewrite.nets import Net
from tests.rewrite.prune.oracle import resized
from tests.rewrite.prune.styles import normal_form

CLASSIFIERS = ("shufflenet", "shufflenet-v2", "densenet", "ghost")
NEAR = 1e-4
"""Relative to the largest score. Other orders of float32 sums stay below 2e-6; a wrong statistic is off by 1e-2."""


def images(proto: onnx.ModelProto, count: int = 6, seed: int = 0) -> np.ndarray:
    _, *shape = (axis.dim_value for axis in proto.graph.input[0].type.tensor_type.shape.dim)
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def expected(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """onnxruntime, image by image."""
    session = open_session(ingest.to_onnx(proto).SerializeToString(), 1)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: each[None]})[0] for each in x]).reshape(len(x), -1)


def error(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_network_is_the_same_in_torch_and_back(name: str) -> None:
    proto = normal_form(name)
    x = images(proto)
    network, wanted = TorchNetwork(proto), expected(proto, x)
    assert error(scores(network, x), wanted) < NEAR
    network.normalise([torch.from_numpy(images(proto, 32, seed=1))])
    assert len(network.norms) > 1
    assert error(scores(network, x), wanted) < NEAR
    back = network.to_proto()
    assert error(expected(back, x), wanted) < NEAR
    kept = {tensor.name: list(tensor.dims) for tensor in back.graph.initializer}
    assert {t.name: list(t.dims) for t in proto.graph.initializer}.items() <= kept.items()
    assert [(node.op_type, node.name, *node.output) for node in back.graph.node] == [
        (node.op_type, node.name, *node.output) for node in proto.graph.node
    ]


def test_trained_statistics_are_folded() -> None:
    """After steps that change everything, the file computes what the module does in inference."""
    proto = normal_form("densenet")
    network = TorchNetwork(proto)
    x = torch.from_numpy(images(proto, 16))
    network.normalise([x])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    network.train()
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), torch.arange(16) % 10).backward()
        optimizer.step()
    before = expected(proto, x.numpy())
    after = scores(network, x.numpy())
    assert error(after, before) > 0.05
    assert error(expected(network.to_proto(), x.numpy()), after) < NEAR


def test_recalibration_takes_the_statistics_of_all_batches() -> None:
    proto = normal_form("ghost")
    network = TorchNetwork(proto)
    network.normalise(None)
    draw(network, 0)
    batches = [torch.from_numpy(images(proto, 8, seed=seed)) for seed in range(3)]
    seen: list[torch.Tensor] = []
    first = next(node for node in network.network.nodes if node.name in network.norm_of)
    with torch.no_grad():
        network.train()
        for batch in batches:
            network(batch, lambda node, result: seen.append(result) if node.name == first.name else None)
    network.recalibrate(batches)
    norm = network.norm_of[first.name]
    means = torch.stack([result.mean((0, 2, 3)) for result in seen])
    spreads = torch.stack([result.var((0, 2, 3)) for result in seen])
    torch.testing.assert_close(norm.mean, means.mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(norm.variance, spreads.mean(0), rtol=1e-4, atol=1e-6)
    assert not network.training and norm.momentum == 0.1


def classifier(tail: Callable[[Net, str], str], weight_of_two: bool = False, bias_of_two: bool = False) -> onnx.ModelProto:
    """Two 1x1 convolutions that may share constants, pooled to 4 classes."""
    net = Net(dtype=np.float32)
    x = net.input([1, 4, 5, 5])
    weights = [net.normal(4, 4, 1, 1) for _ in range(2)]
    biases = [net.normal(4) for _ in range(2)]
    for place in range(2):
        weight, bias = weights[0 if weight_of_two else place], biases[0 if bias_of_two else place]
        x = net.node("Relu", net.node("Conv", x, weight, bias))
    return ingest.read(net.model(tail(net, net.node("Flatten", net.node("GlobalAveragePool", x)))), simplify=False).proto


def plain(net: Net, x: str) -> str:
    return net.node("Gemm", x, net.normal(4, 4))


def soft(net: Net, x: str) -> str:
    return net.node("Softmax", plain(net, x), axis=1)


def test_scores_are_those_before_a_last_softmax() -> None:
    proto = classifier(soft)
    network, x = TorchNetwork(proto), images(proto)
    assert error(scores(network, x), expected(proto, x)) < NEAR
    with torch.no_grad():
        assert float(network(torch.from_numpy(x)).sum(1).sub(1).abs().min()) > 0.01


def test_a_softmax_inside_stays() -> None:
    proto = classifier(lambda net, x: plain(net, soft(net, x)))
    assert error(scores(TorchNetwork(proto), images(proto)), expected(proto, images(proto))) < NEAR


@pytest.mark.parametrize("shared", ["weight_of_two", "bias_of_two"])
def test_constants_that_two_convolutions_share_stay_right(shared: str) -> None:
    """A shared weight gets no BatchNormalization; a shared bias is no longer shared."""
    proto = classifier(plain, **{shared: True})
    network, x = TorchNetwork(proto), images(proto)
    network.normalise([torch.from_numpy(images(proto, 16, seed=1))])
    assert len(network.norms) == (0 if shared == "weight_of_two" else 2)
    assert error(expected(network.to_proto(), x), expected(proto, x)) < NEAR


def test_squeeze_and_excitation_gets_no_batch_normalization() -> None:
    """A convolution of one pixel has one value an image; a batch says little about it. One of two pixels gets one."""
    for extent, count in ((5, 1), (6, 2)):
        net = Net(dtype=np.float32)
        x = net.node("Relu", net.conv(net.input([1, 4, extent, 5]), 4, 4, 3, bias=True, pads=[1] * 4))
        pooled = net.node("MaxPool", x, kernel_shape=[3, 5], strides=[3, 1])
        gate = net.node("Sigmoid", net.conv(pooled, 4, 4, 1, bias=True))
        flat = net.node("Flatten", net.node("GlobalAveragePool", net.node("Mul", x, net.node("GlobalMaxPool", gate))))
        network = TorchNetwork(ingest.read(net.model(plain(net, flat)), simplify=False).proto)
        network.normalise(None)
        assert len(network.norms) == count


def test_single_numbers_and_the_inputs_scaling_are_not_trained() -> None:
    net = Net(dtype=np.float32)
    x = net.node("Mul", net.input([1, 4, 5, 5]), net.normal(4, 1, 1))
    x = net.node("Relu", net.node("Add", x, net.constant(np.float32(3))))
    affine = net.normal(4, 1, 1)
    x = net.node("Relu", net.node("Mul", x, affine))
    pooled = net.node("Flatten", net.node("GlobalAveragePool", x))
    network = TorchNetwork(ingest.read(net.model(plain(net, pooled)), simplify=False).proto)
    sizes = [tuple(weight.shape) for weight in network.weights]
    assert sorted(sizes) == [(4, 1, 1), (4, 4)]


def test_fresh_weights_come_from_the_seed() -> None:
    proto = normal_form("shufflenet-v2")
    drawn = []
    for seed in (0, 0, 1):
        network = TorchNetwork(proto)
        network.normalise(None)
        draw(network, seed)
        drawn.append(network)
    one, same, other = ([weight.detach() for weight in network.weights] for network in drawn)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True) if a.ndim > 1)
    convolution = next(node for node in drawn[0].network.nodes if node.op == "Conv")
    lengths = filter_lengths(convolution, drawn[0].value(convolution.inputs[1]).detach())
    torch.testing.assert_close(lengths, torch.full_like(lengths, FILTER_LENGTH))
    old = numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == convolution.inputs[1]))
    assert not np.allclose(drawn[0].value(convolution.inputs[1]).detach().numpy(), old)


@pytest.mark.parametrize(("name", "message"), [("ssd", "2 outputs"), ("unet", r"has shape \[1, 2, 16, 16\]")])
def test_other_networks_are_refused(name: str, message: str) -> None:
    with pytest.raises(NotAClassifierError, match=message):
        TorchNetwork(normal_form(name))


def test_the_names_of_a_pruned_file_survive_training() -> None:
    """What is read from prune's file and written again after training holds the same tensors and nodes."""
    pruned = ingest.to_onnx(prune(normal_form("ghost"), 0.6, round_to=4).proto)
    model = ingest.read(pruned, simplify=False)
    network = TorchNetwork(model.proto)
    network.normalise([torch.from_numpy(images(pruned, 8))])
    trained = ingest.to_onnx(network.to_proto())
    written = named_as(model.original, trained)
    first, second = ({t.name: tuple(t.dims) for t in each.graph.initializer} for each in (pruned, written))
    assert first == second
    assert [node.name for node in written.graph.node] == [node.name for node in pruned.graph.node]
    x = images(pruned)
    assert error(expected(ingest.read(written, simplify=False).proto, x), expected(model.proto, x)) < NEAR


@pytest.mark.large
@pytest.mark.parametrize("name", ["ghostnet-0.5", "mobilenetv2-1.0", "mobilenetv3-small", "repvgg-a0", "parnet-s"])
def test_a_network_of_the_zoo_is_the_same_in_torch_and_back(name: str, tmp_path: Path) -> None:
    proto = resized(zoo.export(name, tmp_path / "network.onnx"), 64, simplify=False).proto
    x = images(proto, 3)
    network, wanted = TorchNetwork(proto), expected(proto, x)
    assert error(scores(network, x), wanted) < NEAR
    network.normalise([torch.from_numpy(images(proto, 8, seed=1))])
    assert error(expected(network.to_proto(), x), wanted) < 10 * NEAR
