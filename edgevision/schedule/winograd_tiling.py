"""A 3x3 convolution in tiles of outputs, as Winograd's method computes it."""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.schedule.geometry import Geometry
from edgevision.schedule.toom_cook import TAPS
from edgevision.target import Target

IDLE = 1.25
"""Threads take strips of their own where the one with the most of them takes no more than so many times its share of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """``outputs`` x ``outputs`` results a tile; channels in vectors of ``width``."""

    geometry: Geometry
    outputs: int
    width: int

    @property
    def stride(self) -> int:
        return self.geometry.strides[0]

    @property
    def size(self) -> int:
        """Of a tile of data, along an axis."""
        return self.stride * (self.outputs - 1) + TAPS

    @property
    def points(self) -> int:
        """Products of a tile, for each pair of channels."""
        return self.size**2

    @property
    def slots(self) -> int:
        """Points of an axis with weights of their own."""
        return self.outputs + TAPS - 1

    @property
    def rows(self) -> int:
        """Of tiles, of an image."""
        return -(-self.geometry.ho // self.outputs)

    @property
    def columns(self) -> int:
        return -(-self.geometry.wo // self.outputs)

    @property
    def count(self) -> int:
        """Of tiles, of all images."""
        return self.geometry.n * self.rows * self.columns

    @property
    def inputs(self) -> int:
        """Input channels of a group, in whole vectors."""
        return -(-self.geometry.ci // self.width) * self.width

    @property
    def channels(self) -> int:
        """Output channels of a group."""
        return self.geometry.co // self.geometry.groups

    @property
    def filled(self) -> int:
        """The same in whole vectors."""
        return -(-self.channels // self.width) * self.width

    def tiles(self, rows: int) -> int:
        """Of a strip of ``rows`` rows of tiles: all images' where it is all rows."""
        return self.count if rows == self.rows else rows * self.columns


def tiling_of(geometry: Geometry, target: Target, outputs: int) -> Tiling:
    return Tiling(geometry=geometry, outputs=outputs, width=target.vector_bits // 32)


def takes_apart(tiling: Tiling, rows: int, cores: int) -> bool:
    """Whether threads take strips of so many rows of tiles of their own, because each then has about as much to do."""
    strips = tiling.geometry.n * -(-tiling.rows // rows)
    return rows < tiling.rows and -(-strips // cores) * rows * cores <= IDLE * tiling.geometry.n * tiling.rows
