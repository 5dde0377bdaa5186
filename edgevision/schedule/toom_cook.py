"""The matrices of Winograd's minimal filtering F(m, r) from interpolation points, by the Toom-Cook construction.

y = A^T [(G g) * (B^T d)] gives m outputs of an r-tap filter g on m + r - 1 inputs d with m + r - 1 products.
Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016); on points: Barabasz et al., "Error
Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks" (2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import prod

import numpy as np

TAPS = 3
SINGULAR = 1e-9
POINTS: dict[int, tuple[float, ...]] = {2: (0.0, 1.0, -1.0), 3: (0.0, 0.75, -0.75, 1.5), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}
"""Outputs a tile -> finite points; infinity is one more. The usual (0, 1, -1, 2, -2) has 4.7 times the error of
these: 8.8e-6 against 1.9e-6 of the largest output, 128 input channels, float32. 3 outputs have 1.4e-6, 2 have 4e-7."""

STRIDED_POINTS: dict[int, tuple[float, ...]] = {
    2: (0.75, -0.75), 3: (0.0, 1.0, -1.0), 4: (0.375, -0.375, 1.25, -1.25), 5: (0.0, 0.625, -0.625, 1.5, -1.5)
}  # fmt: skip
"""Outputs a tile -> finite points of F(m, 2), the even taps of `strided`. Of the largest output, 128 input channels, float32, root
mean square: 5e-8 with 2, 1.6e-7 with 5, where F(4, 3) has more."""
SQUARE_POINTS: dict[int, tuple[float, ...]] = {
    1: (), 2: (0.75, -0.75), 3: (0.4375, -0.4375, 1.25, -1.25), 4: (0.3125, -0.3125, 0.875, -0.875, 1.75, -1.75)
}  # fmt: skip
"""m -> finite points of F(m, m), from a grid search. A 31x31 depthwise layer on float32 noise differs from float64 by
2.3e-6 of its largest output with 4, 1.1e-6 with 3, directly by 8e-7; 5 have 3.6e-5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transforms:
    """``output`` A^T [m, m + r - 1], ``kernel`` G [m + r - 1, r], ``data`` B^T [m + r - 1, m + r - 1], all float64."""

    output: np.ndarray
    kernel: np.ndarray
    data: np.ndarray


def transforms(outputs: int, points: tuple[float, ...] | None = None, taps: int = TAPS) -> Transforms:
    """The matrices for ``outputs`` outputs of ``taps`` taps; ``points`` are the ``outputs + taps - 2`` finite ones."""
    finite = POINTS[outputs] if points is None else points
    size = outputs + taps - 1
    at, g, bt = np.zeros((outputs, size)), np.zeros((size, taps)), np.zeros((size, size))
    for j, p in enumerate(finite):
        others = [q for i, q in enumerate(finite) if i != j]
        at[:, j] = p ** np.arange(outputs)
        g[j] = p ** np.arange(taps) / prod(p - q for q in others)
        bt[j, : size - 1] = _from_roots(others)
    at[outputs - 1, -1] = g[-1, taps - 1] = 1.0
    bt[-1] = _from_roots(list(finite))
    return Transforms(output=at, kernel=g, data=bt)


def strided(outputs: int) -> Transforms:
    """``outputs`` outputs of 3 taps with stride 2: F(m, 2) of the even data by the outer taps, and each odd element by the middle
    one. ``data`` [2m + 1, 2m + 1] takes even elements first, then odd ones, whose m points share the last row of ``kernel``
    [m + 2, 3]; ``output`` [m, 2m + 1]."""
    even, odd = transforms(outputs, STRIDED_POINTS[outputs], 2), np.eye(outputs)
    kernel = np.zeros((outputs + 2, TAPS))
    kernel[:-1, [0, 2]] = even.kernel
    kernel[-1, 1] = 1.0
    data = np.zeros((2 * outputs + 1, 2 * outputs + 1))
    data[: outputs + 1, : outputs + 1] = even.data
    data[outputs + 1 :, outputs + 1 :] = odd
    return Transforms(output=np.hstack([even.output, odd]), kernel=kernel, data=data)


def spanning(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S, H) with G = H S: S are those rows of G [points, r] of which the others are sums with the smallest coefficients. So the
    r x r points S g S^T of a transformed kernel make all of them, H (S g S^T) H^T, with fewer operations than the kernel does."""
    points, taps = kernel.shape
    found = []
    for chosen in map(list, combinations(range(points), taps)):
        rows = kernel[chosen]
        if abs(np.linalg.det(rows)) < SINGULAR:
            continue
        others = kernel @ np.linalg.inv(rows)
        others[np.abs(others) < SINGULAR] = 0.0
        others[chosen] = np.eye(taps)
        found.append((float(np.abs(others).sum(axis=1).max()), np.count_nonzero(others), chosen, rows, others))
    *_, rows, others = min(found, key=lambda each: each[:3])
    return rows, others


def _from_roots(roots: list[float]) -> np.ndarray:
    """Coefficients of prod (x - root), ascending."""
    coefficients = np.ones(1)
    for root in roots:
        coefficients = np.convolve(coefficients, [-root, 1.0])
    return coefficients
