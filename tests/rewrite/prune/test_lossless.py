"""Dead channels go and the function stays; each thing that keeps one alive is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgevision import ingest
from edgevision.rewrite.prune.border import border_map, pays
from edgevision.rewrite.prune.lossless import DeadChannels, prune_lossless
from edgevision.rewrite.prune.pruning import Pruned
from tests.rewrite.nets import Net, evaluated
from tests.rewrite.prune.oracle import EXACT, check_shapes, outputs

DEAD, CHANNELS = 3, 8


def network(
    *, bias: float = -1.0, weight: float = 0.0, activation: str = "Relu", pads: int | list[int] = 0, after: str = "Conv",
    dead: int = DEAD, kernel: int = 3, **consumer: Any,
) -> onnx.ModelProto:  # fmt: skip
    """A 1x1 convolution whose first filters have all weights and biases as given, an activation, a consumer."""
    net = Net(dtype=np.float32)
    weights = net.random.standard_normal((CHANNELS, 3, 1, 1))
    biases = net.random.standard_normal(CHANNELS) + 2
    weights[:dead], biases[:dead] = weight, bias
    x = net.node("Conv", net.input([1, 3, 6, 6]), net.constant(weights), net.constant(biases))
    x = net.node(activation, x)
    if after == "Softmax":
        x = net.node("Softmax", x, axis=1)
    if after == "ConvTranspose":
        return net.model(net.node("ConvTranspose", x, net.normal(CHANNELS, 2, 3, 3)))
    sides = [pads] * 4 if isinstance(pads, int) else pads
    return net.model(net.conv(x, CHANNELS, 2, kernel, pads=sides, **consumer))


def pruned(proto: onnx.ModelProto, round_to: int = 1, **ranges: tuple[float, float]) -> tuple[Pruned, DeadChannels]:
    normal = ingest.read(proto, simplify=False).proto
    result, dead = prune_lossless(normal, ranges, round_to=round_to)
    check_shapes(result.proto)
    before, after = outputs(normal), outputs(result.proto)
    for name, value in before.items():
        assert np.ptp(value) > 0
        # A folded bias is rounded to float32, so it can only be exact to that where a constant was folded.
        exact = EXACT if not any("/folded" in t.name for t in result.proto.graph.initializer) else 1e-6
        assert np.abs(value - after[name]).max() <= exact * np.abs(value).max()
    return result, dead


def test_filters_of_zeros_behind_a_relu_go() -> None:
    result, dead = pruned(network(pads=1))
    assert dead.removed == DEAD and result.changed[0].after == CHANNELS - DEAD
    assert dead.near[0].filters == DEAD


def test_a_constant_goes_into_the_bias_where_nothing_is_padded() -> None:
    assert pruned(network(bias=0.5))[1].removed == DEAD
    assert pruned(network(bias=0.5, activation="Sigmoid"))[1].removed == DEAD
    assert pruned(network(bias=0.5, activation="HardSwish"))[1].removed == DEAD


PADDED: dict[str, dict[str, Any]] = {
    "sigmoid(0)": {"bias": 0.0, "activation": "Sigmoid", "pads": 1},
    "with a bias": {"pads": 1, "bias": 0.5},
    "asymmetric": {"pads": [0, 1, 2, 0]},
    "strided": {"pads": [1] * 4, "strides": [2, 2]},
    "dilated": {"pads": [2] * 4, "dilations": [2, 2]},
    "more padding than kernel": {"pads": [4] * 4},
    "groups": {"pads": [1] * 4, "group": 2, "dead": 6},
}


@pytest.mark.parametrize("given", PADDED.values(), ids=PADDED)
def test_a_constant_becomes_a_map_where_the_consumer_pads(given: dict[str, Any]) -> None:
    proto = network(**{"bias": 0.5, **given})
    result, dead = pruned(proto)
    assert dead.removed >= DEAD
    assert [node.op_type for node in result.proto.graph.node].count("Add") == 1
    (folded,) = (each for each in result.proto.graph.initializer if "/folded" in each.name)
    assert np.ptp(numpy_helper.to_array(folded), axis=(2, 3)).max() > 0


@pytest.mark.parametrize("given", [{}, {"strides": [2, 1]}, {"dilations": [1, 2]}, {"pads": [1, 0, 0, 3]}, {"group": 2}])
def test_a_border_map_is_the_convolution_of_constants(given: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    attributes = {"strides": [1, 1], "dilations": [1, 1], "pads": [1, 1, 1, 1], "group": 1, **given}
    weight, value = random.standard_normal((4, 6 // attributes["group"], 3, 3)), random.standard_normal(6)
    net = Net()
    y = net.node("Conv", net.input([1, 6, 7, 5]), net.constant(weight), **attributes)
    image = np.broadcast_to(value[:, None, None], (6, 7, 5))[None]
    (expected,) = evaluated(net.model(y), {"x": image})
    found = border_map(weight, value, (7, 5), attributes)
    assert np.abs(found - expected[0]).max() <= 1e-12 * np.abs(expected).max()


def test_a_map_pays_from_seven_taps_a_pixel() -> None:
    one, nine = np.ones((16, 8, 1, 1)), np.ones((16, 8, 3, 3))
    assert pays(1, nine, 100) and pays(7, one, 10_000)
    assert not pays(6, one, 10_000)


def test_a_relu_that_never_fires_for_the_range_given() -> None:
    proto = network(weight=0.5, bias=-2.0, pads=1)
    assert pruned(proto)[1].removed == 0
    assert outputs(ingest.read(proto, simplify=False).proto)  # random inputs reach further than the range
    normal = ingest.read(proto, simplify=False).proto
    assert prune_lossless(normal, {"x": (-1.0, 1.0)}, round_to=1)[1].removed == DEAD
    assert prune_lossless(normal, {"x": (-1.0, 1.4)}, round_to=1)[1].removed == 0


def test_a_bounded_activation_says_enough_without_a_range() -> None:
    net = Net(dtype=np.float32)
    x = net.node("Sigmoid", net.conv(net.input([1, 3, 6, 6]), 3, 4, 1, bias=True))
    weights, biases = net.random.standard_normal((CHANNELS, 4, 1, 1)), np.full(CHANNELS, 0.5)
    weights[:2], biases[:2] = 0.25, -1.5  # at most 4 * 0.25 - 1.5
    x = net.node("Relu", net.node("Conv", x, net.constant(weights), net.constant(biases)))
    assert pruned(net.model(net.conv(x, CHANNELS, 2, 3, pads=[1] * 4)))[1].removed == 2


NEAR_MISSES: dict[str, Callable[[], onnx.ModelProto]] = {
    "a map that costs more than it saves": lambda: network(bias=0.5, pads=1, kernel=1),
    "a constant before a ConvTranspose": lambda: network(bias=0.5, after="ConvTranspose"),
    "a filter that is not quite zero": lambda: network(weight=1e-6, bias=0.5),
    "an operator that compares the channels": lambda: network(after="Softmax"),
}


@pytest.mark.parametrize("proto", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_stays(proto: Callable[[], onnx.ModelProto]) -> None:
    result, dead = pruned(proto())
    assert dead.removed == 0 and not result.changed


def test_what_only_dead_filters_read_is_dead_too() -> None:
    net = Net(dtype=np.float32)
    x = net.node("Relu", net.conv(net.input([1, 3, 6, 6]), 3, CHANNELS, 1, bias=True))
    weights = net.random.standard_normal((CHANNELS, CHANNELS, 1, 1))
    weights[:, :2] = 0
    weights[:3, 2], weights[3:, 2] = 1.0, 0.0
    last = net.random.standard_normal((2, CHANNELS, 1, 1))
    last[:, :3] = 0
    y = net.node("Conv", x, net.constant(weights))
    _, dead = pruned(net.model(net.node("Conv", y, net.constant(last))))
    assert dead.removed == 3 + 3  # two that nobody reads, three that the last ignores, and the one that only those read


def test_one_branch_of_a_sum_is_not_enough() -> None:
    net = Net(dtype=np.float32)
    weights = net.random.standard_normal((CHANNELS, 3, 1, 1))
    weights[:2] = 0
    x = net.node("Conv", net.input([1, 3, 6, 6]), net.constant(weights))
    y = net.node("Relu", net.node("Add", x, net.conv("x", 3, CHANNELS, 3, pads=[1] * 4)))
    assert pruned(net.model(net.conv(y, CHANNELS, 2, 1)))[1].removed == 0


def test_widths_stay_multiples() -> None:
    result, dead = pruned(network(), round_to=4)
    assert dead.removed == 0 and dead.kept == DEAD and not result.changed
    result, dead = pruned(network(dead=5), round_to=4)
    assert dead.removed == 4 and dead.kept == 1 and result.changed[0].after == 4
