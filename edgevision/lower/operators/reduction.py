"""Reductions over axes, softmax and the like, argmax, cumulative sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from tvm import te, tirx

from edgevision.lower.compute import scalar
from edgevision.lower.compute.functions import exp
from edgevision.lower.compute.reducing import Reducer, at_one, largest, over_axes, product, smallest
from edgevision.lower.compute.scan import cumulative_sum_kernel
from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node
from edgevision.lower.placed import Placed

Expr = Any

_SUMS: dict[str, tuple[Callable[[Expr], Expr], Callable[[Expr, int], Expr]]] = {
    "ReduceSum": (lambda v: v, lambda total, n: total),
    "ReduceMean": (lambda v: v, lambda total, n: _divided(total, n)),
    "ReduceL1": (scalar.absolute, lambda total, n: total),
    "ReduceL2": (lambda v: v * v, lambda total, n: _root(total)),
    "ReduceSumSquare": (lambda v: v * v, lambda total, n: total),
    "ReduceLogSum": (lambda v: v, lambda total, n: tirx.log(total)),
}
"""Operator -> (term summed, what is done with the total of n terms)."""

REDUCERS: dict[str, Reducer] = {"ReduceMax": largest, "ReduceMin": smallest, "ReduceProd": product}


def _divided(total: Expr, n: int) -> Expr:
    if "int" in scalar.dtype(total):
        return tirx.truncdiv(total, tirx.const(n, scalar.dtype(total)))
    return total / tirx.const(n, scalar.dtype(total))


def _root(total: Expr) -> Expr:
    kind = scalar.dtype(total)
    return tirx.sqrt(total) if "float" in kind else tirx.Cast(kind, tirx.sqrt(tirx.Cast("float64", total)))


def reduce(e: Emitter, node: Node) -> None:
    """keepdims=0 is a free reshape afterwards; a channels-last image stays one until then."""
    x = e.stored(node.inputs[0])
    axes = sorted(a % x.rank for a in node["axes"])
    stored = sorted(x.axis(a) for a in axes)
    reduced = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    count = prod(x.shape[a] for a in axes)
    extents, merged = _merged(x.stored_shape, stored)
    var = e.compute(node.op.lower(), lambda t: _reduced(node, t, merged, count), e.reshape(x.var, extents), pattern=ANCHOR)
    kept = tuple(1 if i in stored else n for i, n in enumerate(x.stored_shape))
    _keep_or_drop(e, node, x, e.reshape(var, kept), reduced, bool(node["keepdims"]))


def _merged(shape: Sequence[int], axes: Sequence[int]) -> tuple[list[int], list[int]]:
    """Neighbouring axes that are all reduced, or all kept, as one: (shape, axes)."""
    extents: list[int] = []
    merged: list[int] = []
    for i, n in enumerate(shape):
        if i and (i in axes) == (i - 1 in axes):
            extents[-1] *= n
            continue
        extents.append(n)
        if i in axes:
            merged.append(len(extents) - 1)
    return extents, merged


def _keep_or_drop(e: Emitter, node: Node, x: Placed, var: Any, reduced: tuple[int, ...], keep: bool) -> None:
    if keep:
        e.result(node, var, channels_last=x.channels_last)
        return
    value = e.in_order(Placed(var=var, shape=reduced, dtype=e.dtype(node.outputs[0]), channels_last=x.channels_last))
    e.result(node, e.reshape(value.var, e.shape(node.outputs[0])))


def _reduced(node: Node, t: Expr, axes: Sequence[int], count: int) -> Expr:
    if node.op == "ReduceLogSumExp":
        return _log_sum_exp(t, axes)
    if node.op in REDUCERS:
        return _extreme(t, axes, REDUCERS[node.op])
    term, finish = _SUMS[node.op]
    total = over_axes(t, axes, te.sum, lambda v, _: term(v))
    return te.compute(total.shape, lambda *at: finish(total[at], count), name="finish")


def _extreme(t: Expr, axes: Sequence[int], reducer: Reducer) -> Expr:
    """Of bool: over 0 and 1."""
    if str(t.dtype) != "bool":
        return over_axes(t, axes, reducer, lambda v, _: v)
    bits = over_axes(t, axes, reducer, lambda v, _: scalar.cast(v, "uint8"))
    return te.compute(bits.shape, lambda *at: scalar.cast(bits[at], "bool"), name="finish")


def _log_sum_exp(t: Expr, axes: Sequence[int]) -> Expr:
    top = over_axes(t, axes, largest, lambda v, _: v)
    # Infinities are not subtracted from themselves.
    shift = te.compute(
        top.shape,
        lambda *at: tirx.Select(tirx.abs(top[at]) < scalar.const(math.inf, top[at]), top[at], scalar.const(0.0, top[at])),
        name="shift",
    )  # fmt: skip
    total = over_axes(t, axes, te.sum, lambda v, at: exp(v - shift[at_one(at, axes)]))
    return te.compute(total.shape, lambda *at: tirx.log(total[at]) + shift[at], name="finish")


def softmax(e: Emitter, node: Node) -> None:
    """exp(x - max) / sum; LogSoftmax: x - max - log(sum)."""
    x = e.stored(node.inputs[0])
    axis = [x.axis(node["axis"] % x.rank)]

    def function(t: Expr) -> Expr:
        top = over_axes(t, axis, largest, lambda v, _: v, name="top")
        powers = te.compute(t.shape, lambda *at: exp(t[at] - top[at_one(at, axis)]), name="powers")
        total = over_axes(powers, axis, te.sum, lambda v, _: v, name="total")
        if node.op == "Softmax":
            return te.compute(t.shape, lambda *at: powers[at] / total[at_one(at, axis)], name="softmax")
        log = te.compute(total.shape, lambda *at: tirx.log(total[at]), name="log")
        # Not x - (max + log): of a large maximum that rounds the logarithm away.
        return te.compute(
            t.shape, lambda *at: t[at] - top[at_one(at, axis)] - log[at_one(at, axis)], name="logsoftmax"
        )  # fmt: skip

    var = e.compute(node.op.lower(), function, x.var, pattern=ANCHOR)
    e.result(node, var, channels_last=x.channels_last)


def hardmax(e: Emitter, node: Node) -> None:
    """1 at the first maximum along ``axis``, else 0."""
    x = e.stored(node.inputs[0])
    axis = x.axis(node["axis"] % x.rank)

    def function(t: Expr) -> Expr:
        first = _arg(t, axis, is_max=True, last=False)
        one, zero = tirx.const(1, t.dtype), tirx.const(0, t.dtype)
        return te.compute(t.shape, lambda *at: tirx.Select(first[at_one(at, [axis])] == at[axis], one, zero), name="hardmax")

    e.result(node, e.compute("hardmax", function, x.var, pattern=ANCHOR), channels_last=x.channels_last)


def arg(e: Emitter, node: Node) -> None:
    """ArgMax and ArgMin: int64 position of the first (or last) extreme element."""
    x = e.stored(node.inputs[0])
    axis = node["axis"] % x.rank
    stored = x.axis(axis)
    is_max, last = node.op == "ArgMax", bool(node.get("select_last_index", 0))
    var = e.compute(node.op.lower(), lambda t: _arg(t, stored, is_max=is_max, last=last), x.var, pattern=ANCHOR)
    reduced = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
    _keep_or_drop(e, node, x, var, reduced, bool(node["keepdims"]))


def _arg(t: Expr, axis: int, *, is_max: bool, last: bool) -> Expr:
    """Two plain reductions: the extreme value, then the least (greatest) position that holds it."""
    extreme = over_axes(t, [axis], largest if is_max else smallest, lambda v, _: v, name="extreme")
    # Where nothing equals the extreme (all NaN) some position inside the axis comes out.
    otherwise = tirx.const(0 if last else int(t.shape[axis]) - 1, "int64")

    def position(value: Expr, at: Sequence[Expr]) -> Expr:
        # A reduction axis is an IterVar, whose variable is what can be stored.
        here = tirx.Cast("int64", getattr(at[axis], "var", at[axis]))
        return tirx.Select(value == extreme[at_one(at, [axis])], here, otherwise)

    return over_axes(t, [axis], te.max if last else te.min, position, name="arg")


def cumulative_sum(e: Emitter, node: Node) -> None:
    x = e.stored(node.inputs[0])
    axis = x.axis(node["axis"] % x.rank)
    kernel = cumulative_sum_kernel(x.stored_shape, axis, x.dtype, exclusive=bool(node["exclusive"]), reverse=bool(node["reverse"]))
    e.result(node, e.call(kernel, "cumsum", [x.var], x.stored_shape, x.dtype), channels_last=x.channels_last)
