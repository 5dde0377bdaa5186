"""Random linear graphs: whatever is rewritten computes the same, at every position."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rewrite.nets import EAGER, EXACT, FRUGAL, Net, error, rewritten

Draw = st.DrawFn
COSTS = {"default": None, "eager": EAGER, "frugal": FRUGAL}
SIDE = 12  # the largest extent of an input


@dataclass
class Growing:
    """A net and what is known of its tensors: name -> (channels, height, width)."""

    net: Net
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def keep(self, name: str, shape: tuple[int, int, int]) -> None:
        self.shapes[name] = shape


def _divisors(*numbers: int) -> list[int]:
    return [g for g in range(1, min(numbers) + 1) if all(n % g == 0 for n in numbers)]


def _window(draw: Draw, height: int, width: int) -> dict[str, Any] | None:
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (3, 3), (1, 3), (3, 1), (2, 2), (5, 5), (5, 3)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2), (1, 2)]))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2), (2, 1)]))
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    same = [s // 2 for s in span] * 2
    pads = draw(st.one_of(st.just(same), st.just([0] * 4), st.lists(st.integers(0, 2), min_size=4, max_size=4)))
    size = tuple((n + pads[a] + pads[a + 2] - span[a]) // stride[a] + 1 for a, n in enumerate((height, width)))
    if min(size) < 1:
        return None
    return {"kernel_shape": kernel, "dilations": dilation, "strides": stride, "pads": pads, "size": size}


def _conv(draw: Draw, to: Growing, x: str) -> None:
    channels, height, width = to.shapes[x]
    window = _window(draw, height, width)
    if window is None:
        return
    outputs = draw(st.sampled_from([channels, channels, 2, 4]))
    group = draw(st.sampled_from(_divisors(channels, outputs)))
    size = window.pop("size")
    y = to.net.conv(x, channels, outputs, window["kernel_shape"], bias=draw(st.booleans()), group=group, **window)
    to.keep(y, (outputs, *size))


def _pool(draw: Draw, to: Growing, x: str) -> None:
    channels, height, width = to.shapes[x]
    window = _window(draw, height, width)
    if window is None or any(p >= k for p, k in zip(window["pads"], window["kernel_shape"] * 2, strict=True)):
        return
    size = window.pop("size")
    del window["dilations"]
    kernel, pads, stride = window["kernel_shape"], window["pads"], window["strides"]
    size = tuple((n + pads[a] + pads[a + 2] - kernel[a]) // stride[a] + 1 for a, n in enumerate((height, width)))
    include = draw(st.integers(0, 1))
    to.keep(to.net.node("AveragePool", x, count_include_pad=include, **window), (channels, *size))


def _norm(draw: Draw, to: Growing, x: str) -> None:
    to.keep(to.net.norm(x, to.shapes[x][0]), to.shapes[x])


def _arithmetic(draw: Draw, to: Growing, x: str) -> None:
    channels, height, width = to.shapes[x]
    shape = draw(st.sampled_from([(), (1,), (channels, 1, 1), (1, channels, 1, 1), (height, 1), (1, 1, 1, width)]))
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
    value = to.net.constant(to.net.random.uniform(0.5, 2.0, shape))
    inputs = (value, x) if op in ("Add", "Sub", "Mul") and draw(st.booleans()) else (x, value)
    to.keep(to.net.node(op, *inputs), (channels, height, width))


def _sum(draw: Draw, to: Growing, x: str) -> None:
    others = [name for name, shape in to.shapes.items() if shape == to.shapes[x]]
    other = draw(st.sampled_from(others))
    to.keep(to.net.node(draw(st.sampled_from(["Add", "Add", "Sub", "Sum"])), x, other), to.shapes[x])


def _pad(draw: Draw, to: Growing, x: str) -> None:
    channels, height, width = to.shapes[x]
    t, l, b, r = draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))  # noqa: E741
    amounts = to.net.constant([0, 0, t, l, 0, 0, b, r])
    to.keep(to.net.node("Pad", x, amounts), (channels, height + t + b, width + l + r))


def _concat(draw: Draw, to: Growing, x: str) -> None:
    fitting = [name for name, shape in to.shapes.items() if shape[1:] == to.shapes[x][1:]]
    other = draw(st.sampled_from(fitting))
    channels = to.shapes[x][0] + to.shapes[other][0]
    to.keep(to.net.node("Concat", x, other, axis=1), (channels, *to.shapes[x][1:]))


def _split(draw: Draw, to: Growing, x: str) -> None:
    channels, height, width = to.shapes[x]
    if channels % 2:
        return
    for name in to.net.node("Split", x, outputs=2, axis=1):
        to.keep(name, (channels // 2, height, width))


def _shuffle(draw: Draw, to: Growing, x: str) -> None:
    channels, height, width = to.shapes[x]
    group = draw(st.sampled_from(_divisors(channels)))
    split = to.net.constant([1, group, channels // group, height, width])
    y = to.net.node("Transpose", to.net.node("Reshape", x, split), perm=[0, 2, 1, 3, 4])
    to.keep(to.net.node("Reshape", y, to.net.constant([1, channels, height, width])), to.shapes[x])


def _mean(draw: Draw, to: Growing, x: str) -> None:
    to.keep(to.net.node("GlobalAveragePool", x), (to.shapes[x][0], 1, 1))


def _transposed(draw: Draw, to: Growing, x: str) -> None:
    channels, height, width = to.shapes[x]
    if height * width > 64:
        return
    weight = to.net.normal(channels, 2, 2, 2)
    y = to.net.node("ConvTranspose", x, weight, to.net.normal(2), strides=[2, 2])
    to.keep(y, (2, height * 2, width * 2))


def _last(draw: Draw, to: Growing, x: str) -> None:
    channels, height, width = to.shapes[x]
    y = to.net.node("Transpose", x, perm=[0, 2, 3, 1])
    y = to.net.node("MatMul", y, to.net.normal(channels, 4))
    y = to.net.node("Add", y, to.net.normal(4))
    to.keep(to.net.node("Transpose", y, perm=[0, 3, 1, 2]), (4, height, width))


def _relu(draw: Draw, to: Growing, x: str) -> None:
    to.keep(to.net.node("Relu", x), to.shapes[x])


STEPS = [_conv, _conv, _conv, _conv, _norm, _norm, _sum, _sum, _sum, _pool, _arithmetic, _pad, _concat, _split,
         _shuffle, _mean, _transposed, _last, _relu]  # fmt: skip


@st.composite
def graphs(draw: Draw) -> tuple[onnx.ModelProto, dict[str, int]]:
    """A graph of 2 to 12 operators that may share inputs, and the open extents of its input."""
    to = Growing(Net(seed=draw(st.integers(0, 2**16))))
    channels, height, width = draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, SIDE)), draw(st.integers(1, SIDE))
    is_open = draw(st.booleans())
    x = to.net.input([1, channels, "h", "w"] if is_open else [1, channels, height, width])
    to.keep(x, (channels, height, width))
    for _ in range(draw(st.integers(2, 12))):
        recent = list(to.shapes)[-4:]
        step = draw(st.sampled_from(STEPS))
        step(draw, to, draw(st.sampled_from(recent if draw(st.booleans()) else list(to.shapes))))
    names = [name for name in to.shapes if name != x]
    if not names:
        names = [to.net.node("Relu", x)]
    outputs = {names[-1], draw(st.sampled_from(names))}
    return to.net.model(*sorted(outputs)), {"h": height, "w": width} if is_open else {}


def check(case: tuple[onnx.ModelProto, dict[str, int]], cost: str) -> None:
    proto, extents = case
    result = rewritten(proto, COSTS[cost], **extents)  # type: ignore[arg-type]
    assert error(proto, result.proto, **extents) <= EXACT
    if not result.changed:
        assert result.proto is proto


SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@settings(max_examples=200, **SETTINGS)
@given(graphs(), st.sampled_from(sorted(COSTS)))
def test_random_linear_graphs_compute_the_same(case: tuple[onnx.ModelProto, dict[str, int]], cost: str) -> None:
    check(case, cost)


@pytest.mark.large
@settings(max_examples=2000, **SETTINGS)
@given(graphs(), st.sampled_from(sorted(COSTS)))
def test_two_thousand_random_linear_graphs_compute_the_same(
    case: tuple[onnx.ModelProto, dict[str, int]], cost: str
) -> None:
    check(case, cost)
