"""A constant matrix times vectors in registers, with few operations.

The matrices of Toom and Cook with points p and -p have pairs of rows that differ by the signs of odd columns (B^T, G), or
pairs of columns that differ by the signs of odd rows (A^T). What such a pair shares is computed once, which a compiler,
that must not reorder sums, does not do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.register_tile import Expr, broadcast, zero

Terms = Sequence[Expr | None]
"""Vectors; None is a vector of zeros."""


def times(matrix: np.ndarray, terms: Terms, width: int) -> list[Expr]:
    """``matrix`` [rows, columns] x ``terms``, one vector of ``width`` lanes a column: one vector a row."""
    rows: list[Expr | None] = [None] * len(matrix)
    columns = column_pairs(matrix)
    if columns:
        return _of_sums(matrix, terms, width, columns)
    for first, second, sign in row_pairs(matrix):
        even, odd = (_bound(_combine(matrix[first][s::2], terms[s::2], width)) for s in (0, 1))
        rows[first] = _sum(even, odd, width)
        rows[second] = _difference(even, odd, width) if sign > 0 else _difference(odd, even, width)
    for i, line in enumerate(matrix):
        if rows[i] is None:
            rows[i] = _combine(line, terms, width)
    return [T.Bind(r) if r is not None else zero(width) for r in rows]


def row_pairs(matrix: np.ndarray) -> list[tuple[int, int, int]]:
    """(i, j, sign): row j is ``sign`` times row i with the odd columns' signs turned."""
    turned = matrix * (-1.0) ** np.arange(matrix.shape[1])
    return _pairs(matrix, turned)


def column_pairs(matrix: np.ndarray) -> list[tuple[int, int, int]]:
    """(i, j, 1): column j is column i with the odd rows' signs turned."""
    turned = matrix * (-1.0) ** np.arange(len(matrix))[:, None]
    return [p for p in _pairs(matrix.T, turned.T) if p[2] > 0]


def _pairs(lines: np.ndarray, turned: np.ndarray) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    left = [i for i, line in enumerate(lines) if np.count_nonzero(line) > 1]
    while left:
        i = left.pop(0)
        match = next(((j, s) for j in left for s in (1, -1) if np.array_equal(lines[j], s * turned[i])), None)
        if match:
            left.remove(match[0])
            found.append((i, *match))
    return found


def _of_sums(matrix: np.ndarray, terms: Terms, width: int, pairs: list[tuple[int, int, int]]) -> list[Expr]:
    """Even rows of sums of paired terms, odd rows of their differences."""
    second = {j for _, j, _ in pairs}
    sums, differences = list(terms), list(terms)
    for i, j, _ in pairs:
        sums[i] = _bound(_sum(terms[i], terms[j], width))
        differences[i] = _bound(_difference(terms[i], terms[j], width))
    kept = [i for i in range(matrix.shape[1]) if i not in second]
    rows = []
    for number, line in enumerate(matrix):
        source = differences if number % 2 else sums
        rows.append(_combine(line[kept], [source[i] for i in kept], width))
    return [T.Bind(r) if r is not None else zero(width) for r in rows]


def _combine(line: np.ndarray, terms: Terms, width: int) -> Expr | None:
    """sum of coefficient * term, zeros left out; what is not multiplied comes first, so that the others are fused
    multiply-adds."""
    used = [(float(c), t) for c, t in zip(line, terms, strict=True) if c != 0 and t is not None]
    total = None
    for coefficient, term in sorted(used, key=lambda each: each[0] != 1):
        value = term if coefficient == 1 else term * broadcast(T.float32(coefficient), width)
        total = value if total is None else total + value
    return total


def _bound(value: Expr | None) -> Expr | None:
    return None if value is None else T.Bind(value)


def _sum(a: Expr | None, b: Expr | None, width: int) -> Expr | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _difference(a: Expr | None, b: Expr | None, width: int) -> Expr | None:
    if b is None:
        return a
    return (zero(width) if a is None else a) - b
