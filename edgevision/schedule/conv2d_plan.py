"""What is fixed of a convolution in registers before its code is made: tiles, blocks of channels, and how weights are packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgevision.schedule import folded
from edgevision.schedule.conv2d_choice import FILL, FOLD, default, filled, flat, folds, full_blocks, pixel_grid, reduction_step
from edgevision.schedule.geometry import Geometry
from edgevision.schedule.register_tile import Lanes
from edgevision.target import Target


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive output channels of one group that a tile covers, and where their packed weights start."""

    first: int
    vectors: tuple[Lanes, ...]
    weights_at: int

    @property
    def channels(self) -> int:
        return sum(v.width for v in self.vectors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``rows`` x ``columns`` output pixels, one row of them all if ``flat``; ``full`` blocks of equal size, then
    ``rest``.

    ``channels`` of a group are computed, filled up with zeros to whole vectors where ``rest`` holds more of them than the
    group has. A block's weights meet ``sweep`` units of pixels before the next block's turn: tiles if ``flat``, else rows, where 0
    is one tile. ``unroll`` turns of the reduction's innermost loop are written out.
    """

    geometry: Geometry
    flat: bool
    straight: bool  # flat, and nothing behind the anchor depends on the row
    rows: int
    columns: int
    channels: int
    tile: int
    full: int
    block: Block
    rest: Block | None
    step: int  # reduction steps handled together (4: the lane form of NEON)
    folded: bool  # in one vector
    sweep: int
    unroll: int

    @property
    def units(self) -> int:
        return self.columns // self.tile if self.flat else self.rows

    @property
    def reduction(self) -> int:
        return self.geometry.kh * self.geometry.kw * self.geometry.ci

    @property
    def prefetches(self) -> bool:
        """While a block's weights meet all pixels, the next block's are asked for."""
        return self.sweep >= self.units > 1 and self.full > 1

    @property
    def group_weights(self) -> int:
        return self.reduction * self.channels


def plan_of(g: Geometry, target: Target, parameters: Mapping[str, int], *, straight: bool) -> Plan:
    rows, columns = pixel_grid(g)
    width, reduction, vectors = target.vector_bits // 32, g.kh * g.kw * g.ci, parameters["vectors"]
    fill, steps = parameters["fill"], folds(g, target) if parameters["fill"] == FOLD else 1
    channels = filled(g, target) if fill == FILL else g.co // g.groups
    cover = folded.cover(channels, width, steps)
    block = Block(0, cover[:vectors], 0)
    # A filled vector belongs to the rest: what of it is stored is then known when the code is made.
    full = (len(cover) - 1) // vectors if fill == FILL else full_blocks(cover, len(block.vectors))
    first = full * block.channels
    left = tuple(replace(v, offset=v.offset - first) for v in cover[full * len(block.vectors) :])
    return Plan(
        geometry=g, flat=flat(g), straight=straight, rows=rows, columns=columns, channels=channels,
        tile=parameters["pixels"], full=full, block=block, rest=Block(first, left, first * reduction) if left else None,
        step=steps if fill == FOLD else reduction_step(g, target), folded=fill == FOLD, sweep=parameters["sweep"],
        unroll=parameters["unroll"],
    )  # fmt: skip


def pack(weights: np.ndarray, plan: Plan) -> np.ndarray:
    """[kh, kw, ci, co] -> the flat order that the kernel streams: group, block of channels, reduction step, channel."""
    g = plan.geometry
    groups = weights.reshape(plan.reduction, g.groups, g.co // g.groups).transpose(1, 0, 2)
    groups = np.pad(groups, ((0, 0), (0, 0), (0, plan.channels - groups.shape[2])))
    size = plan.block.channels
    parts = []
    for one in groups:
        parts += [one[:, i * size : (i + 1) * size] for i in range(plan.full)]
        if plan.rest:
            parts.append(one[:, plan.rest.first :])
    return np.concatenate([folded.lay(p, plan.step if plan.folded else 1) for p in parts])


def rows_plan(g: Geometry, target: Target) -> Plan:
    """For `emit_rows`: the default, with tiles that fit a row."""
    row = replace(g, n=1, h=1, ho=1, prefix=(1, 1, g.wo)) if flat(g) else g
    plan = plan_of(row, target, default(row, target), straight=False)
    return replace(plan, geometry=g, flat=False, rows=g.n * g.ho, columns=g.wo, sweep=0)
