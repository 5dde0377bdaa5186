"""Reductions over stored axes, which stay with extent 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx

from edgevision.lower.compute import scalar

Expr = Any
Reducer = Callable[..., Expr]


def _highest(dtype: str) -> Expr:
    return tirx.const(math.inf, dtype) if "float" in dtype else tirx.max_value(dtype)


# te.max starts from the most negative finite number: the maximum of infinities would be finite.
largest: Reducer = te.comm_reducer(lambda a, b: tirx.max(a, b), scalar.lowest, name="max")
smallest: Reducer = te.comm_reducer(lambda a, b: tirx.min(a, b), _highest, name="min")
product: Reducer = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype), name="prod")


LANES = (16, 8)
"""Partial results side by side where the axis stored last is reduced: vectors, and sums that lose less to rounding."""
MOST_LANES = 64


def _lanes(extent: int, *, alone: bool) -> int:
    """How many partial results; a short axis that is reduced with others keeps one for each of its elements."""
    if not alone and 4 <= extent <= MOST_LANES:
        return extent
    return next((n for n in LANES if extent % n == 0 and extent >= 4 * n), 1)


def over_axes(t: Expr, axes: Sequence[int], reducer: Reducer, term: Callable[..., Expr], name: str = "reduce") -> Expr:
    """Reduce ``term(t[at], at)`` over ``axes``."""
    extents = [int(n) for n in t.shape]
    last = len(extents) - 1
    lanes = _lanes(extents[last], alone=len(axes) == 1) if last in axes else 1
    loops = {a: te.reduce_axis((0, extents[a] // (lanes if a == last else 1)), f"r{a}") for a in axes}
    shape = [1 if i in loops else n for i, n in enumerate(extents)]

    def element(*at: Expr) -> Expr:
        source = [loops.get(i, a) for i, a in enumerate(at)]
        if lanes > 1:
            source[last] = loops[last] * lanes + at[last]
        return reducer(term(t[tuple(source)], tuple(source)), axis=list(loops.values()))

    if lanes == 1:
        return te.compute(shape, element, name=name)
    partial = te.compute([*shape[:-1], lanes], element, name=f"{name}_lanes")
    lane = te.reduce_axis((0, lanes), "lane")
    return te.compute(shape, lambda *at: reducer(partial[(*at[:-1], lane)], axis=lane), name=name)


def at_one(at: Sequence[Expr], axes: Sequence[int]) -> tuple[Expr, ...]:
    """Where the result of `over_axes` for the element at ``at`` is."""
    return tuple(tirx.const(0, "int64") if i in axes else a for i, a in enumerate(at))
