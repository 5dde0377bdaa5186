"""What is computed row by row: right for every length of row, and left to the generic schedule where rows need each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tvm import te, tirx

from edgevision.lower.compute.reducing import at_one, largest, over_axes
from edgevision.schedule.apply import realize, schedule_workload, space
from tests.schedule.test_interleave import ARMS_SHAPE
from tests.schedule.workloads import NATIVE, Case, outcome, prim_func, relative_error, run

TOLERANCE = 3e-6


def softmax(*shape: int, axis: int = -1) -> Case:
    axes = [axis % len(shape)]
    x = te.placeholder(shape, name="x")
    top = over_axes(x, axes, largest, lambda v, _: v, name="top")
    powers = te.compute(shape, lambda *at: te.exp(x[at] - top[at_one(at, axes)]), name="powers")
    total = over_axes(powers, axes, te.sum, lambda v, _: v, name="total")
    y = te.compute(shape, lambda *at: powers[at] / total[at_one(at, axes)], name="softmax")
    data = np.random.default_rng(1).normal(size=shape).astype(np.float32) * 4
    expected = np.exp(data.astype(np.float64) - data.max(axis, keepdims=True))
    return Case(func=prim_func([x, y]), operands=(data,), expected=expected / expected.sum(axis, keepdims=True))


def norm(*shape: int) -> Case:
    x, w = te.placeholder(shape, name="x"), te.placeholder(shape[-1:], name="w")
    axes = [len(shape) - 1]
    squares = over_axes(x, axes, te.sum, lambda v, _: v * v, name="squares")
    y = te.compute(shape, lambda *at: x[at] / tirx.sqrt(squares[at_one(at, axes)] + 0.5) * w[at[-1]], name="norm")
    rng = np.random.default_rng(2)
    data, scale = (rng.normal(size=s).astype(np.float32) for s in (shape, shape[-1:]))
    wide = data.astype(np.float64)
    expected = wide / np.sqrt((wide**2).sum(-1, keepdims=True) + 0.5) * scale
    return Case(func=prim_func([x, w, y]), operands=(data, scale), expected=expected)


def maxima(*shape: int) -> Case:
    """The last stage is the reduction."""
    x = te.placeholder(shape, name="x")
    y = over_axes(x, [len(shape) - 1], largest, lambda v, _: v, name="top")
    data = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    return Case(func=prim_func([x, y]), operands=(data,), expected=data.max(-1, keepdims=True))


ROWS = {
    "whole vectors": softmax(1, 49, 64), "lanes of 8": softmax(3, 7, 40), "no lanes": softmax(5, 37), "one element": softmax(4, 1),
    "several chunks": softmax(2, 35, 19), "long": softmax(3, 5000), "one row of a batch": softmax(1, 1, 2, 33),
    "by channel": norm(2, 9, 9, 24), "an odd channel": norm(1, 3, 5, 7), "maxima": maxima(6, 11, 48),
    "an axis between": softmax(3, 6, 40, axis=1),
}  # fmt: skip


@pytest.mark.parametrize("target", [NATIVE, ARMS_SHAPE], ids=lambda target: target.name)
@pytest.mark.parametrize("case", ROWS.values(), ids=ROWS)
def test_rows_are_right(case: Case, target: Any) -> None:
    scheduled, result = run(case, target)
    assert scheduled.schedule == "template:rows"
    assert relative_error(result, case.expected) < TOLERANCE


@pytest.mark.parametrize("name", ["whole vectors", "lanes of 8", "several chunks", "long", "by channel", "maxima"])
def test_every_chunk_is_right(name: str) -> None:
    case = ROWS[name]
    points = [choice for choice in space(case.func, NATIVE) if choice.template == "rows"]
    assert points
    for choice in points:
        found = realize(choice, case.func, NATIVE)
        assert found is not None and found.choice == choice
        assert relative_error(outcome(case, found, NATIVE), case.expected) < TOLERANCE


def test_what_is_not_finite_stays_in_its_row() -> None:
    case = softmax(3, 16)
    case.operands[0][1, 5] = math.nan
    scheduled, result = run(case)
    assert scheduled.schedule == "template:rows"
    assert np.isnan(result[1]).all() and np.isfinite(result[[0, 2]]).all()


def _integers() -> Case:
    x = te.placeholder((4, 64), dtype="int32", name="x")
    top = over_axes(x, [1], largest, lambda v, _: v, name="top")
    y = te.compute((4, 64), lambda i, j: x[i, j] - top[i, 0], name="y")
    return Case(func=prim_func([x, y]), operands=(), expected=np.zeros(1))


def _other_rows() -> Case:
    x = te.placeholder((6, 64), name="x")
    top = over_axes(x, [1], largest, lambda v, _: v, name="top")
    y = te.compute((6, 64), lambda i, j: x[i, j] - top[5 - i, 0], name="y")
    return Case(func=prim_func([x, y]), operands=(), expected=np.zeros(1))


NEAR_MISSES: dict[str, Any] = {
    "another row's maximum": _other_rows, "along columns": lambda: softmax(64, 5, axis=0), "one row": lambda: softmax(1, 64),
    "integers": _integers, "a row that no cache holds": lambda: softmax(2, 20_000),
}  # fmt: skip


@pytest.mark.parametrize("make", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_is_left_to_the_generic_schedule(make: Any) -> None:
    assert schedule_workload(make().func, NATIVE).schedule == "default:loops"
