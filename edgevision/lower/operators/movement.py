"""Operators that move elements without computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.compute.concat import concat_kernel
from edgevision.lower.emitter import INJECTIVE, Emitter
from edgevision.lower.node import Node
from edgevision.lower.placed import Placed, last_shape, moves_nothing, to_last

Index = Sequence[Any]

RUN = "ev.run"
"""Block annotation: how many elements, from a multiple of that on, lie side by side in what is read, from a multiple too."""


def reshape(e: Emitter, node: Node) -> None:
    """Free where the elements are stored in ONNX's order, and where a channels-last image keeps images and channels.

    A channels-last image that becomes a matrix keeps its order until somebody minds: a following product re-lays its weights
    instead.
    """
    x, shape = e.value(node.inputs[0]), tuple(e.shape(node.outputs[0]))
    if x.channels_last and not moves_nothing(x.shape):
        if shape == (x.shape[0], prod(x.shape[1:])):
            e.result(node, e.reshape(x.var, shape), flat=x.shape[1:])
            return
        if len(shape) >= 3 and shape[:2] == x.shape[:2]:
            e.result(node, e.reshape(x.var, last_shape(shape)), channels_last=True)
            return
    e.result(node, e.reshape(e.in_order(x).var, shape))


def transpose(e: Emitter, node: Node) -> None:
    """Free where the new order is how the tensor, or its result channels last, is stored already."""
    x, perm = e.stored(node.inputs[0]), tuple(node["perm"])
    stored_as = to_last(x.rank) if x.channels_last else tuple(range(x.rank))
    # position of ONNX axis a in what is stored
    place = [stored_as.index(a) for a in range(x.rank)]
    wanted = [place[p] for p in perm]
    shape = e.shape(node.outputs[0])
    if _keeps_order(wanted, x.stored_shape):
        e.result(node, e.reshape(x.var, shape))
        return
    if len(shape) >= 3:
        last = [wanted[a] for a in to_last(len(shape))]
        if _keeps_order(last, x.stored_shape):
            e.result(node, e.reshape(x.var, last_shape(shape)), channels_last=True)
            return
    e.result(node, e.transpose(x.var, wanted))


def _keeps_order(perm: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether the permutation only moves axes of extent 1."""
    moved = [p for p in perm if shape[p] != 1]
    return moved == sorted(moved)


def concat(e: Emitter, node: Node) -> None:
    """One copy loop an operand."""
    shape = e.shape(node.outputs[0])
    axis = node["axis"] % len(shape)
    last = len(shape) >= 3 and any(e.value(n).channels_last for n in node.inputs)
    operands = [(e.last(n) if last else e.plain(n)) for n in node.inputs]
    stored = last_shape(shape) if last else shape
    at = operands[0].axis(axis)
    kernel = concat_kernel([o.stored_shape for o in operands], stored, at, e.dtype(node.outputs[0]))
    e.result(node, e.call(kernel, "concat", [o.var for o in operands], stored, e.dtype(node.outputs[0])),
             channels_last=last)  # fmt: skip


def split(e: Emitter, node: Node) -> None:
    x = e.stored(node.inputs[0])
    axis, start = x.axis(node["axis"] % x.rank), 0
    for i, (name, size) in enumerate(zip(node.outputs, node["split"], strict=True)):
        if name:
            e.result(node, _sliced(e, x, {axis: (start, size, 1)}), channels_last=x.channels_last, output=i)
        start += size


def slice_(e: Emitter, node: Node) -> None:
    x = e.stored(node.inputs[0])
    cuts = {}
    for axis, start, end, step in zip(node["axes"], node["starts"], node["ends"], node["steps"], strict=True):
        cuts[x.axis(axis)] = (start, len(range(start, end, step)), step)
    e.result(node, _sliced(e, x, cuts), channels_last=x.channels_last)


