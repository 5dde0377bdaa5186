"""Products of two computed tensors: right for every shape and behind broadcast batches; near misses go elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import te

from edgevision.schedule.apply import realize, schedule_workload, space
from tests.schedule.test_interleave import ARMS_SHAPE
from tests.schedule.workloads import NATIVE, Case, outcome, prim_func, relative_error, run

TOLERANCE = 3e-6


def product(a: tuple[int, ...], b: tuple[int, ...], *, scaled: bool = False, turned: bool = False, dtype: str = "float32") -> Case:
    """``scaled``: an elementwise stage behind it; ``turned``: b comes as [..., j, k]."""
    x, y = te.placeholder(a, dtype=dtype, name="x"), te.placeholder(b, dtype=dtype, name="y")
    depth, columns = (b[-1], b[-2]) if turned else b[-2:]
    wide = (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], columns)
    k = te.reduce_axis((0, depth), "k")

    def batch(at: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return tuple(0 if n == 1 else i for n, i in zip(shape, at[len(at) - len(shape) :], strict=True))

    def element(*at: Any) -> Any:
        end = (at[-1], k) if turned else (k, at[-1])
        return te.sum(x[(*batch(at[:-2], a[:-2]), at[-2], k)] * y[(*batch(at[:-2], b[:-2]), *end)], axis=k)

    z = te.compute(wide, element, name="matmul")
    out = te.compute(wide, lambda *at: z[at] * 0.5 + 1.0, name="scale") if scaled else z
    rng = np.random.default_rng(4)
    left, right = (rng.normal(size=s).astype(dtype) for s in (a, b))
    expected = left.astype(np.float64) @ (np.swapaxes(right, -1, -2) if turned else right).astype(np.float64)
    return Case(func=prim_func([x, y, out]), operands=(left, right), expected=expected * 0.5 + 1.0 if scaled else expected)


TAKEN = {
    "attention": ((2, 3, 49, 16), (2, 3, 16, 49), {}), "narrow": ((5, 7), (7, 3), {}), "one column": ((4, 9, 12), (4, 12, 1), {}),
    "one row": ((1, 40), (40, 70), {}), "whole vectors": ((33, 20), (20, 128), {}), "a for all": ((1, 6, 8), (5, 8, 17), {}),
    "b of lower rank": ((3, 2, 6, 8), (8, 40), {}), "scaled": ((2, 9, 32), (2, 32, 33), {"scaled": True}),
}  # fmt: skip


@pytest.mark.parametrize("target", [NATIVE, ARMS_SHAPE], ids=lambda target: target.name)
@pytest.mark.parametrize(("a", "b", "more"), TAKEN.values(), ids=TAKEN)
def test_products_equal_float64(a: tuple[int, ...], b: tuple[int, ...], more: dict[str, bool], target: Any) -> None:
    case = product(a, b, **more)
    scheduled, result = run(case, target)
    assert scheduled.schedule.startswith("template:product")
    assert relative_error(result, case.expected) < TOLERANCE


def test_every_tile_is_right() -> None:
    case = product((2, 10, 12), (2, 12, 40))
    points = space(case.func, NATIVE)
    assert len(points) > 4
    for choice in points[:: max(1, len(points) // 12)]:
        found = realize(choice, case.func, NATIVE)
        assert found is not None and found.choice == choice
        assert relative_error(outcome(case, found, NATIVE), case.expected) < TOLERANCE


def _other_batch() -> Case:
    x, y = te.placeholder((3, 9, 16), name="x"), te.placeholder((3, 16, 24), name="y")
    k = te.reduce_axis((0, 16), "k")
    z = te.compute((3, 9, 24), lambda b, i, j: te.sum(x[b, i, k] * y[2 - b, k, j], axis=k), name="matmul")
    return Case(func=prim_func([x, y, z]), operands=(), expected=np.zeros(1))


NEAR_MISSES: dict[str, Any] = {
    "another batch": _other_batch,
    "b turned": lambda: product((9, 16), (24, 16), turned=True), "integers": lambda: product((9, 16), (16, 24), dtype="int32"),
}  # fmt: skip


@pytest.mark.parametrize("make", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_is_left_to_others(make: Any) -> None:
    assert "product" not in schedule_workload(make().func, NATIVE).schedule
