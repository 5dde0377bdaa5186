"""Pools over windows and over whole images, any number of spatial axes, channels last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node


def max_pool(e: Emitter, node: Node) -> None:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise e.unsupported(node, "the Indices output")
    lowest = tirx.min_value

    def function(x: Any) -> Any:
        return _window(e, node, x, lowest(x.dtype), te.max, lambda v: v)

    x = e.last(node.inputs[0])
    e.result(node, e.compute("maxpool", function, x.var, pattern=ANCHOR), channels_last=True)


def average_pool(e: Emitter, node: Node) -> None:
    """Sum over the window, divided by the number of taps that count; that number is a constant image."""
    x = e.last(node.inputs[0])
    counts = _counts(e, node)

    def function(t: Any, divisor: Any) -> Any:
        total = _window(e, node, t, tirx.const(0, t.dtype), te.sum, lambda v: v)
        return te.compute(
            total.shape, lambda *at: total[at] / (divisor[at[1:-1]] if divisor.shape else divisor()), name="average"
        )

    uniform = bool((counts == counts.flat[0]).all())
    divisor = e.array((counts.flat[0] if uniform else counts).astype(x.dtype))
    e.result(node, e.compute("averagepool", function, x.var, divisor, pattern=ANCHOR), channels_last=True)


def lp_pool(e: Emitter, node: Node) -> None:
    x, p = e.last(node.inputs[0]), float(node.get("p", 2))

    def function(t: Any) -> Any:
        power = tirx.const(p, t.dtype)
        total = _window(e, node, t, tirx.const(0, t.dtype), te.sum, lambda v: tirx.power(tirx.abs(v), power))
        return te.compute(total.shape, lambda *at: tirx.power(total[at], tirx.const(1 / p, t.dtype)), name="root")

    e.result(node, e.compute("lppool", function, x.var, pattern=ANCHOR), channels_last=True)


def global_pool(e: Emitter, node: Node) -> None:
    x = e.last(node.inputs[0])
    spatial = x.shape[2:]

    def function(t: Any) -> Any:
        axes = [te.reduce_axis((0, n), f"r{i}") for i, n in enumerate(spatial)]
        shape = (x.shape[0], *([1] * len(spatial)), x.shape[1])
        reducer = te.max if node.op == "GlobalMaxPool" else te.sum
        total = te.compute(shape, lambda *at: reducer(t[(at[0], *axes, at[-1])], axis=axes), name="pool")
        if node.op == "GlobalMaxPool":
            return total
        size = tirx.const(math.prod(spatial), t.dtype)
        return te.compute(shape, lambda *at: total[at] / size, name="average")

    e.result(node, e.compute("globalpool", function, x.var, pattern=ANCHOR), channels_last=True)


def _geometry(e: Emitter, node: Node) -> list[tuple[int, int, int, int, int, int]]:
    """For each spatial axis: extent, kernel, stride, pad before, dilation, output extent."""
    kernel = node["kernel_shape"]
    before = node["pads"][: len(kernel)]
    sizes, outputs = e.shape(node.inputs[0])[2:], e.shape(node.outputs[0])[2:]
    return list(zip(sizes, kernel, node["strides"], before, node["dilations"], outputs, strict=True))


def _window(
    e: Emitter, node: Node, x: Any, outside: Any, reducer: Callable[..., Any], term: Callable[[Any], Any]
) -> Any:
    """Reduce ``term`` of each tap; taps outside the image count as ``outside``."""
    axes = _geometry(e, node)
    # A ceil_mode window may reach beyond the pads: the padded copy covers what the last window touches.
    extents = [max(size + before, (out - 1) * s + (k - 1) * d + 1) for size, k, s, before, d, out in axes]
    source = x
    if any(b or n != size for (size, _, _, b, _, _), n in zip(axes, extents, strict=True)):
        source = te.compute(
            (x.shape[0], *extents, x.shape[-1]), lambda *at: _padded(x, axes, extents, outside, at), name="pad"
        )
    taps = [te.reduce_axis((0, k), f"k{i}") for i, (_, k, _, _, _, _) in enumerate(axes)]
    shape = (x.shape[0], *(a[5] for a in axes), x.shape[-1])

    def element(*at: Any) -> Any:
        where = [i * s + t * d for i, t, (_, _, s, _, d, _) in zip(at[1:-1], taps, axes, strict=True)]
        return reducer(term(source[(at[0], *where, at[-1])]), axis=taps)

    return te.compute(shape, element, name="pool")


def _padded(x: Any, axes: Sequence[Sequence[int]], extents: Sequence[int], outside: Any, at: Sequence[Any]) -> Any:
    inside, where = [], []
    for i, (size, _, _, before, _, _), extent in zip(at[1:-1], axes, extents, strict=True):
        if before:
            inside.append(i >= before)
        if extent > size + before:
            inside.append(i < size + before)
        where.append(i - before)
    return tirx.if_then_else(tirx.all(*inside), x[(at[0], *where, at[-1])], outside)


def _counts(e: Emitter, node: Node) -> np.ndarray:
    """How many taps each output averages over: those in the image, or with count_include_pad in the padded image."""
    ends = node["pads"][len(node["kernel_shape"]) :]
    total = np.ones((), np.int64)
    for (size, k, s, before, d, out), after in zip(_geometry(e, node), ends, strict=True):
        at = np.arange(out)[:, None] * s - before + np.arange(k)[None] * d
        low, high = (-before, size + after) if node["count_include_pad"] else (0, size)
        total = total[..., None] * ((at >= low) & (at < high)).sum(1)
    return total
