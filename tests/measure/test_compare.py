"""The comparator: what it must reject, and what it must not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgevision.measure.compare import ALLOWED, Array, compare, variation


def reference() -> Array:
    return np.random.default_rng(0).standard_normal((2, 5, 7)).astype(np.float32)


def put(value: float) -> Callable[[Array], Array]:
    def spoil(array: Array) -> Array:
        spoiled = array.copy()
        spoiled[1, 2, 3] = value
        return spoiled

    return spoil


WRONG: dict[str, Callable[[Array], Array]] = {
    "x1.01": lambda a: a * np.float32(1.01),
    "x1000": lambda a: a * np.float32(1000),
    "negated": lambda a: -a,
    "zeros": np.zeros_like,
    "constant": lambda a: np.full_like(a, a.mean()),
    "one NaN": put(np.nan),
    "one infinity": put(np.inf),
    "all NaN": lambda a: np.full_like(a, np.nan),
    "one element": put(0.0),
    "permuted": lambda a: a[:, ::-1],
    "rolled": lambda a: np.roll(a, 1),
    "transposed": lambda a: a.transpose(0, 2, 1),
    "longer by an axis": lambda a: a[None],
    "flat": lambda a: a.ravel(),
    "float64": lambda a: a.astype(np.float64),
    "bias": lambda a: a + np.float32(1e-3),
}


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG)
def test_it_rejects(spoil: Callable[[Array], Array]) -> None:
    result = compare("y", spoil(reference()), reference())
    assert result.error > result.allowed == ALLOWED


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6, 1 - 5e-5])
def test_it_accepts_rounding(factor: float) -> None:
    result = compare("y", reference() * np.float32(factor), reference())
    assert result.error <= result.allowed and result.error == pytest.approx(abs(factor - 1), abs=1e-7)


def test_the_figure_is_relative_to_the_largest_value() -> None:
    assert compare("y", np.array([1.0, 4.5]), np.array([1.0, -5.0]), 2.0).error == pytest.approx(1.9)


@pytest.mark.parametrize(
    ("actual", "expected", "detail"),
    [
        (np.float32([1, np.nan]), np.float32([1, 2]), "NaN or infinity in other places: 1 of 2 elements"),
        (np.float32([1, np.inf]), np.float32([1, -np.inf]), "NaN or infinity in other places: 1 of 2 elements"),
        (np.float32([1, np.inf]), np.float32([1, np.nan]), "NaN or infinity in other places: 1 of 2 elements"),
        (np.float32([0, 0.5]), np.float32([0, 0]), "up to 0.5 where the reference is all zero"),
        (np.float32([1]), np.float32([1, 1]), r"shape (1,) instead of (2,)"),
        (np.float16([1]), np.float32([1]), "float16 instead of float32"),
        (np.float32([np.nan]), np.float32([1]), "NaN or infinity in other places: 1 of 1 elements"),
    ],
)
def test_no_figure_has_a_reason(actual: Array, expected: Array, detail: str) -> None:
    result = compare("y", actual, expected)
    assert result.error == float("inf") and result.detail == detail


@pytest.mark.parametrize(
    "same",
    [
        np.float32([1, np.nan, np.inf, -np.inf]),
        np.zeros((2, 2), np.float32),
        np.zeros((0, 3), np.float32),
        np.float32([np.nan]),
        np.array(3.0, np.float16),
        np.array([True, False]),
        np.int64([2**62 + 1, -5]),
    ],
)
def test_equal_arrays_have_no_error(same: Array) -> None:
    result = compare("y", same.copy(), same)
    assert (result.error, result.detail) == (0, "")


def test_the_finite_part_counts_beside_infinities() -> None:
    expected = np.float32([2, np.inf, np.nan])
    assert compare("y", np.float32([1, np.inf, np.nan]), expected).error == 0.5


def test_integers_and_booleans_are_equal_or_not() -> None:
    ids = compare("ids", np.int64([2**62, 1, 3]), np.int64([2**62 + 1, 1, 2]))
    assert (ids.error, ids.allowed) == (2, 0)
    mask = compare("mask", np.array([True, True]), np.array([True, False]))
    assert (mask.error, mask.allowed) == (1, 0)


def test_variation_is_symmetric_in_what_it_notices() -> None:
    assert variation(reference(), reference()) == 0
    assert variation(np.float32([1, 2]), np.float32([1, 1])) == 0.5
