"""Changes of order: every one is right, whatever the extents leave over; what is none is left to others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import te

from edgevision.schedule.apply import realize, schedule_workload, space
from edgevision.target import load
from tests.schedule.test_interleave import ARMS_SHAPE, transposition
from tests.schedule.workloads import NATIVE, Case, outcome, prim_func, run


@st.composite
def orders(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = draw(st.integers(2, 5))
    extents = draw(st.lists(st.sampled_from([1, 2, 4, 5, 16, 19, 33]), min_size=rank, max_size=rank))
    return tuple(extents), tuple(draw(st.permutations(range(rank))))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(orders(), st.sampled_from([NATIVE, ARMS_SHAPE]))
def test_any_order_is_right(order: tuple[tuple[int, ...], tuple[int, ...]], target: Any) -> None:
    shape, permutation = order
    case = transposition(shape, order=permutation)
    np.testing.assert_array_equal(run(case, target)[1], case.expected)


TAKEN = {
    "pixels": ((1, 124, 14, 14), (0, 2, 3, 1)), "planes": ((2, 5, 7, 33), (0, 3, 1, 2)), "a matrix": ((40, 24), (1, 0)),
    "heads": ((1, 49, 4, 32), (0, 2, 3, 1)), "three axes reversed": ((9, 20, 17), (2, 1, 0)),
    "two axes behind others": ((3, 1, 8, 16), (0, 1, 3, 2)),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "order"), TAKEN.values(), ids=TAKEN)
def test_every_choice_is_right(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    case = transposition(shape, order=order)
    points = space(case.func, NATIVE)
    assert len(points) >= 2 and all(choice.template == "transpose" for choice in points)
    for choice in points:
        found = realize(choice, case.func, NATIVE)
        assert found is not None and found.choice == choice
        np.testing.assert_array_equal(outcome(case, found, NATIVE), case.expected)


NARROW = {
    "to pixels": ((24, 3136), "arm64", 1), "to planes": ((3136, 24), "arm64", 0),
    "vectors of half a line": ((24, 3136), "x86_64", 0),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "target", "along"), NARROW.values(), ids=NARROW)
def test_vectors_of_less_than_half_a_line_follow_the_shorter_axis(shape: tuple[int, int], target: str, along: int) -> None:
    scheduled = schedule_workload(transposition(shape, order=(1, 0)).func, load(target))
    assert scheduled.choice is not None and scheduled.choice.mapping["along"] == along


def test_integers_are_moved_too() -> None:
    case = transposition((24, 40), "int32", order=(1, 0))
    scheduled, result = run(case)
    assert scheduled.schedule == "template:transpose 16"
    np.testing.assert_array_equal(result.view(np.int32), case.expected)


def _computed() -> Case:
    x = te.placeholder((16, 32), name="x")
    return Case(func=prim_func([x, te.compute((32, 16), lambda i, j: x[j, i] + 1)]), operands=(), expected=np.zeros(1))


def _diagonal() -> Case:
    x = te.placeholder((16, 16), name="x")
    return Case(func=prim_func([x, te.compute((16, 16), lambda i, j: x[j, j])]), operands=(), expected=np.zeros(1))


NEAR_MISSES: dict[str, Any] = {
    "the last axis stays": lambda: transposition((8, 9, 16), order=(1, 0, 2)),
    "8 bits": lambda: transposition((16, 16), "uint8", (1, 0)),
    "three long": lambda: transposition((3, 64), order=(1, 0)), "nothing moves": lambda: transposition((8, 16), order=(0, 1)),
    "computed": _computed, "an index twice": _diagonal, "one element": lambda: transposition((1, 1), order=(1, 0)),
}  # fmt: skip


@pytest.mark.parametrize("make", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_is_left_to_the_generic_schedule(make: Any) -> None:
    assert "transpose" not in schedule_workload(make().func, NATIVE).schedule
