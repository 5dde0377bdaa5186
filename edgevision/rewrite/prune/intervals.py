"""Interval analysis: what values each channel of each tensor can have, for inputs within given ranges.

An interval is a pair of float64 arrays, one value a followed channel (or one for the whole tensor). lo == hi means that
every element of the channel has this value whatever the input. Bounds hold in exact arithmetic; those of sums are
widened by `SLACK` of the sum's magnitude, so that rounding in float32 does not cross them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import erf

import numpy as np

from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.network import Array, Network, Node
from edgevision.rewrite.prune.operators import shuffled, sliced

SLACK = 1e-6
"""Relative; a float32 sum of n terms errs by about sqrt(n) * 6e-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """lo <= x <= hi, float64 arrays of one shape: (C,) along the followed axis, or ()."""

    lo: Array
    hi: Array

    def whole(self) -> Interval:
        """One interval for all channels."""
        return Interval(lo=np.asarray(self.lo.min()), hi=np.asarray(self.hi.max()))

    def with_zero(self) -> Interval:
        """What a window over padding can see."""
        return Interval(lo=np.minimum(self.lo, 0), hi=np.maximum(self.hi, 0))

    def at(self, index: Array) -> Interval:
        """The channels at ``index``."""
        return self if not self.lo.ndim else Interval(lo=self.lo[index], hi=self.hi[index])


ANYTHING = Interval(lo=np.asarray(-np.inf), hi=np.asarray(np.inf))


class Bounds:
    """The intervals of one network; lives as long as one analysis.

    ``ranges``: input -> its least and largest value; other inputs can be anything.
    """

    def __init__(self, network: Network, channels: Channels, ranges: Mapping[str, tuple[float, float]]) -> None:
        self.network, self.channels = network, channels
        self._found: dict[str, Interval] = {}
        for name in network.inputs:
            lo, hi = ranges.get(name, (-np.inf, np.inf))
            self._put(name, Interval(lo=np.asarray(lo, np.float64), hi=np.asarray(hi, np.float64)))
        for node in network.nodes:
            rule = _RULES.get(node.op)
            parts = rule(node, self) if rule else [ANYTHING] * len(node.outputs)
            for name, each in zip(node.outputs, parts, strict=True):
                self._put(name, each)

    def of(self, name: str) -> Interval:
        """The interval of a tensor, constants included."""
        if name in self._found:
            return self._found[name]
        value = self.network.constant(name).astype(np.float64)
        return Interval(lo=value, hi=value).whole()

    def _put(self, name: str, each: Interval) -> None:
        """Per channel where the tensor is followed, whole elsewhere; never NaN."""
        labels = self.channels.labels.get(name)
        count = len(labels.ids) if labels is not None else 0
        if each.lo.shape not in ((), (count,)):
            each = each.whole()
        if labels is None:
            each = each.whole()
        lo, hi = np.where(np.isnan(each.lo), -np.inf, each.lo), np.where(np.isnan(each.hi), np.inf, each.hi)
        shape = (count,) if labels is not None else ()
        self._found[name] = Interval(lo=np.broadcast_to(lo, shape), hi=np.broadcast_to(hi, shape))


Rule = Callable[[Node, Bounds], list[Interval]]


def _dot(weights: Array, lo: Array, hi: Array) -> tuple[Array, Array]:
    """Bounds of weights @ x: [O, I], and x [I] within lo and hi. 0 times infinity is 0 here."""
    up, down = np.maximum(weights, 0), np.minimum(weights, 0)

    def product(matrix: Array, values: Array) -> Array:
        endless = np.isinf(values)
        total: Array = matrix @ np.where(endless, 0, values)
        for sign in (np.inf, -np.inf):
            total = total + _endless(matrix[:, endless & (values == sign)], sign)
        return total

    low, high = product(up, lo) + product(down, hi), product(up, hi) + product(down, lo)
    largest = np.maximum(np.abs(lo), np.abs(hi))
    slack = SLACK * (np.abs(weights) @ np.where(np.isinf(largest), 0, largest)) * (low != high)
    return low - slack, high + slack


def _endless(columns: Array, sign: float) -> Array:
    result = np.zeros(len(columns))
    result[(columns > 0).any(1)] += sign
    result[(columns < 0).any(1)] -= sign
    return result


