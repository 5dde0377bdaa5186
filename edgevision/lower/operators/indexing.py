"""Operators that read or write where other tensors say."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.compute import elementwise, scalar
from edgevision.lower.compute.scan import scatter_kernel, top_k_kernel
from edgevision.lower.emitter import INJECTIVE, Emitter
from edgevision.lower.node import Node
from edgevision.lower.operators.movement import by_runs, by_tables, run_of

SHORTEST_RUN, MOST_RUNS = 4, 16
"""Of consecutive elements that a constant list of indices is written out as instead of looked up."""


def gather(e: Emitter, node: Node) -> None:
    """out = data[..., indices, ...] along ``axis``; a constant list of indices leaves the axis order alone."""
    axis = node["axis"] % len(e.shape(node.inputs[0]))
    constant = e.constant(node.inputs[1])
    if constant is not None and constant.ndim == 1:
        x = e.stored(node.inputs[0])
        run, last = run_of(constant) if constant.size else 1, x.axis(axis) == x.rank - 1
        if last and run >= SHORTEST_RUN and constant.size // run <= MOST_RUNS:
            e.result(node, by_runs(e, "gather", x.var, constant, run), channels_last=x.channels_last)
        else:
            e.result(node, by_tables(e, "gather", x.var, {x.axis(axis): constant}), channels_last=x.channels_last)
        return
    data, indices = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    count, extent = indices.rank, data.shape[axis]

    def function(t: Any, where: Any) -> Any:
        def element(*at: Any) -> Any:
            i = _inside(where[tuple(at[axis : axis + count])] if count else where(), extent)
            return t[(*at[:axis], i, *at[axis + count :])]

        return te.compute(e.shape(node.outputs[0]), element, name="gather")

    e.result(node, e.compute("gather", function, data.var, indices.var, pattern=INJECTIVE))


def gather_elements(e: Emitter, node: Node) -> None:
    data, indices = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    e.result(node, _along(e, "gatherelements", data.var, indices.var, node["axis"] % data.rank))


def _along(e: Emitter, name: str, data: Any, indices: Any, axis: int) -> Any:
    """out[..., i, ...] = data[..., indices[..., i, ...], ...]."""

    def function(t: Any, where: Any) -> Any:
        def element(*at: Any) -> Any:
            return t[(*at[:axis], _inside(where[at], int(t.shape[axis])), *at[axis + 1 :])]

        return te.compute(where.shape, element, name=name)

    return e.compute(name, function, data, indices, pattern=INJECTIVE)


def gather_nd(e: Emitter, node: Node) -> None:
    data, indices = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    batch, depth = node.get("batch_dims", 0), indices.shape[-1]
    lead = indices.rank - 1

    def function(t: Any, where: Any) -> Any:
        def element(*at: Any) -> Any:
            index = [_inside(where[(*at[:lead], tirx.const(j, "int64"))], data.shape[batch + j]) for j in range(depth)]
            return t[(*at[:batch], *index, *at[lead:])]

        return te.compute(e.shape(node.outputs[0]), element, name="gathernd")

    e.result(node, e.compute("gathernd", function, data.var, indices.var, pattern=INJECTIVE))


def _wrapped(index: Any, extent: int) -> Any:
    wide = tirx.Cast("int64", index)
    return tirx.Select(wide < tirx.const(0, "int64"), wide + tirx.const(extent, "int64"), wide)


def _inside(index: Any, extent: int) -> Any:
    """Negative indices count from the end. One outside the axis, an error in ONNX, reads the nearest element."""
    low, high = tirx.const(0, "int64"), tirx.const(extent - 1, "int64")
    return tirx.min(tirx.max(_wrapped(index, extent), low), high)


def one_hot(e: Emitter, node: Node) -> None:
    """values = [off, on]; positions outside [-depth, depth) give a row of off."""
    indices, values = e.plain(node.inputs[0]), e.plain(node.inputs[-1])
    shape = e.shape(node.outputs[0])
    axis = node["axis"] % len(shape)
    depth = shape[axis]

    def function(where: Any, pair: Any) -> Any:
        def element(*at: Any) -> Any:
            index = where[(*at[:axis], *at[axis + 1 :])] if indices.rank else where()
            hit = _wrapped(scalar.cast(index, "int64"), depth) == at[axis]
            return tirx.Select(hit, pair[1], pair[0])

        return te.compute(shape, element, name="onehot")

    e.result(node, e.compute("onehot", function, indices.var, values.var, pattern=INJECTIVE))


def trilu(e: Emitter, node: Node) -> None:
    x, k, upper = e.plain(node.inputs[0]), int(node.get("k", 0)), bool(node["upper"])

    def function(t: Any) -> Any:
        def element(*at: Any) -> Any:
            row, column = at[-2], at[-1]
            keep = column >= row + k if upper else column <= row + k
            return tirx.Select(keep, t[at], tirx.const(0, t.dtype))

        return te.compute(t.shape, element, name="trilu")

    e.result(node, e.compute("trilu", function, x.var))


def top_k(e: Emitter, node: Node) -> None:
    """Sorted whether asked for or not, the earlier of equals first."""
    x, k = e.plain(node.inputs[0]), int(node["k"])
    axis = node["axis"] % x.rank
    shape = tuple(k if i == axis else n for i, n in enumerate(x.shape))
    kernel = top_k_kernel(x.shape, axis, x.dtype, k, is_max=bool(node["largest"]))
    indices = e.call(kernel, "topk", [x.var], shape, "int64")
    if node.outputs[0]:
        e.result(node, _along(e, "topk", x.var, indices, axis))
    if len(node.outputs) > 1 and node.outputs[1]:
        e.result(node, indices, output=1)


def reverse_sequence(e: Emitter, node: Node) -> None:
    """The first sequence_lens[b] steps of batch b in reverse order."""
    x, lengths = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    time, batch = node["time_axis"], node["batch_axis"]

    def function(t: Any, length: Any) -> Any:
        def element(*at: Any) -> Any:
            count = tirx.Cast("int64", length[at[batch]])
            step = _inside(tirx.Select(at[time] < count, count - 1 - at[time], at[time]), x.shape[time])
            return t[tuple(step if i == time else a for i, a in enumerate(at))]

        return te.compute(t.shape, element, name="reversesequence")

    e.result(node, e.compute("reversesequence", function, x.var, lengths.var, pattern=INJECTIVE))


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "max": lambda old, new: elementwise.largest(old, new),
    "min": lambda old, new: elementwise.smallest(old, new),
}
"""Attribute ``reduction`` of the Scatter operators -> what an update does with the element that is there."""


def scatter_elements(e: Emitter, node: Node) -> None:
    """y = data; y[..., indices[at], ...] = updates[at], in the order of ``at``."""
    shape, extents = e.shape(node.inputs[0]), e.shape(node.inputs[1])
    axis = node["axis"] % len(shape)
    strides = _strides(shape)

    def place(u: Any, where: Any) -> tuple[Any, Any]:
        step = _wrapped(where[u], shape[axis])
        others = sum(
            (u // inner % n * stride
             for i, (inner, n, stride) in enumerate(zip(_strides(extents), extents, strides, strict=True)) if i != axis),
            tirx.const(0, "int64"),
        )  # fmt: skip
        return others + step * strides[axis], _valid(step, shape[axis])

    _scatter(e, node, place)


def scatter_nd(e: Emitter, node: Node) -> None:
    """y = data; y[indices[i]] = updates[i], slices in the order of i."""
    shape, extents = e.shape(node.inputs[0]), e.shape(node.inputs[1])
    depth = extents[-1]
    size, strides = prod(shape[depth:]), _strides(shape)

    def place(u: Any, where: Any) -> tuple[Any, Any]:
        steps = [_wrapped(where[u // size * depth + j], shape[j]) for j in range(depth)]
        position = sum((s * stride for s, stride in zip(steps, strides, strict=False)), u % size)
        return position, tirx.all(*(_valid(s, n) for s, n in zip(steps, shape, strict=False)))

    _scatter(e, node, place)


def _scatter(e: Emitter, node: Node, place: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    data, indices, updates = (e.plain(name) for name in node.inputs)
    kernel = scatter_kernel(
        prod(data.shape), data.dtype, prod(indices.shape), indices.dtype, prod(updates.shape), place,
        _COMBINE[node["reduction"]],
    )  # fmt: skip
    e.result(node, e.call(kernel, "scatter", [data.var, indices.var, updates.var], data.shape, data.dtype))


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [int(s) for s in np.cumprod((1, *shape[:0:-1]), dtype=np.int64)[::-1]]


def _valid(index: Any, extent: int) -> Any:
    return tirx.all(index >= tirx.const(0, "int64"), index < tirx.const(extent, "int64"))