def _sliced(e: Emitter, x: Placed, cuts: dict[int, tuple[int, int, int]]) -> Any:
    """``cuts``: stored axis -> (first, count, step)."""
    shape = [cuts[i][1] if i in cuts else n for i, n in enumerate(x.stored_shape)]

    def moved(i: int, at: Any) -> Any:
        return at * cuts[i][2] + cuts[i][0] if i in cuts else at

    return gathered(e, "slice", x.var, shape, lambda at: [moved(i, a) for i, a in enumerate(at)])


def pad(e: Emitter, node: Node) -> None:
    """constant, reflect, edge and wrap."""
    x = e.stored(node.inputs[0])
    pads, rank, mode = node["pads"], x.rank, node.get("mode", "constant")
    before = {x.axis(i): pads[i] for i in range(rank)}
    after = {x.axis(i): pads[rank + i] for i in range(rank)}
    if mode == "constant":
        var = _constant_pad(e, x, before, after, node.get("value", 0))
    else:
        tables = {
            i: np.pad(np.arange(n), (before[i], after[i]), mode=mode) for i, n in enumerate(x.stored_shape) if before[i] or after[i]
        }
        var = by_tables(e, "pad", x.var, tables)
    e.result(node, var, channels_last=x.channels_last)


def _constant_pad(e: Emitter, x: Placed, before: dict[int, int], after: dict[int, int], value: float) -> Any:
    shape = [n + before[i] + after[i] for i, n in enumerate(x.stored_shape)]

    def function(t: Any) -> Any:
        def element(*at: Any) -> Any:
            inside = [a >= before[i] for i, a in enumerate(at) if before[i]]
            inside += [a < before[i] + x.stored_shape[i] for i, a in enumerate(at) if after[i]]
            moved = t[tuple(a - before[i] for i, a in enumerate(at))]
            return tirx.if_then_else(tirx.all(*inside), moved, tirx.const(value, t.dtype)) if inside else moved

        return te.compute(shape, element, name="pad")

    return e.compute("pad", function, x.var, pattern=INJECTIVE)


def by_tables(e: Emitter, name: str, var: Any, tables: dict[int, np.ndarray]) -> Any:
    """out[..., i, ...] = in[..., table[i], ...] along each stored axis that has a table."""
    axes = sorted(tables)

    def function(t: Any, *rows: Any) -> Any:
        shape = [len(tables[i]) if i in tables else int(n) for i, n in enumerate(t.shape)]

        def element(*at: Any) -> Any:
            return t[tuple(tirx.Cast("int64", rows[axes.index(i)][a]) if i in tables else a for i, a in enumerate(at))]

        return te.compute(shape, element, name=name)

    return e.compute(name, function, var, *(e.array(tables[a].astype(np.int32)) for a in axes), pattern=INJECTIVE)


def by_runs(e: Emitter, name: str, var: Any, table: np.ndarray, run: int) -> Any:
    """out[..., i] = in[..., table[i]], ``run`` consecutive elements at a time. Written as [..., runs, run]: a choice a run, and
    nothing to look up."""
    *outer, _ = (int(n) for n in var.ty.shape)
    shifts = [int(first) - i * run for i, first in enumerate(table[::run])]

    def element(t: Any, *at: Any) -> Any:
        number, shift = at[-2], tirx.const(shifts[-1], "int64")
        for i in reversed(range(len(shifts) - 1)):
            if shifts[i] != shifts[i + 1]:
                shift = tirx.Select(number <= tirx.const(i, "int64"), tirx.const(shifts[i], "int64"), shift)
        return t[(*at[:-2], number * run + shift + at[-1])]

    def function(t: Any) -> Any:
        attrs = {RUN: int(np.gcd.reduce([run, *shifts]))}
        return te.compute((*outer, len(shifts), run), lambda *at: element(t, *at), name=name, attrs=attrs)

    return e.reshape(e.compute(name, function, var, pattern=INJECTIVE), (*outer, len(table)))


