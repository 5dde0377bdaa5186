"""How a 3x3 convolution is cut for Winograd: tiles, strips of them, parts of the input and blocks of the output channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgevision.filter_transform import FilterTransform
from edgevision.schedule.geometry import Geometry
from edgevision.schedule.pitch import odd_lines
from edgevision.schedule.register_tile import Expr, Lanes, lanes
from edgevision.schedule.scheduled import Relay
from edgevision.schedule.toom_cook import TAPS, Transforms, spanning, strided, transforms
from edgevision.schedule.winograd_tiling import Tiling, takes_apart, tiling_of
from edgevision.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Tiling):
    """``strip`` rows of tiles are transformed at a time, all images in one where that is all rows, and ``chunk`` tiles go through
    the products of one block of channels at a time, ``tile`` in registers. ``parts`` of the input channels are summed one after
    the other. ``blocks`` are those of one group. ``late`` weights are made in each run, of those that span them. Threads share
    strips where these are ``apart``, else what is to do in one."""

    matrices: Transforms
    strip: int
    parts: int
    late: bool
    apart: bool
    chunk: int
    tile: int
    step: int
    blocks: tuple[tuple[Lanes, ...], ...]

    @property
    def order(self) -> tuple[int, ...]:
        """In which the transform takes the data along an axis."""
        return tuple(i for start in range(self.stride) for i in range(start, self.size, self.stride))

    @property
    def part(self) -> int:
        """Input channels of a group that are summed at a time."""
        return self.inputs // self.parts

    @property
    def pitch(self) -> int:
        """Transformed data of a tile at a point: a part of each group."""
        return self.geometry.groups * self.part

    @property
    def plane(self) -> int:
        """Transformed data of a strip at a point."""
        return odd_lines(self.tiles(self.strip) * self.pitch)

    @property
    def data(self) -> int:
        """Transformed data of a strip."""
        return self.points * self.plane

    @property
    def taps(self) -> int:
        """What is stored of the weights of a pair of channels: points, or as many of them as make the others."""
        return TAPS**2 if self.late else self.slots**2

    @property
    def weights(self) -> int:
        """Elements of a group."""
        return self.taps * self.inputs * self.filled

    @property
    def sums(self) -> tuple[int, int, int] | None:
        """The sums of the parts so far: outputs of each tile of a strip, channels."""
        if self.parts == 1:
            return None
        return (self.tiles(self.strip), self.outputs**2, self.geometry.groups * self.filled)

    @property
    def kept(self) -> tuple[tuple[int, ...], ...]:
        """What a strip needs while it is made: transformed data, and sums where there are some."""
        return ((self.data,), *([self.sums] if self.sums else []))

    @property
    def relay(self) -> Relay:
        """How the kernel is laid: transformed, or of that only what spans the rest, one input channel after the other."""
        width = sum(v.width for v in self.blocks[0])
        points = FilterTransform(
            matrix=spanning(self.matrices.kernel)[0] if self.late else self.matrices.kernel, groups=self.geometry.groups,
            channels=self.channels, inputs=self.inputs, filled=self.filled, block=width,
        )  # fmt: skip

        def by_input(kernel: np.ndarray) -> np.ndarray:
            blocks = np.split(points(kernel).reshape(self.geometry.groups, -1), self._starts[1:], axis=1)
            turned = [b.reshape(len(b), self.taps, self.inputs, -1).swapaxes(1, 2).reshape(len(b), -1) for b in blocks]
            return np.concatenate(turned, axis=1).reshape(-1)

        return by_input if self.late else points

    @property
    def _starts(self) -> list[int]:
        """Of blocks among a group's weights."""
        return [self.taps * self.inputs * b[0].offset for b in self.blocks]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """``rows`` rows of tiles of each of ``images`` images, from ``row`` of ``image`` on."""

    images: int
    rows: int
    image: Expr
    row: Expr


def plan_of(g: Geometry, target: Target, parameters: Mapping[str, int]) -> Plan:
    tiling = tiling_of(g, target, parameters["outputs"])
    pixels, vectors, strip = parameters["pixels"], parameters["vectors"], -(-tiling.rows // parameters.get("strips", 1))
    cover = lanes(tiling.filled, tiling.width)
    return Plan(
        geometry=g, outputs=tiling.outputs, width=tiling.width,
        matrices=transforms(tiling.outputs) if tiling.stride == 1 else strided(tiling.outputs), strip=strip,
        parts=parameters.get("parts", 1), late=bool(parameters.get("late", 0)),
        apart=takes_apart(tiling, strip, target.cores),
        chunk=min(tiling.tiles(strip), pixels * parameters["chunk"]), tile=pixels, step=min(4, tiling.width) if target.neon else 1,
        blocks=tuple(cover[i : i + vectors] for i in range(0, len(cover), vectors)),
    )  # fmt: skip
