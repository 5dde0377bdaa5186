"""Weights that a library makes from smaller ones when it is loaded: the filters of Winograd's method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilterTransform:
    """U = G g G^T of every filter g, as the products read it.

    [taps, taps, ci, groups * channels] -> flat float32 in the order [group][block][point][inputs][block's channels], computed in
    float64. ``matrix`` is G [points of an axis, taps]. Of each group the ci input channels are filled up with zeros to ``inputs``,
    the ``channels`` output channels to ``filled``; ``block`` of these are a block, the last one may be smaller.
    native/filters.c does the same.
    """

    matrix: np.ndarray
    groups: int
    channels: int
    inputs: int
    filled: int
    block: int

    @property
    def nbytes(self) -> int:
        """Of the result."""
        return 4 * len(self.matrix) ** 2 * self.groups * self.inputs * self.filled

    def __call__(self, filters: np.ndarray) -> np.ndarray:
        g, ci = self.matrix, filters.shape[2]
        points = np.einsum("ai,ijcf,bj->abcf", g, filters.astype(np.float64), g, optimize=True)
        points = points.reshape(len(g) ** 2, ci, self.groups, self.channels).astype(np.float32)
        points = np.pad(points, ((0, 0), (0, self.inputs - ci), (0, 0), (0, self.filled - self.channels)))
        starts = range(0, self.filled, self.block)
        blocks = [points[..., start : start + self.block].transpose(2, 0, 1, 3) for start in starts]
        return np.concatenate([b.reshape(self.groups, -1) for b in blocks], axis=1).reshape(-1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transformed:
    """``by`` makes a weight from ``filters``."""

    filters: np.ndarray
    by: FilterTransform