def _conv(node: Node, of: Bounds) -> list[Interval]:
    names = node.inputs[1:]
    if not all(of.network.is_constant(name) for name in names):
        return [ANYTHING]
    x = of.of(node.inputs[0])
    if any(node.attributes["pads"]) or node.op == "ConvTranspose":
        x = x.with_zero()
    channels, group = of.network.shapes[node.inputs[0]][1], int(node.attributes["group"])
    weight = of.network.constant(names[0]).astype(np.float64)
    up, down = (part.reshape(*weight.shape[:2], -1).sum(2) for part in (np.maximum(weight, 0), np.minimum(weight, 0)))
    lo, hi = (np.broadcast_to(each, (channels,)) for each in (x.lo, x.hi))
    lows, highs = [], []
    for index in range(group):
        rows = slice(index * len(weight) // group, (index + 1) * len(weight) // group)
        part = [each[rows].T if node.op == "ConvTranspose" else each[rows] for each in (up, down)]
        across = slice(index * channels // group, (index + 1) * channels // group)
        first, second = (_dot(each, lo[across], hi[across]) for each in part)
        lows.append(first[0] + second[0])
        highs.append(first[1] + second[1])
    bias = of.network.constant(names[1]).astype(np.float64) if len(names) > 1 else 0.0
    return [Interval(lo=np.concatenate(lows) + bias, hi=np.concatenate(highs) + bias)]


def _gemm(node: Node, of: Bounds) -> list[Interval]:
    if not of.network.is_constant(node.inputs[1]) or len(of.network.shapes[node.inputs[1]]) != 2:
        return [ANYTHING]
    weight = of.network.constant(node.inputs[1]).astype(np.float64)
    weight = weight if node.op == "Gemm" and node.attributes["transB"] else weight.T
    x = of.of(node.inputs[0])
    lo, hi = (np.broadcast_to(each, (weight.shape[1],)) for each in (x.lo, x.hi))
    low, high = _dot(weight, lo, hi)
    if len(node.inputs) < 3:
        return [Interval(lo=low, hi=high)]
    c = of.network.constant(node.inputs[2]).astype(np.float64)
    return [Interval(lo=low + c, hi=high + c) if c.ndim == 1 else ANYTHING]


def _norm(node: Node, of: Bounds) -> list[Interval]:
    scale, bias, mean, var = (of.network.constant(name).astype(np.float64) for name in node.inputs[1:])
    factor = scale / np.sqrt(var + node.attributes["epsilon"])
    return [_affine(of.of(node.inputs[0]), factor, bias - factor * mean)]


def _affine(x: Interval, factor: Array, term: Array) -> Interval:
    with np.errstate(invalid="ignore"):
        ends = [np.where(factor == 0, 0.0, each * factor) + term for each in (x.lo, x.hi)]
    return Interval(lo=np.minimum(*ends), hi=np.maximum(*ends))


def _monotone(function: Callable[[Array, Node], Array]) -> Rule:
    def rule(node: Node, of: Bounds) -> list[Interval]:
        x = of.of(node.inputs[0])
        if node.op in ("LeakyRelu", "HardSigmoid") and node.attributes["alpha"] < 0:
            return [ANYTHING]
        with np.errstate(over="ignore"):
            return [Interval(lo=function(x.lo, node), hi=function(x.hi, node))]

    return rule


def _dipping(function: Callable[[Array], Array], least: float) -> Rule:
    """x * gate(x): falls to ``least`` somewhere below zero, between -least and x elsewhere."""

    def rule(node: Node, of: Bounds) -> list[Interval]:
        x = of.of(node.inputs[0])
        same = (x.lo == x.hi) & (node.attributes.get("approximate", "none") == "none")
        value = np.where(same, function(np.where(same, x.lo, 0.0)), 0.0)
        lo = np.where(same, value, np.where(x.lo >= 0, 0.0, least))
        return [Interval(lo=lo, hi=np.where(same, value, np.maximum(x.hi, 0)))]

    return rule


def _operand(name: str, node: Node, of: Bounds) -> Interval:
    """An operand of an elementwise operator, per channel of the result where that is known."""
    labels = of.channels.labels.get(node.output)
    if not of.network.is_constant(name):
        own = of.channels.labels.get(name)
        return of.of(name) if own is not None and labels is not None and len(own.ids) == len(labels.ids) else (
            of.of(name).whole()
        )
    value = of.network.constant(name).astype(np.float64)
    axis = -1 if labels is None else labels.axis - len(of.network.shapes[node.output]) + value.ndim
    if axis < 0 or value.shape[axis] == 1:
        return Interval(lo=value, hi=value).whole()
    others = tuple(each for each in range(value.ndim) if each != axis)
    return Interval(lo=value.min(others), hi=value.max(others))


def _binary(function: Callable[[Array, Array], Array]) -> Rule:
    """Extremes are at the corners."""

    def rule(node: Node, of: Bounds) -> list[Interval]:
        x, y = (_operand(name, node, of) for name in node.inputs)
        # Both operands of x * x move together; the corners only widen that.
        with np.errstate(all="ignore"):
            corners = [function(a, b) for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
        lo, hi = np.minimum.reduce(corners), np.maximum.reduce(corners)
        unknown = np.isnan(lo) | np.isnan(hi)
        return [Interval(lo=np.where(unknown, -np.inf, lo), hi=np.where(unknown, np.inf, hi))]

    return rule


def _times(a: Array, b: Array) -> Array:
    """0 times infinity is 0: an exact zero times any finite value."""
    return np.where((a == 0) | (b == 0), 0.0, a * b)


def _pool(node: Node, of: Bounds) -> list[Interval]:
    x = of.of(node.inputs[0])
    counted = node.op == "AveragePool" and node.attributes["count_include_pad"] and any(node.attributes["pads"])
    return [x.with_zero() if counted else x]


def _same(node: Node, of: Bounds) -> list[Interval]:
    return [of.of(node.inputs[0])]


def _concat(node: Node, of: Bounds) -> list[Interval]:
    axis = int(node.attributes["axis"])
    labels = of.channels.labels.get(node.output)
    parts = [(of.of(name), of.network.shapes[name][axis]) for name in node.inputs]
    if labels is not None and labels.axis == axis:
        ends = [[np.broadcast_to(getattr(each, end), (n,)) for each, n in parts] for end in ("lo", "hi")]
        return [Interval(lo=np.concatenate(ends[0]), hi=np.concatenate(ends[1]))]
    wholes = [each.whole() for each, _ in parts]
    lo, hi = min(float(each.lo) for each in wholes), max(float(each.hi) for each in wholes)
    return [Interval(lo=np.asarray(lo), hi=np.asarray(hi))]


def _split(node: Node, of: Bounds) -> list[Interval]:
    x, axis = of.of(node.inputs[0]), int(node.attributes["axis"])
    labels = of.channels.labels.get(node.inputs[0])
    if labels is None or labels.axis != axis:
        return [x] * len(node.outputs)
    cuts = np.cumsum(node.attributes["split"])[:-1]
    return [x.at(index) for index in np.split(np.arange(len(labels.ids)), cuts)]


def _moved(node: Node, of: Bounds) -> list[Interval]:
    """Shuffle, Slice, Reshape, Transpose: the channels move with their intervals."""
    x, labels = of.of(node.inputs[0]), of.channels.labels.get(node.inputs[0])
    after = of.channels.labels.get(node.output)
    if labels is None or after is None:
        return [x.whole()]
    index = np.arange(len(labels.ids))
    if node.op == "edgevision:ChannelShuffle":
        return [x.at(shuffled(int(node.attributes["groups"]), len(index)))]
    if node.op == "Slice":
        return [x.at(sliced(node, labels.axis, index))]
    if len(after.ids) % len(index) == 0:
        return [x.at(np.repeat(index, len(after.ids) // len(index)))]
    return [x.whole()]


_SQRT2 = 2**0.5
_MONOTONE: dict[str, Callable[[Array, Node], Array]] = {
    "Relu": lambda x, node: np.maximum(x, 0),
    "Clip": lambda x, node: np.clip(x, node.attributes.get("min", -np.inf), node.attributes.get("max", np.inf)),
    "LeakyRelu": lambda x, node: np.where(x < 0, x * node.attributes["alpha"], x),
    "HardSigmoid": lambda x, node: np.clip(x * node.attributes["alpha"] + node.attributes["beta"], 0, 1),
    "Sigmoid": lambda x, node: 1 / (1 + np.exp(-x)),
    "Tanh": lambda x, node: np.tanh(x),
    "Exp": lambda x, node: np.exp(x),
    "Softplus": lambda x, node: np.logaddexp(x, 0),
    "Identity": lambda x, node: x,
}
_RULES: dict[str, Rule] = {
    **{op: _monotone(function) for op, function in _MONOTONE.items()},
    "HardSwish": _dipping(lambda x: x * np.clip(x / 6 + 0.5, 0, 1), -0.375),
    "edgevision:Silu": _dipping(lambda x: x / (1 + np.exp(-x)), -0.2785),
    "Gelu": _dipping(np.vectorize(lambda x: 0.5 * x * (1 + erf(x / _SQRT2)), otypes=[float]), -0.17004),
    **dict.fromkeys(("Conv", "ConvTranspose"), _conv),
    **dict.fromkeys(("Gemm", "MatMul"), _gemm),
    "BatchNormalization": _norm,
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(_times),
    "Max": _binary(np.maximum),
    "Min": _binary(np.minimum),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _pool),
    "Concat": _concat,
    "Split": _split,
    **dict.fromkeys(("edgevision:ChannelShuffle", "Slice", "Reshape", "Transpose"), _moved),
}
"""Operators that are bounded; any other can give anything."""
