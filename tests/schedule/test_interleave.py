"""Planes to pixels, and what is left to others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tvm import te

from edgevision.schedule.apply import realize, schedule_workload, space
from edgevision.target import Target, load
from tests.schedule.workloads import NATIVE, Case, prim_func, run

ARMS_SHAPE = replace(load("x86_64"), name="arm's shape", vector_bits=128, vector_registers=32)


def transposition(shape: tuple[int, ...], dtype: str = "float32", order: tuple[int, ...] = (0, 2, 3, 1)) -> Case:
    x = te.placeholder(shape, dtype=dtype, name="x")
    out = tuple(shape[axis] for axis in order)
    inverse = [order.index(axis) for axis in range(len(order))]
    data = np.random.default_rng(0).integers(-99, 99, shape).astype(dtype)
    func = prim_func([x, te.compute(out, lambda *at: x[tuple(at[i] for i in inverse)], name="transpose")])
    return Case(func=func, operands=(data,), expected=data.transpose(order))


@pytest.mark.parametrize("target", [NATIVE, ARMS_SHAPE])
@pytest.mark.parametrize("shape", [(1, 3, 4, 32), (2, 4, 7, 21), (1, 2, 5, 3), (1, 3, 1, 1), (3, 3, 30, 200)])
def test_pixels_come_out_in_order(shape: tuple[int, ...], target: Target) -> None:
    scheduled, result = run(transposition(shape), target)
    assert scheduled.schedule.startswith("template:interleave")
    np.testing.assert_array_equal(result, transposition(shape).expected)


def test_every_width_is_right() -> None:
    case = transposition((1, 3, 5, 37))
    points = space(case.func, NATIVE)
    assert len(points) == 2
    for choice in points:
        found = realize(choice, case.func, NATIVE)
        assert found is not None and found.choice == choice


def plus_one() -> Case:
    x = te.placeholder((1, 3, 4, 8), name="x")
    return Case(
        func=prim_func([x, te.compute((1, 4, 8, 3), lambda n, h, w, c: x[n, c, h, w] + 1)]), operands=(), expected=np.zeros(1)
    )  # fmt: skip


NEAR_MISSES: dict[str, Any] = {
    "one channel": lambda: transposition((1, 1, 4, 8)), "five channels": lambda: transposition((1, 5, 4, 8)),
    "back": lambda: transposition((1, 3, 4, 8), order=(0, 3, 1, 2)),
    "other axes": lambda: transposition((1, 3, 4, 8), order=(0, 3, 2, 1)),
    "8 bits": lambda: transposition((1, 3, 4, 8), "uint8"), "rank 3": lambda: transposition((3, 4, 8), order=(1, 2, 0)),
    "computed": plus_one,
}  # fmt: skip


@pytest.mark.parametrize("make", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_is_left_to_others(make: Any) -> None:
    assert not schedule_workload(make().func, NATIVE).schedule.startswith("template:interleave")