def run_of(table: np.ndarray) -> int:
    """The most consecutive elements that ``table`` reads at a time from its beginning to its end."""
    breaks = np.flatnonzero(np.diff(table) != 1) + 1
    return int(np.gcd.reduce([*breaks, len(table)]))


def expand(e: Emitter, node: Node) -> None:
    x, shape = e.stored(node.inputs[0]), e.shape(node.outputs[0])
    last = x.channels_last and len(shape) == x.rank
    x = x if last else e.in_order(x)
    wide = last_shape(shape) if last else shape
    lead = len(shape) - x.rank

    def source(at: Index) -> list[Any]:
        return [tirx.const(0, "int64") if n == 1 else a for n, a in zip(x.stored_shape, at[lead:], strict=True)]

    e.result(node, gathered(e, "expand", x.var, wide, source), channels_last=last)


def tile(e: Emitter, node: Node) -> None:
    """Each axis [n] is written as [repeats, n]: no division in a loop."""
    x = e.stored(node.inputs[0])
    counts = {x.axis(i): r for i, r in enumerate(node["repeats"])}
    shape = [extent for i, n in enumerate(x.stored_shape) for extent in (counts[i], n)]
    var = gathered(e, "tile", x.var, shape, lambda at: at[1::2])
    whole = [counts[i] * n for i, n in enumerate(x.stored_shape)]
    e.result(node, e.reshape(var, whole), channels_last=x.channels_last)


def depth_to_space(e: Emitter, node: Node) -> None:
    """DCR: channel = (by * b + bx) * c + ch; CRD: channel = (ch * b + by) * b + bx. Written as [n, h, by, w, bx, c]."""
    x, b = e.last(node.inputs[0]), node["blocksize"]
    n, channels, h, w = x.shape
    c = channels // (b * b)

    def source(at: Index) -> list[Any]:
        image, y, by, u, bx, ch = at
        channel = (by * b + bx) * c + ch if node["mode"] == "DCR" else (ch * b + by) * b + bx
        return [image, y, u, channel]

    var = gathered(e, "depthtospace", x.var, (n, h, b, w, b, c), source)
    e.result(node, e.reshape(var, (n, h * b, w * b, c)), channels_last=True)


def space_to_depth(e: Emitter, node: Node) -> None:
    """channel = (by * b + bx) * c + ch. Written as [n, h, w, by, bx, c]."""
    x, b = e.last(node.inputs[0]), node["blocksize"]
    n, c, h, w = x.shape

    def source(at: Index) -> list[Any]:
        image, y, u, by, bx, ch = at
        return [image, y * b + by, u * b + bx, ch]

    var = gathered(e, "spacetodepth", x.var, (n, h // b, w // b, b, b, c), source)
    e.result(node, e.reshape(var, (n, h // b, w // b, c * b * b)), channels_last=True)


def channel_shuffle(e: Emitter, node: Node) -> None:
    """y[:, i * groups + j] = x[:, j * (c / groups) + i]. Written as [n, h, w, c / groups, groups]."""
    x, groups = e.last(node.inputs[0]), node["groups"]
    *pixels, channels = x.stored_shape
    size = channels // groups
    var = gathered(
        e, "channelshuffle", x.var, (*pixels, size, groups), lambda at: [*at[:-2], at[-1] * size + at[-2]]
    )  # fmt: skip
    e.result(node, e.reshape(var, x.stored_shape), channels_last=True)


def gathered(e: Emitter, name: str, var: Any, shape: Sequence[int], source: Callable[[Index], Sequence[Any]]) -> Any:
    """out[at] = x[source(at)]; ``shape`` and ``at`` in stored order."""

    def function(t: Any) -> Any:
        def element(*at: Any) -> Any:
            index = tuple(source(at))
            return t[index] if index else t()

        return te.compute(tuple(shape), element, name=name)

    return e.compute(name, function, var, pattern=INJECTIVE)
