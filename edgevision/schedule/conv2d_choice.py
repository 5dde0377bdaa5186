"""What can be chosen about a convolution in registers, and what is chosen without a measurement."""

from __future__ import annotations

from itertools import product

from edgevision.schedule import folded, tile_choice
from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.register_tile import Lanes, lanes
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.workload import Workload, dtype_of
from edgevision.target import Target

SWEEPS = (1, 2, 4, 8, 16, 32)
UNROLLS = (1, 2, 4)
NARROW, FILL, FOLD = 0, 1, 2
"""The last channels, which fill no vector: narrower vectors, one filled up with zeros, or several reduction steps in one."""


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: ``pixels`` x ``vectors`` of the register tile, `Plan`'s ``sweep`` and ``unroll``, and how to
    ``fill`` the last vector of channels."""
    g = takes(workload)
    if g is None:
        return ()
    rows, columns = pixel_grid(g)
    endings = (NARROW, *((FILL,) if fills(g, target) else ()), *((FOLD,) if folds(g, target) > 1 else ()))
    found = []
    for fill, unroll in product(endings, UNROLLS):
        steps = folds(g, target) if fill == FOLD else 1
        if g.ci // (steps * reduction_step(g, target)) % unroll:
            continue
        for tile in tile_choice.contenders(*_extents(g, target, steps), lane_form=reduction_step(g, target) > 1):
            units = columns // tile.pixels if flat(g) else rows
            sweeps = {*(() if flat(g) else (0,)), *(s for s in SWEEPS if s < units), units}
            found += [
                {"pixels": tile.pixels, "vectors": tile.vectors, "sweep": sweep, "unroll": unroll, "fill": fill}
                for sweep in sorted(sweeps)
            ]
    return tuple(found)


def default(g: Geometry, target: Target) -> dict[str, int]:
    """The modelled best tile; blocks outermost where the weights outweigh the data."""
    rows, columns = pixel_grid(g)
    width = target.vector_bits // 32
    steps = folds(g, target) if _leaves_room(g.co // g.groups, width, folds(g, target)) else 1
    tile = tile_choice.choose(*_extents(g, target, steps), lane_form=reduction_step(g, target) > 1)
    reduction, channels = g.kh * g.kw * g.ci, filled(g, target)
    weight_bytes, data_bytes = 4 * reduction * channels, 4 * g.n * g.h * g.w * g.ci
    units = columns // tile.pixels if flat(g) else rows
    several = full_blocks(folded.cover(channels, width, steps), tile.vectors) > 1
    sweep = units if weight_bytes > data_bytes and several else int(flat(g))
    fill = FOLD if steps > 1 else FILL if fills(g, target) else NARROW
    return {"pixels": tile.pixels, "vectors": tile.vectors, "sweep": sweep, "unroll": 1, "fill": fill}


def fills(g: Geometry, target: Target) -> bool:
    """Whether whole vectors cover a group's channels with fewer than a last one in pieces does: 12 = 8 + 4 of 16."""
    channels, width = g.co // g.groups, target.vector_bits // 32
    return len(lanes(channels, width)) > -(-channels // width)


def folds(g: Geometry, target: Target) -> int:
    """How many reduction steps a vector takes that the channels fill, on processors that load and spread a few elements
    at once; for one pixel weights are what counts."""
    if target.arch != "x86_64" or g.n * g.ho * g.wo == 1:
        return 1
    return folded.steps_at_once(g.co // g.groups, target.vector_bits // 32, g.ci)


LEAST_ROOM = {2: 1 / 32, 4: 1 / 8}
"""Steps at once -> the share of whole vectors that channels must leave empty for folding to be the default: the sum at the end
costs. Of 14x14 pixels, 184 channels (2 steps, 1/24 empty) gain 4 %, 92 (4 steps, 1/24) lose 8, 36 (4 steps, 1/4) gain 17."""


def _leaves_room(channels: int, width: int, steps: int) -> bool:
    room = -channels % width
    return steps in LEAST_ROOM and room >= LEAST_ROOM[steps] * (channels + room)


def _extents(g: Geometry, target: Target, steps: int) -> tuple[int, int, int, int, int]:
    """Pixels, channels, reduction, channels of a vector and registers as `tile_choice` wants them, with ``steps`` in one vector."""
    _, columns = pixel_grid(g)
    channels = g.co // g.groups if steps > 1 else filled(g, target)
    return columns, channels, g.kh * g.kw * g.ci // steps, target.vector_bits // 32 // steps, registers(g, target)


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
    by_element = target.neon and reduction_step(g, target) == 1
    return target.vector_registers - (HELD if by_element else 0)


def reduction_step(g: Geometry, target: Target) -> int:
    return 4 if target.neon and g.ci % 4 == 0 else 1
