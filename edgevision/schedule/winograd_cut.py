"""How small strips and parts of a Winograd convolution must be to stay in the L2 of a core that waits for memory.

Whole, the transformed data of a layer are several times its image, and go to memory and back once for each block of output
channels. Cut by rows of tiles or by input channels they stay, but weights are read again for each strip, and sums kept for each
part. Lines of 64 bytes that come from behind the L2 are counted here for each cut, and priced in cycles. RepVGG-A0's layers of
14x14x192 read 34 thousand lines in two parts, and 116 thousand whole (modelled, L2 of 512 KiB).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgevision.schedule import tile_choice
from edgevision.schedule.register_tile import LINE
from edgevision.schedule.tile_choice import RegisterTile
from edgevision.schedule.toom_cook import TAPS
from edgevision.schedule.winograd_tiling import Tiling
from edgevision.target import Target

LINE_CYCLES = 20
"""Some 8 GB/s at 2.4 GHz, usual for boards."""

NEAR_CYCLES = 2
"""From the L2."""

SHARED = 2
"""So many times ``l2_bytes``, a cautious share: 256 KiB for arm64, whose cores have 256 KiB to 1 MiB of their own, or share more.
Not measured with several threads that take strips of their own."""
STAYS = 0.7
"""Of the L2, what is used again and again stays. 339 to 362 of 512 KiB did, 399 and more did not (modelled, 8 ways)."""
PRODUCTS = 1 / 8
"""Of the L2, what the products of one chunk may take."""

LATE_CYCLES = 2.1
"""To make a vector of weights from those that are stored, loads and stores included. 49 cycles for 25 points, 80 for 36."""
SUMMED = 1.8
"""Times an output's transform, where its sums are kept and read again."""
MOST_PARTS = 8
CONTENDING = 1.1
"""Register tiles that cost no more than so many times the best one's cycles compete: narrower blocks leave more of the L2."""


def transform_cycles(stride: int, outputs: int) -> int:
    """To transform one tile of one channel vector, forth or back: loads, stores and additions counted."""
    return 30 * stride * (outputs - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """See `winograd_plan.Plan`."""

    rows: int
    parts: int
    late: bool
    tile: RegisterTile
    chunk: int

    def parameters(self, tiling: Tiling) -> Mapping[str, int]:
        """What is as it would be without a cut is left out. ``strips`` as even as they can be."""
        found = {"outputs": tiling.outputs, "pixels": self.tile.pixels, "vectors": self.tile.vectors, "chunk": self.chunk}
        found |= {"strips": -(-tiling.rows // self.rows)} if self.rows < tiling.rows else {}
        found |= {"parts": self.parts} if self.parts > 1 else {}
        return found | ({"late": 1} if self.late else {})


def cuts(tiling: Tiling, target: Target) -> list[Cut]:
    """One for each way to cut, with the register tile that suits it; that with the least modelled cycles first."""
    found: dict[tuple[int, int, bool], tuple[float, Cut]] = {}
    for cut in _all(tiling, target):
        way, price = (cut.rows, cut.parts, cut.late), cycles(tiling, cut, target)
        if way not in found or price < found[way][0]:
            found[way] = price, cut
    return [cut for _, cut in sorted(found.values(), key=lambda each: each[0])]


def _all(tiling: Tiling, target: Target) -> Iterator[Cut]:
    vectors, g = tiling.inputs // tiling.width, tiling.geometry
    parts = [n for n in range(1, min(vectors, MOST_PARTS) + 1) if vectors % n == 0] if g.ci == tiling.inputs else [1]
    for rows in sorted({-(-tiling.rows // n) for n in range(1, tiling.rows + 1)}):
        tiles = tiling.tiles(rows)
        for tile in tile_choice.contenders(
            tiles, tiling.filled, g.ci, tiling.width, target.vector_registers, lane_form=target.neon, within=CONTENDING
        ):  # fmt: skip
            room = PRODUCTS * SHARED * target.l2_bytes / (4 * tiling.points * tile.vectors * tiling.width)
            passes = max(1, -(-tiles // max(tile.pixels, int(room))))
            chunk = -(-tiles // (passes * tile.pixels))
            for n in parts:
                for late in (False, True):
                    yield Cut(rows=rows, parts=n, late=late, tile=tile, chunk=chunk)


def cycles(tiling: Tiling, cut: Cut, target: Target) -> float:
    """Of products, transforms, and waits for memory."""
    g, tiles = tiling.geometry, tiling.tiles(cut.rows)
    strips = tiling.count / tiles
    products = g.groups * tiling.points * cut.parts * tile_choice.cycles(
        tiles, tiling.filled, tiling.inputs // cut.parts, tiling.width, cut.tile, lane_form=target.neon
    )  # fmt: skip
    forth, back = (g.groups * n / tiling.width for n in (tiling.inputs, tiling.filled))
    each = transform_cycles(tiling.stride, tiling.outputs)
    transforms = tiles * each * (forth + back * (cut.parts * SUMMED if cut.parts > 1 else 1))
    late = LATE_CYCLES * tiling.slots**2 * g.groups * tiling.inputs * tiling.filled / tiling.width if cut.late else 0
    near = NEAR_CYCLES * strips * _near(tiling, cut)
    return strips * (products + transforms + late) + near + LINE_CYCLES * _lines(tiling, cut, target, strips)


def _near(tiling: Tiling, cut: Cut) -> float:
    """Lines that come from the L2 in a strip: transformed data once for each block, weights for each chunk, products."""
    g, block, tiles = tiling.geometry, cut.tile.vectors * tiling.width, tiling.tiles(cut.rows)
    blocks, chunks = -(-tiling.filled // block), _chunks(tiling, cut)
    data = tiling.points * tiles * tiling.inputs * (1 + blocks)
    weights = tiling.slots**2 * tiling.inputs * tiling.filled * (chunks + cut.late)
    products = 2 * tiling.points * tiles * tiling.filled * cut.parts
    return g.groups * (data + weights + products) / LINE


def _lines(tiling: Tiling, cut: Cut, target: Target, strips: float) -> float:
    """Of 64 bytes, that come from behind the L2 or go there."""
    g, tiles, block = tiling.geometry, tiling.tiles(cut.rows), cut.tile.vectors * tiling.width
    pairs, part = g.groups * tiling.inputs * tiling.filled, tiling.inputs // cut.parts
    stored, made = (TAPS**2, tiling.slots**2) if cut.late else (tiling.slots**2, 0)
    room = STAYS * SHARED * target.l2_bytes / 4
    image = g.n * (g.h * g.w * g.groups * g.ci + g.ho * g.wo * g.co)
    data = tiling.points * tiles * g.groups * part
    used = (stored + made) * part * block + tiling.points * min(tiles, cut.chunk * cut.tile.pixels) * block
    read = 1 if strips == 1 or data + used + stored * pairs <= room else strips
    again = 0 if data + used <= room else data * cut.parts * (1 + g.groups * -(-tiling.filled // block))
    if used > room:  # one block's weights do not stay from chunk to chunk
        chunks = _chunks(tiling, cut)
        again += pairs * (made * (1 + chunks) if cut.late else stored * (chunks - 1))
    sums = cut.parts * tiles * tiling.outputs**2 * g.groups * tiling.filled if cut.parts > 1 else 0
    return (image + read * stored * pairs + strips * (again + sums)) / LINE


def _chunks(tiling: Tiling, cut: Cut) -> int:
    """Of a strip."""
    return -(-tiling.tiles(cut.rows) // (cut.chunk * cut.tile.pixels))
