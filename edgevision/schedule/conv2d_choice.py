"""What can be chosen about a convolution in registers, and what is chosen without a measurement."""

from __future__ import annotations

from itertools import product

from edgevision.schedule import tile_choice
from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.register_tile import Lanes, lanes
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.workload import Workload, dtype_of
from edgevision.target import Target

SWEEPS = (1, 2, 4, 8, 16, 32)
UNROLLS = (1, 2, 4)


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: ``pixels`` x ``vectors`` of the register tile, `Plan`'s ``sweep`` and ``unroll``, and whether to
    ``fill`` the last vector of channels, where that makes fewer of them."""
    g = takes(workload)
    if g is None:
        return ()
    rows, columns = pixel_grid(g)
    tiles = tile_choice.contenders(
        columns, filled(g, target), g.kh * g.kw * g.ci, target.vector_bits // 32, registers(g, target),
        lane_form=reduction_step(g, target) > 1,
    )  # fmt: skip
    found = []
    either = (0, 1) if fills(g, target) else (0,)
    for tile, unroll, fill in product(tiles, UNROLLS, either):
        units = columns // tile.pixels if flat(g) else rows
        sweeps = {*(() if flat(g) else (0,)), *(s for s in SWEEPS if s < units), units}
        if g.ci // reduction_step(g, target) % unroll == 0:
            found += [
                {"pixels": tile.pixels, "vectors": tile.vectors, "sweep": sweep, "unroll": unroll, "fill": fill}
                for sweep in sorted(sweeps)
            ]
    return tuple(found)


def default(g: Geometry, target: Target) -> dict[str, int]:
    """The modelled best tile; blocks outermost where the weights outweigh the data."""
    rows, columns = pixel_grid(g)
    channels, reduction, width = filled(g, target), g.kh * g.kw * g.ci, target.vector_bits // 32
    tile = tile_choice.choose(
        columns, channels, reduction, width, registers(g, target), lane_form=reduction_step(g, target) > 1
    )
    weight_bytes, data_bytes = 4 * reduction * channels, 4 * g.n * g.h * g.w * g.ci
    units = columns // tile.pixels if flat(g) else rows
    several = full_blocks(lanes(channels, width), tile.vectors) > 1
    sweep = units if weight_bytes > data_bytes and several else int(flat(g))
    fill = int(fills(g, target))
    return {"pixels": tile.pixels, "vectors": tile.vectors, "sweep": sweep, "unroll": 1, "fill": fill}


def fills(g: Geometry, target: Target) -> bool:
    """Whether whole vectors cover a group's channels with fewer than a last one in pieces does: 12 = 8 + 4 of 16."""
    channels, width = g.co // g.groups, target.vector_bits // 32
    return len(lanes(channels, width)) > -(-channels // width)


def filled(g: Geometry, target: Target) -> int:
    """Channels of a group that the default computes."""
    channels, width = g.co // g.groups, target.vector_bits // 32
    return -(-channels // width) * width if fills(g, target) else channels


def full_blocks(cover: tuple[Lanes, ...], vectors: int) -> int:
    """How many blocks of ``vectors`` equal vectors there are, of the widest kind."""
    return max(1, sum(1 for v in cover if v.width == cover[0].width) // vectors)


def takes(workload: Workload) -> Geometry | None:
    found = elementwise_tail(workload)
    shape = geometry(workload, found[0], any_padding=True) if found else None
    return shape if shape is not None and dtype_of(shape.source) == "float32" else None


def flat(g: Geometry) -> bool:
    return (g.kh, g.kw, g.strides) == (1, 1, (1, 1)) and g.padded is None


def pixel_grid(g: Geometry) -> tuple[int, int]:
    """Rows of output pixels, and pixels a row."""
    return (1, g.n * g.ho * g.wo) if flat(g) else (g.n * g.ho, g.wo)


HELD = 5
"""Registers that LLVM fills with elements of coming pixels where NEON multiplies by one element at a time. Without room for them it
keeps accumulators on the stack: 112x112x3 to 32, stride 2, modelled, takes 0.75 of the cycles with a tile that leaves it."""


def registers(g: Geometry, target: Target) -> int:
    """For a tile and its operands."""
    by_element = target.arch in ("aarch64", "arm") and reduction_step(g, target) == 1
    return target.vector_registers - (HELD if by_element else 0)


def reduction_step(g: Geometry, target: Target) -> int:
    return 4 if target.arch in ("aarch64", "arm") and g.ci % 4 == 0 else 1
