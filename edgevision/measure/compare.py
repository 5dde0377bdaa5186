"""How far one output is from its reference: the error figure of every verification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgevision.latency import TensorError
from edgevision.tensor import TensorSpec

Array = NDArray[np.generic]

ALLOWED = 1e-4
"""Float32 networks of 50 to 300 layers differ from onnxruntime by 1e-7 to 2e-5 when only the order of sums differs;
a wrong border, a lost bias or a scale off by 1 % gives 1e-3 or more."""

LIMITS = {"float32": ALLOWED, "float16": 2e-2}
"""What may be lost by what a network is stored in. Half precision has 11 bits: each tensor loses 5e-4 of its elements at most, and
30 to 80 layers of the zoo's networks come to 2e-3 to 1.4e-2, exactly as much as onnxruntime loses by rounding the same tensors."""


def compare(name: str, actual: Array, expected: Array, allowed: float = ALLOWED) -> TensorError:
    """max|a - b| / max|ref| where both are finite; integers and booleans: how many elements differ, none allowed.

    Infinite, with a reason, where the dtype or the shape differs, where NaN or an infinity of either sign is in other
    places, and where the reference is zero everywhere and the output is not. Differences are taken in float64.
    """
    allowed = allowed if np.issubdtype(expected.dtype, np.floating) else 0.0
    error, detail = _error(np.asarray(actual), np.asarray(expected))
    return TensorError(name=name, error=error, allowed=allowed, detail=detail)


def compare_all(
    outputs: Sequence[TensorSpec], actual: Sequence[Array], expected: Sequence[Array], allowed: float = ALLOWED
) -> list[TensorError]:
    """`compare` for each of ``outputs``."""
    return [compare(s.name, a, e, allowed) for s, a, e in zip(outputs, actual, expected, strict=True)]


def variation(first: Array, second: Array) -> float:
    """How much a reference moved between two inputs, in the units of `compare`: 0 when nothing did."""
    return _error(second, first)[0]


def _error(actual: Array, expected: Array) -> tuple[float, str]:
    if actual.dtype != expected.dtype:
        return float("inf"), f"{actual.dtype} instead of {expected.dtype}"
    if actual.shape != expected.shape:
        return float("inf"), f"shape {actual.shape} instead of {expected.shape}"
    if not np.issubdtype(expected.dtype, np.floating):
        return float(np.count_nonzero(actual != expected)), ""
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    misplaced = np.count_nonzero(_nonfinite(a) != _nonfinite(b))
    if misplaced:
        return float("inf"), f"NaN or infinity in other places: {misplaced} of {a.size} elements"
    finite = np.isfinite(b)
    largest = float(np.max(np.abs(b), where=finite, initial=0))
    difference = float(np.max(np.abs(np.where(finite, a, 0) - np.where(finite, b, 0)), initial=0))
    if largest == 0:
        return (
            (0.0, "") if difference == 0 else (float("inf"), f"up to {difference:.3g} where the reference is all zero")
        )
    return difference / largest, ""


def _nonfinite(values: NDArray[np.float64]) -> NDArray[np.int8]:
    """0 finite, 1 and -1 the infinities, 2 NaN."""
    return np.where(np.isnan(values), 2, np.isposinf(values).astype(np.int8) - np.isneginf(values)).astype(np.int8)
