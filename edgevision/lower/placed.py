"""Placed: a tensor of the ONNX graph while it is lowered, with the order in which its axes are stored."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

RelaxVar = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """``shape`` has ONNX's axis order; ``var`` holds the elements.

    ``channels_last``: stored with axis 1 moved to the end (rank 3 and up). ``flat``: a matrix [n, c * h * w] whose
    rows are stored in h, w, c order instead; the value is (c, h, w...).
    """

    var: RelaxVar
    shape: tuple[int, ...]
    dtype: str
    channels_last: bool = False
    flat: tuple[int, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return last_shape(self.shape) if self.channels_last else self.shape

    def axis(self, axis: int) -> int:
        """Where ONNX's ``axis`` is stored."""
        if not self.channels_last or axis == 0:
            return axis
        return self.rank - 1 if axis == 1 else axis - 1


def last_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(n, c, spatial...) -> (n, spatial..., c)."""
    return (shape[0], *shape[2:], shape[1])


def to_last(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> tuple[int, ...]:
    return (0, rank - 1, *range(1, rank - 1))


def moves_nothing(shape: tuple[int, ...]) -> bool:
    """Whether both axis orders store (n, c, spatial...) the same way."""
    return shape[1] == 1 or prod(shape[2:]) == 1


def broadcast_constant(array: np.ndarray, rank: int, *, channels_last: bool) -> np.ndarray:
    """A constant operand of an elementwise operator, in the axis order of its partner, leading unit axes removed."""
    if channels_last and array.ndim > 1:
        array = array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(to_last(rank))
    elif channels_last and array.ndim == 1 and array.size > 1:
        # Aligned with the last spatial axis: give it a place before the channels.
        array = array[:, None]
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    return np.asarray(array, order="C")
