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


def reshape(e: Emitter, node: Node) -> None:
    """Free where the elements are stored in ONNX's order. A channels-last image that becomes a matrix keeps its order until
    somebody minds: a following product re-lays its weights instead."""
    x, shape = e.value(node.inputs[0]), tuple(e.shape(node.outputs[0]))
    matrix = len(shape) == 2 and x.rank >= 3 and shape == (x.shape[0], prod(x.shape[1:]))
    if matrix and x.channels_last and not moves_nothing(x.shape):
        var = e.reshape(x.var, shape)
        e.values[node.outputs[0]] = Placed(var=var, shape=shape, dtype=x.dtype, flat=x.shape[1:])
        return
    e.result(node, e.reshape(e.in_order(x).var, shape))


def transpose(e: Emitter, node: Node) -> None:
    """Free where the new order is how the tensor, or its result channels last, is stored already."""
    x, perm = e.value(node.inputs[0]), tuple(node["perm"])
    if x.flat:
        x = e.in_order(x)
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
    x = _stored(e, node.inputs[0])
    axis, start = x.axis(node["axis"] % x.rank), 0
    for i, (name, size) in enumerate(zip(node.outputs, node["split"], strict=True)):
        if name:
            e.result(node, _sliced(e, x, {axis: (start, size, 1)}), channels_last=x.channels_last, output=i)
        start += size


def slice_(e: Emitter, node: Node) -> None:
    x = _stored(e, node.inputs[0])
    cuts = {}
    for axis, start, end, step in zip(node["axes"], node["starts"], node["ends"], node["steps"], strict=True):
        cuts[x.axis(axis)] = (start, len(range(start, end, step)), step)
    e.result(node, _sliced(e, x, cuts), channels_last=x.channels_last)


def _sliced(e: Emitter, x: Placed, cuts: dict[int, tuple[int, int, int]]) -> Any:
    """``cuts``: stored axis -> (first, count, step)."""
    shape = [cuts[i][1] if i in cuts else n for i, n in enumerate(x.stored_shape)]

    def moved(i: int, at: Any) -> Any:
        return at * cuts[i][2] + cuts[i][0] if i in cuts else at

    return _gathered(e, "slice", x, shape, lambda at: [moved(i, a) for i, a in enumerate(at)])


def pad(e: Emitter, node: Node) -> None:
    """constant, reflect, edge and wrap; negative pads crop."""
    x = _stored(e, node.inputs[0])
    pads, rank = node["pads"], x.rank
    before = {x.axis(i): pads[i] for i in range(rank)}
    after = {x.axis(i): pads[rank + i] for i in range(rank)}
    shape = [n + before[i] + after[i] for i, n in enumerate(x.stored_shape)]
    mode = node.get("mode", "constant")
    if mode == "constant":
        var = _constant_pad(e, x, before, after, shape, node.get("value", 0))
    else:
        numpy_mode = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]
        tables = {}
        for i, n in enumerate(x.stored_shape):
            if before[i] or after[i]:
                low, high = max(before[i], 0), max(after[i], 0)
                table = np.pad(np.arange(n), (low, high), mode=numpy_mode)
                tables[i] = table[max(-before[i], 0) : len(table) - max(-after[i], 0)]
        var = by_tables(e, "pad", x.var, tables)
    e.result(node, var, channels_last=x.channels_last)


def _constant_pad(
    e: Emitter, x: Placed, before: dict[int, int], after: dict[int, int], shape: Sequence[int], value: float
) -> Any:
    def function(t: Any) -> Any:
        fill = tirx.const(value, t.dtype)

        def element(*at: Any) -> Any:
            inside = []
            for i, a in enumerate(at):
                if before[i] > 0:
                    inside.append(a >= before[i])
                if after[i] > 0:
                    inside.append(a < before[i] + x.stored_shape[i])
            moved = t[tuple(a - before[i] for i, a in enumerate(at))]
            return tirx.if_then_else(tirx.all(*inside), moved, fill) if inside else moved

        return te.compute(shape, element, name="pad")

    return e.compute("pad", function, x.var, pattern=INJECTIVE)


def by_tables(e: Emitter, name: str, var: Any, tables: dict[int, np.ndarray]) -> Any:
    """out[..., i, ...] = in[..., table[i], ...] along each axis that has a table."""
    axes = sorted(tables)

    def function(t: Any, *rows: Any) -> Any:
        shape = [len(tables[i]) if i in tables else int(n) for i, n in enumerate(t.shape)]

        def element(*at: Any) -> Any:
            return t[tuple(tirx.Cast("int64", rows[axes.index(i)][a]) if i in tables else a for i, a in enumerate(at))]

        return te.compute(shape, element, name=name)

    return e.compute(name, function, var, *(e.array(tables[a].astype(np.int32)) for a in axes), pattern=INJECTIVE)


def expand(e: Emitter, node: Node) -> None:
    x = e.plain(node.inputs[0])
    shape = e.shape(node.outputs[0])
    lead = len(shape) - x.rank

    def source(at: Index) -> list[Any]:
        return [tirx.const(0, "int64") if n == 1 else a for n, a in zip(x.shape, at[lead:], strict=True)]

    e.result(node, _gathered(e, "expand", x, shape, source))


def tile(e: Emitter, node: Node) -> None:
    x = e.plain(node.inputs[0])
    e.result(
        node,
        _gathered(
            e, "tile", x, e.shape(node.outputs[0]),
            lambda at: [a % n if n > 1 else tirx.const(0, "int64") for a, n in zip(at, x.shape, strict=True)],
        ),
    )  # fmt: skip


