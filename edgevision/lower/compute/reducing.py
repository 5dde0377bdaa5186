"""Reductions over stored axes, which stay with extent 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx

from edgevision.lower.compute import elementwise as scalar

Expr = Any
Reducer = Callable[..., Expr]


def _highest(dtype: str) -> Expr:
    return tirx.const(math.inf, dtype) if "float" in dtype else tirx.max_value(dtype)


# te.max starts from the most negative finite number: the maximum of infinities would be finite.
largest: Reducer = te.comm_reducer(lambda a, b: tirx.max(a, b), scalar.lowest, name="max")
smallest: Reducer = te.comm_reducer(lambda a, b: tirx.min(a, b), _highest, name="min")
product: Reducer = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype), name="prod")


def over_axes(t: Expr, axes: Sequence[int], reducer: Reducer, term: Callable[..., Expr], name: str = "reduce") -> Expr:
    """Reduce ``term(t[at], at)`` over ``axes``."""
    loops = {a: te.reduce_axis((0, int(t.shape[a])), f"r{a}") for a in axes}
    shape = [1 if i in loops else int(n) for i, n in enumerate(t.shape)]

    def element(*at: Expr) -> Expr:
        source = tuple(loops.get(i, a) for i, a in enumerate(at))
        return reducer(term(t[source], source), axis=list(loops.values()))

    return te.compute(shape, element, name=name)


def at_one(at: Sequence[Expr], axes: Sequence[int]) -> tuple[Expr, ...]:
    """Where the result of `over_axes` for the element at ``at`` is."""
    return tuple(tirx.const(0, "int64") if i in axes else a for i, a in enumerate(at))
