"""Pools over windows and over whole images, any number of spatial axes, channels last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.compute import scalar
from edgevision.lower.compute.reducing import largest, over_axes
from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node

Expr = Any


@dataclass(frozen=True, slots=True)
class Axis:
    """A window's geometry along one spatial axis."""

    extent: int
    kernel: int
    stride: int
    before: int
    dilation: int
    outputs: int

    @property
    def reach(self) -> int:
        """Extent of the padded image that the windows touch; a ceil_mode window may go beyond the pads."""
        return max(self.extent + self.before, (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1)


def max_pool(e: Emitter, node: Node) -> None:
    x, axes = e.last(node.inputs[0]), _axes(e, node)
    if node.outputs[0]:
        lowest = scalar.lowest(x.dtype)
        var = e.compute("maxpool", lambda t: _window(t, axes, lowest, largest, lambda v: v), x.var, pattern=ANCHOR)
        e.result(node, var, channels_last=True)
    if len(node.outputs) > 1 and node.outputs[1]:
        column_major = bool(node["storage_order"])
        var = e.compute("maxpool", lambda t: _positions(t, axes, column_major=column_major), x.var, pattern=ANCHOR)
        e.result(node, var, channels_last=True, output=1)


def average_pool(e: Emitter, node: Node) -> None:
    """Sum over the window, divided by the number of taps that count; that number is a constant image."""
    x, axes = e.last(node.inputs[0]), _axes(e, node)
    counts = _counts(node, axes)
    uniform = bool((counts == counts.flat[0]).all())
    zero = tirx.const(0, x.dtype)

    def function(t: Expr, *divisor: Expr) -> Expr:
        total = _window(t, axes, zero, te.sum, lambda v: v)
        same = tirx.const(float(counts.flat[0]), t.dtype)
        return te.compute(total.shape, lambda *at: total[at] / (divisor[0][at[1:-1]] if divisor else same), name="average")

    divisor = [] if uniform else [e.array(counts.astype(x.dtype))]
    e.result(node, e.compute("averagepool", function, x.var, *divisor, pattern=ANCHOR), channels_last=True)


def lp_pool(e: Emitter, node: Node) -> None:
    """p-th root of the sum of p-th powers; taps outside the image add nothing."""
    x, axes, p = e.last(node.inputs[0]), _axes(e, node), node["p"]

    def function(t: Expr) -> Expr:
        total = _window(t, axes, tirx.const(0, t.dtype), te.sum, lambda v: _power(v, p))
        return te.compute(total.shape, lambda *at: _root(total[at], p), name="norm")

    e.result(node, e.compute("lppool", function, x.var, pattern=ANCHOR), channels_last=True)


def global_pool(e: Emitter, node: Node) -> None:
    """GlobalAveragePool, GlobalMaxPool and GlobalLpPool."""
    x = e.last(node.inputs[0])
    axes, p = list(range(1, x.rank - 1)), node.get("p", 2)

    def function(t: Expr) -> Expr:
        if node.op == "GlobalMaxPool":
            return over_axes(t, axes, largest, lambda v, _: v, name="pool")
        if node.op == "GlobalLpPool":
            total = over_axes(t, axes, te.sum, lambda v, _: _power(v, p), name="pool")
            return te.compute(total.shape, lambda *at: _root(total[at], p), name="norm")
        total = over_axes(t, axes, te.sum, lambda v, _: v, name="pool")
        size = tirx.const(prod(x.shape[2:]), t.dtype)
        return te.compute(total.shape, lambda *at: total[at] / size, name="average")

    e.result(node, e.compute("globalpool", function, x.var, pattern=ANCHOR), channels_last=True)


def _power(v: Expr, p: int) -> Expr:
    if p == 1:
        return scalar.absolute(v)
    return v * v if p == 2 else tirx.power(scalar.absolute(v), scalar.const(p, v))


def _root(v: Expr, p: int) -> Expr:
    if p == 1:
        return v
    return tirx.sqrt(v) if p == 2 else tirx.power(v, scalar.const(1 / p, v))


def _axes(e: Emitter, node: Node) -> list[Axis]:
    kernel = node["kernel_shape"]
    before = node["pads"][: len(kernel)]
    sizes, outputs = e.shape(node.inputs[0])[2:], e.shape(next(o for o in node.outputs if o))[2:]
    rows = zip(sizes, kernel, node["strides"], before, node["dilations"], outputs, strict=True)
    return [Axis(*row) for row in rows]


def _window(x: Expr, axes: Sequence[Axis], outside: Expr, reducer: Callable[..., Expr], term: Callable[[Expr], Expr]) -> Expr:
    """Reduce ``term`` of each tap; taps outside the image count as ``outside``."""
    source = x
    if any(a.before or a.reach != a.extent for a in axes):
        shape = (x.shape[0], *(a.reach for a in axes), x.shape[-1])
        source = te.compute(shape, lambda *at: _padded(x, axes, outside, at), name="pad")
    taps = [te.reduce_axis((0, a.kernel), f"k{i}") for i, a in enumerate(axes)]

    def element(*at: Expr) -> Expr:
        where = [i * a.stride + t * a.dilation for i, t, a in zip(at[1:-1], taps, axes, strict=True)]
        return reducer(term(source[(at[0], *where, at[-1])]), axis=taps)

    return te.compute((x.shape[0], *(a.outputs for a in axes), x.shape[-1]), element, name="pool")


def _padded(x: Expr, axes: Sequence[Axis], outside: Expr, at: Sequence[Expr]) -> Expr:
    inside, where = [], []
    for i, a in zip(at[1:-1], axes, strict=True):
        if a.before:
            inside.append(i >= a.before)
        if a.reach > a.extent + a.before:
            inside.append(i < a.extent + a.before)
        where.append(i - a.before)
    return tirx.if_then_else(tirx.all(*inside), x[(at[0], *where, at[-1])], outside)


def _positions(x: Expr, axes: Sequence[Axis], *, column_major: bool) -> Expr:
    """Where each window's first maximum is: its number in the tensor [n, c, spatial...], pixels of an image counted row by row or
    column by column."""
    images, channels, pixels = x.shape[0], int(x.shape[-1]), prod(a.extent for a in axes)
    top = _window(x, axes, scalar.lowest(str(x.dtype)), largest, lambda v: v)
    taps = [te.reduce_axis((0, a.kernel), f"k{i}") for i, a in enumerate(axes)]
    nowhere = tirx.const(pixels - 1, "int64")

    def position(*at: Expr) -> Expr:
        where = [i * a.stride + t * a.dilation - a.before for i, t, a in zip(at[1:-1], taps, axes, strict=True)]
        inside = [bound for w, a in zip(where, axes, strict=True) for bound in (w >= 0, w < a.extent)]
        number: Expr = tirx.const(0, "int64")
        for w, a in zip(where, axes, strict=True):
            number = number * a.extent + w
        held = tirx.if_then_else(tirx.all(*inside), x[(at[0], *where, at[-1])] == top[at], tirx.const(0, "bool"))
        return te.min(tirx.Select(held, number, nowhere), axis=taps)

    shape = (images, *(a.outputs for a in axes), channels)
    first = te.compute(shape, position, name="first")

    def numbered(*at: Expr) -> Expr:
        number = first[at]
        if column_major:
            rest, number = number, tirx.const(0, "int64")
            for i in range(len(axes) - 1, -1, -1):
                number = number + rest % axes[i].extent * prod(a.extent for a in axes[:i])
                rest = rest // axes[i].extent
        return (at[0] * channels + at[-1]) * pixels + number

    return te.compute(shape, numbered, name="position")


def _counts(node: Node, axes: Sequence[Axis]) -> np.ndarray:
    """How many taps each output averages over: those in the image, or with count_include_pad in the padded image."""
    ends = node["pads"][len(axes) :]
    total = np.ones((), np.int64)
    for a, after in zip(axes, ends, strict=True):
        at = np.arange(a.outputs)[:, None] * a.stride - a.before + np.arange(a.kernel)[None] * a.dilation
        low, high = (-a.before, a.extent + after) if node["count_include_pad"] else (0, a.extent)
        total = total[..., None] * ((at >= low) & (at < high)).sum(1)
    return total