def gather(e: Emitter, node: Node) -> None:
    """out = data[..., indices, ...] along ``axis``; negative indices count from the end."""
    data, indices = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    axis = node["axis"] % data.rank
    count, extent = indices.rank, data.shape[axis]

    def function(t: Any, where: Any) -> Any:
        def element(*at: Any) -> Any:
            i = _wrapped(where[tuple(at[axis : axis + count])] if count else where(), extent)
            return t[(*at[:axis], i, *at[axis + count :])]

        return te.compute(e.shape(node.outputs[0]), element, name="gather")

    e.result(node, e.compute("gather", function, data.var, indices.var, pattern=INJECTIVE))


def gather_elements(e: Emitter, node: Node) -> None:
    data, indices = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    axis = node["axis"] % data.rank

    def function(t: Any, where: Any) -> Any:
        def element(*at: Any) -> Any:
            return t[(*at[:axis], _wrapped(where[at], data.shape[axis]), *at[axis + 1 :])]

        return te.compute(indices.shape, element, name="gatherelements")

    e.result(node, e.compute("gatherelements", function, data.var, indices.var, pattern=INJECTIVE))


def gather_nd(e: Emitter, node: Node) -> None:
    data, indices = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    batch, depth = node.get("batch_dims", 0), indices.shape[-1]
    lead = indices.rank - 1

    def function(t: Any, where: Any) -> Any:
        def element(*at: Any) -> Any:
            index = [
                _wrapped(where[(*at[:lead], tirx.const(j, "int64"))], data.shape[batch + j]) for j in range(depth)
            ]
            return t[(*at[:batch], *index, *at[lead:])]

        return te.compute(e.shape(node.outputs[0]), element, name="gathernd")

    e.result(node, e.compute("gathernd", function, data.var, indices.var, pattern=INJECTIVE))


def _wrapped(index: Any, extent: int) -> Any:
    wide = tirx.Cast("int64", index)
    return tirx.Select(wide < tirx.const(0, "int64"), wide + tirx.const(extent, "int64"), wide)


def one_hot(e: Emitter, node: Node) -> None:
    """values = [off, on]; positions outside [-depth, depth) give a row of off."""
    indices, values = e.plain(node.inputs[0]), e.plain(node.inputs[-1])
    depth = node.get("depth")
    if depth is None:
        raise e.unsupported(node, "a depth that is computed")
    shape = e.shape(node.outputs[0])
    axis, depth = node["axis"] % len(shape), int(depth)

    def function(where: Any, pair: Any) -> Any:
        def element(*at: Any) -> Any:
            index = where[(*at[:axis], *at[axis + 1 :])] if indices.rank else where()
            hit = _wrapped(tirx.Cast("int64", index), depth) == at[axis]
            return tirx.Select(hit, pair[1], pair[0])

        return te.compute(shape, element, name="onehot")

    e.result(node, e.compute("onehot", function, indices.var, values.var, pattern=INJECTIVE))


def trilu(e: Emitter, node: Node) -> None:
    x, k, upper = e.plain(node.inputs[0]), int(node.get("k", 0)), bool(node.get("upper", 1))

    def function(t: Any) -> Any:
        def element(*at: Any) -> Any:
            row, column = at[-2], at[-1]
            keep = column >= row + k if upper else column <= row + k
            return tirx.Select(keep, t[at], tirx.const(0, t.dtype))

        return te.compute(t.shape, element, name="trilu")

    e.result(node, e.compute("trilu", function, x.var))


def depth_to_space(e: Emitter, node: Node) -> None:
    """DCR: channel = (by * b + bx) * c + ch; CRD: channel = (ch * b + by) * b + bx."""
    x, b = e.last(node.inputs[0]), node["blocksize"]
    _, _, h, w = x.shape
    c = x.shape[1] // (b * b)

    def source(at: Index) -> list[Any]:
        n, y, u, ch = at
        by, bx = y % b, u % b
        channel = (by * b + bx) * c + ch if node["mode"] == "DCR" else (ch * b + by) * b + bx
        return [n, y // b, u // b, channel]

    shape = (x.shape[0], h * b, w * b, c)
    e.result(node, _gathered(e, "depthtospace", x, shape, source), channels_last=True)


def space_to_depth(e: Emitter, node: Node) -> None:
    """channel = (by * b + bx) * c + ch."""
    x, b = e.last(node.inputs[0]), node["blocksize"]
    n, c, h, w = x.shape

    def source(at: Index) -> list[Any]:
        image, y, u, channel = at
        block, ch = channel // c, channel % c
        return [image, y * b + block // b, u * b + block % b, ch]

    shape = (n, h // b, w // b, c * b * b)
    e.result(node, _gathered(e, "spacetodepth", x, shape, source), channels_last=True)


def channel_shuffle(e: Emitter, node: Node) -> None:
    """y[:, i * groups + j] = x[:, j * (c / groups) + i]."""
    x, groups = e.last(node.inputs[0]), node["groups"]
    size = x.shape[1] // groups

    def source(at: Index) -> list[Any]:
        return [*at[:-1], at[-1] % groups * size + at[-1] // groups]

    e.result(node, _gathered(e, "channelshuffle", x, x.stored_shape, source), channels_last=True)


def _stored(e: Emitter, name: str) -> Placed:
    """The tensor as it is stored, but never as a reordered matrix."""
    x = e.value(name)
    return e.in_order(x) if x.flat else x


def _gathered(e: Emitter, name: str, x: Placed, shape: Sequence[int], source: Callable[[Index], Sequence[Any]]) -> Any:
    """out[at] = x[source(at)]; ``shape`` and ``at`` in stored order."""

    def function(t: Any) -> Any:
        def element(*at: Any) -> Any:
            index = tuple(source(at))
            return t[index] if index else t()

        return te.compute(tuple(shape), element, name=name)

    return e.compute(name, function, x.var, pattern=INJECTIVE)


