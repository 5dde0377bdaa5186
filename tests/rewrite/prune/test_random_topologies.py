"""Exactness on random graphs: residuals, groups, shuffles, squeeze-excite, dense concats, splits, two outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgevision import ingest
from edgevision.rewrite.prune import IMPORTANCES, prune
from edgevision.rewrite.prune.channels import analyse
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.prune.pruning import NothingPrunableError
from edgevision.rewrite.prune.select import BudgetError
from tests.rewrite.nets import Net
from tests.rewrite.prune.oracle import EXACT, check_shapes, error

Draw = Callable[[st.SearchStrategy[Any]], Any]
SIDE = 6


class Growing:
    """A graph that grows from its last tensors; ``shapes`` holds (channels, side)."""

    def __init__(self, net: Net, draw: Draw) -> None:
        self.net, self.draw = net, draw
        self.shapes: dict[str, tuple[int, int]] = {}

    def pick(self) -> str:
        return self.draw(st.sampled_from(list(self.shapes)[-4:]))

    def channels(self) -> int:
        return self.draw(st.sampled_from([6, 8, 12, 16]))

    def keep(self, name: str, channels: int, side: int) -> str:
        self.shapes[name] = (channels, side)
        return name

    def conv(self, x: str, outputs: int, kernel: int = 1, **attributes: Any) -> str:
        inputs, side = self.shapes[x]
        bias = self.draw(st.booleans())
        y = self.net.conv(x, inputs, outputs, kernel, bias=bias, pads=[kernel // 2] * 4, **attributes)
        return self.keep(y, outputs, side)


def _conv(to: Growing) -> None:
    to.conv(to.pick(), to.channels(), to.draw(st.sampled_from([1, 3])))


def _group(to: Growing) -> None:
    x = to.pick()
    inputs = to.shapes[x][0]
    group = to.draw(st.sampled_from([g for g in (1, 2, 3, 4) if inputs % g == 0]))
    to.conv(x, group * to.draw(st.sampled_from([1, 2, 4])), group=group)


def _depthwise(to: Growing) -> None:
    x = to.pick()
    inputs = to.shapes[x][0]
    to.conv(x, inputs * to.draw(st.sampled_from([1, 1, 2])), 3, group=inputs)


def _activation(to: Growing) -> None:
    x = to.pick()
    op = to.draw(st.sampled_from(["Relu", "Sigmoid", "HardSwish", "Softplus"]))
    to.keep(to.net.node(op, x), *to.shapes[x])


def _norm(to: Growing) -> None:
    x = to.pick()
    to.keep(to.net.norm(x, to.shapes[x][0]), *to.shapes[x])


def _prelu(to: Growing) -> None:
    x = to.pick()
    to.keep(to.net.node("PRelu", x, to.net.normal(to.shapes[x][0], 1, 1)), *to.shapes[x])


def _residual(to: Growing) -> None:
    x = to.pick()
    same = [name for name, shape in to.shapes.items() if shape == to.shapes[x]]
    op = to.draw(st.sampled_from(["Add", "Mul", "Max"]))
    to.keep(to.net.node(op, x, to.draw(st.sampled_from(same))), *to.shapes[x])


def _concat(to: Growing) -> None:
    x = to.pick()
    fitting = [name for name, shape in to.shapes.items() if shape[1] == to.shapes[x][1]]
    others = to.draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=2))
    channels = sum(to.shapes[name][0] for name in (x, *others))
    if channels <= 40:
        to.keep(to.net.node("Concat", x, *others, axis=1), channels, to.shapes[x][1])


def _split(to: Growing) -> None:
    x = to.pick()
    channels, side = to.shapes[x]
    if channels % 2 == 0:
        for name in to.net.node("Split", x, outputs=2, axis=1):
            to.keep(name, channels // 2, side)


def _slice(to: Growing) -> None:
    x = to.pick()
    channels, side = to.shapes[x]
    if channels < 4:
        return
    start, step = to.draw(st.sampled_from([0, 1])), to.draw(st.sampled_from([1, 2]))
    names = [to.net.constant([value]) for value in (start, channels, 1, step)]
    to.keep(to.net.node("Slice", x, *names), len(range(start, channels, step)), side)


def _shuffle(to: Growing) -> None:
    x = to.pick()
    channels, side = to.shapes[x]
    group = to.draw(st.sampled_from([g for g in (2, 3, 4) if channels % g == 0] or [1]))
    y = to.net.node("Reshape", x, to.net.constant([1, group, channels // group, side, side]))
    y = to.net.node("Transpose", y, perm=[0, 2, 1, 3, 4])
    to.keep(to.net.node("Reshape", y, to.net.constant([1, channels, side, side])), channels, side)


def _squeeze(to: Growing) -> None:
    x = to.pick()
    channels, side = to.shapes[x]
    to.shapes["?"] = (channels, 1)
    y = to.net.node("GlobalAveragePool", x)
    y = to.net.node("Relu", to.net.conv(y, channels, 4, 1, bias=True))
    y = to.net.node("HardSigmoid", to.net.conv(y, 4, channels, 1, bias=True))
    del to.shapes["?"]
    to.keep(to.net.node("Mul", x, y), channels, side)


def _pad(to: Growing) -> None:
    x = to.pick()
    channels, side = to.shapes[x]
    pads = to.net.constant([0, 1, 0, 0, 0, 2, 0, 0])
    to.keep(to.net.node("Pad", x, pads, to.net.constant(np.float64(0.5))), channels + 3, side)


def _depth_to_space(to: Growing) -> None:
    x = to.pick()
    channels, side = to.shapes[x]
    if channels % 4 == 0 and side == SIDE:
        mode = to.draw(st.sampled_from(["DCR", "CRD"]))
        y = to.net.node("DepthToSpace", x, blocksize=2, mode=mode)
        to.keep(to.net.node("SpaceToDepth", y, blocksize=2), channels, side)


def _normalised(to: Growing) -> None:
    x = to.pick()
    to.keep(to.net.node("Softmax", x, axis=1), *to.shapes[x])


STEPS = [_conv, _conv, _conv, _group, _group, _depthwise, _activation, _activation, _norm, _prelu, _residual, _residual,
         _concat, _concat, _split, _slice, _shuffle, _shuffle, _squeeze, _pad, _depth_to_space, _normalised]  # fmt: skip


@st.composite
def networks(draw: Draw) -> Any:
    """A convolution, 3 to 14 steps, and two outputs: a classifier behind Flatten, and a map."""
    net = Net(seed=draw(st.integers(0, 2**16)), dtype=np.float32)
    to = Growing(net, draw)
    to.keep(net.input([1, 3, SIDE, SIDE]), 3, SIDE)
    to.conv("x", 16, 3)
    for _ in range(draw(st.integers(3, 14))):
        draw(st.sampled_from(STEPS))(to)
    last = list(to.shapes)[-1]
    channels, side = to.shapes[last]
    flat = net.node("Flatten", net.node("GlobalAveragePool", last) if draw(st.booleans()) else last)
    width = channels * (side * side if net.nodes[-1].input[0] == last else 1)
    scores = net.node("Gemm", flat, net.normal(5, width), net.normal(5), transB=1)
    second = to.pick()
    head = net.conv(second, to.shapes[second][0], 2, 1)
    return net.model(scores, head)


def check(proto: Any, share: float, importance: str, round_to: int, scope: str) -> None:
    normal = ingest.read(proto, simplify=False).proto
    try:
        pruned = prune(normal, share, importance=importance, round_to=round_to, scope=scope)  # type: ignore[arg-type]
    except (NothingPrunableError, BudgetError):
        return
    network = Network(normal)
    check_shapes(pruned.proto)
    assert error(pruned.proto, network, analyse(network), pruned.removed, may_vanish=True) <= EXACT
    assert all(width.after % round_to == 0 for width in pruned.changed)


SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}
CASES = (
    networks(), st.sampled_from([0.4, 0.6, 0.8]), st.sampled_from(sorted(IMPORTANCES.keys() - {"bn"})),
    st.sampled_from([1, 2, 4]), st.sampled_from(["global", "uniform"]),
)  # fmt: skip


@settings(max_examples=60, **SETTINGS)
@given(*CASES)
def test_random_networks_keep_their_function(
    proto: Any, share: float, importance: str, round_to: int, scope: str
) -> None:
    check(proto, share, importance, round_to, scope)


@pytest.mark.large
@settings(max_examples=2000, **SETTINGS)
@given(*CASES)
def test_two_thousand_random_networks_keep_their_function(
    proto: Any, share: float, importance: str, round_to: int, scope: str
) -> None:
    check(proto, share, importance, round_to, scope)
