"""Reductions over axes, softmax and the like, argmax, cumulative sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from tvm import te, tirx

from edgevision.lower.compute import elementwise as scalar
from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node
from edgevision.lower.placed import Placed

Expr = Any

_SUMS: dict[str, tuple[Callable[[Expr], Expr], Callable[[Expr, int], Expr]]] = {
    "ReduceSum": (lambda v: v, lambda total, n: total),
    "ReduceMean": (lambda v: v, lambda total, n: _divided(total, n)),
    "ReduceL1": (tirx.abs, lambda total, n: total),
    "ReduceL2": (lambda v: v * v, lambda total, n: tirx.sqrt(total)),
    "ReduceSumSquare": (lambda v: v * v, lambda total, n: total),
    "ReduceLogSum": (lambda v: v, lambda total, n: tirx.log(total)),
}
"""Operator -> (term summed, what is done with the total of n terms)."""

REDUCERS: dict[str, Callable[..., Expr]] = {"ReduceMax": te.max, "ReduceMin": te.min}


def _divided(total: Expr, n: int) -> Expr:
    if "int" in scalar.dtype(total):
        return tirx.truncdiv(total, tirx.const(n, scalar.dtype(total)))
    return total / tirx.const(n, scalar.dtype(total))


def reduce(e: Emitter, node: Node) -> None:
    """keepdims=0 is a free reshape afterwards; a channels-last image stays one until then."""
    x = e.value(node.inputs[0])
    if x.flat:
        x = e.in_order(x)
    axes = sorted(a % x.rank for a in node["axes"])
    stored = sorted(x.axis(a) for a in axes)
    reduced = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    count = prod(x.shape[a] for a in axes)
    var = e.compute(node.op.lower(), lambda t: _reduced(node, t, stored, count), x.var, pattern=ANCHOR)
    _keep_or_drop(e, node, x, var, reduced, bool(node["keepdims"]))


def _keep_or_drop(e: Emitter, node: Node, x: Placed, var: Any, reduced: tuple[int, ...], keep: bool) -> None:
    if keep:
        e.result(node, var, channels_last=x.channels_last)
        return
    value = e.in_order(Placed(var=var, shape=reduced, dtype=e.dtype(node.outputs[0]), channels_last=x.channels_last))
    e.result(node, e.reshape(value.var, e.shape(node.outputs[0])))


def _reduced(node: Node, t: Expr, axes: Sequence[int], count: int) -> Expr:
    if node.op == "ReduceLogSumExp":
        return _log_sum_exp(t, axes)
    if node.op == "ReduceProd":
        product = te.comm_reducer(lambda a, b: a * b, lambda dt: tirx.const(1, dt), name="prod")
        return over_axes(t, axes, product, lambda v: v)
    if node.op in REDUCERS:
        return over_axes(t, axes, REDUCERS[node.op], lambda v: v)
    term, finish = _SUMS[node.op]
    total = over_axes(t, axes, te.sum, term)
    return te.compute(total.shape, lambda *at: finish(total[at], count), name="finish")


def over_axes(t: Expr, axes: Sequence[int], reducer: Callable[..., Expr], term: Callable[[Expr], Expr]) -> Expr:
    """Reduce over ``axes``, which stay with extent 1."""
    loops = {a: te.reduce_axis((0, int(t.shape[a])), f"r{a}") for a in axes}
    shape = [1 if i in loops else int(n) for i, n in enumerate(t.shape)]
    return te.compute(
        shape,
        lambda *at: reducer(term(t[tuple(loops.get(i, a) for i, a in enumerate(at))]), axis=list(loops.values())),
        name="reduce",
    )


def _log_sum_exp(t: Expr, axes: Sequence[int]) -> Expr:
    largest = over_axes(t, axes, te.max, lambda v: v)
    shifted = te.compute(t.shape, lambda *at: scalar.exp(t[at] - largest[_at_one(at, axes)]), name="shifted")
    total = over_axes(shifted, axes, te.sum, lambda v: v)
    return te.compute(total.shape, lambda *at: tirx.log(total[at]) + largest[at], name="finish")


def _at_one(at: Sequence[Expr], axes: Sequence[int]) -> tuple[Expr, ...]:
    return tuple(tirx.const(0, "int64") if i in axes else a for i, a in enumerate(at))


def softmax(e: Emitter, node: Node) -> None:
    """exp(x - max) / sum; LogSoftmax: x - max - log(sum)."""
    x = e.value(node.inputs[0])
    if x.flat:
        x = e.in_order(x)
    axis = x.axis(node["axis"] % x.rank)

    def function(t: Expr) -> Expr:
        largest = over_axes(t, [axis], te.max, lambda v: v)
        powers = te.compute(t.shape, lambda *at: scalar.exp(t[at] - largest[_at_one(at, [axis])]), name="powers")
        total = over_axes(powers, [axis], te.sum, lambda v: v)
        if node.op == "Softmax":
            return te.compute(t.shape, lambda *at: powers[at] / total[_at_one(at, [axis])], name="softmax")
        return te.compute(
            t.shape,
            lambda *at: t[at] - largest[_at_one(at, [axis])] - tirx.log(total[_at_one(at, [axis])]),
            name="logsoftmax",
        )

    var = e.compute(node.op.lower(), function, x.var, pattern=ANCHOR)
    e.result(node, var, channels_last=x.channels_last)


def hardmax(e: Emitter, node: Node) -> None:
    """1 at the first maximum along ``axis``, else 0."""
    x = e.plain(node.inputs[0])
    axis = node["axis"] % x.rank

    def function(t: Expr) -> Expr:
        first = _arg(t, axis, largest=True, last=False)
        one, zero = tirx.const(1, t.dtype), tirx.const(0, t.dtype)
        return te.compute(
            t.shape, lambda *at: tirx.Select(first[_at_one(at, [axis])] == at[axis], one, zero), name="hardmax"
        )

    e.result(node, e.compute("hardmax", function, x.var, pattern=ANCHOR))


def arg(e: Emitter, node: Node) -> None:
    """ArgMax and ArgMin: int64 position of the first (or last) extreme element."""
    x = e.value(node.inputs[0])
    if x.flat:
        x = e.in_order(x)
    axis = node["axis"] % x.rank
    stored = x.axis(axis)
    largest, last = node.op == "ArgMax", bool(node.get("select_last_index", 0))
    var = e.compute(node.op.lower(), lambda t: _arg(t, stored, largest=largest, last=last), x.var, pattern=ANCHOR)
    reduced = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
    _keep_or_drop(e, node, x, var, reduced, bool(node["keepdims"]))


def _arg(t: Expr, axis: int, *, largest: bool, last: bool) -> Expr:
    """Two plain reductions: the extreme value, then the least (greatest) position that holds it."""
    extreme = over_axes(t, [axis], te.max if largest else te.min, lambda v: v)
    n = int(t.shape[axis])
    nowhere = tirx.const(-1 if last else n, "int64")
    k = te.reduce_axis((0, n), "k")
    shape = [1 if i == axis else int(d) for i, d in enumerate(t.shape)]

    def element(*at: Expr) -> Expr:
        value = t[(*at[:axis], k, *at[axis + 1 :])]
        position = tirx.Select(value == extreme[at], tirx.Cast("int64", k.var), nowhere)
        return (te.max if last else te.min)(position, axis=k)

    return te.compute(shape, element, name="arg")


def cumulative_sum(e: Emitter, node: Node) -> None:
    """Each result sums its own prefix: n * n / 2 additions along the axis."""
    x = e.plain(node.inputs[0])
    axis = node["axis"] % x.rank
    exclusive, reverse = bool(node.get("exclusive", 0)), bool(node.get("reverse", 0))

    def function(t: Expr) -> Expr:
        k = te.reduce_axis((0, x.shape[axis]), "k")

        def counts(i: Expr) -> Expr:
            if reverse:
                return k > i if exclusive else k >= i
            return k < i if exclusive else k <= i

        def element(*at: Expr) -> Expr:
            value = t[(*at[:axis], k, *at[axis + 1 :])]
            return te.sum(tirx.if_then_else(counts(at[axis]), value, tirx.const(0, t.dtype)), axis=k)

        return te.compute(x.shape, element, name="cumsum")

    e.result(node, e.compute("cumsum", function, x.var, pattern=ANCHOR))
