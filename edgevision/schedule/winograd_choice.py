"""Whether Winograd pays, with how many outputs a tile, and what else of it can be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from edgevision.schedule import tile_choice
from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.tile_choice import FMA_PORTS, RegisterTile
from edgevision.schedule.toom_cook import POINTS, STRIDED_POINTS, TAPS
from edgevision.schedule.winograd_cut import Cut, cuts, transform_cycles
from edgevision.schedule.winograd_tiling import Tiling, tiling_of
from edgevision.schedule.workload import Workload, dtype_of
from edgevision.target import Target

LEAST_CHANNELS = 16
"""Below, the transforms cost more than the products they save."""

STREAMED_BYTES_A_CYCLE = {"x86_64": 5.0, "aarch64": 3.2, "arm": 3.2}
"""Weights of a layer are cold in a network. One core of a desktop streams 15 to 25 GB/s from memory at 4 to 5 GHz, from an L3 twice
as much: Zen 5 reads the weights of 7x7x512 at 33 GB/s, and takes 0.69 ms with m = 2, 0.79 with 3, 1.09 with 4, 1.04 directly. Some
8 GB/s at 2.4 GHz is usual for boards."""

STRIDED_OUTPUTS = {True: (2,), False: (2, 4)}
"""On NEON, elsewhere. 112x112x48 with 4: 0.86 of the cycles and 2.6 times the misses (modelled). Zen 4, of the direct time: 0.64
with 4, 0.74 with 2; 56x56x48 to 96 0.65 and 0.78."""
STRIDED_GAIN = 0.95
"""Of the direct time: what the model says to be nearer to it was slower. 14x14x192 to 1280: 0.97 and Zen 5 1.04."""

STAYING_CYCLES, STRIDED_CYCLES = 0.1, 0.42
"""More for a point and lane of a tile with stride 2, whose data are as large as the image: where strips of them stay in the L2, and
where they do not. Fitted to three layers of RepVGG-A0, Zen 4, and to eight of RepVGG-A0 and ParNet-S, Zen 5: 112x112x48 whole
takes 1.17 of the direct time with 2 outputs, 28x28x192 0.84."""

LEAST_PIXELS = 16
"""One tile. Fewer output pixels would compute what nobody reads."""

CHUNKS = (1, 2, 4, 8, 16, 32)

THREADS = (2, 4)
"""For which shares should be fair, that for two first. How many will run it is not known: a log holds for any number."""
AS_GOOD = 1.02
"""Register tiles that cost no more than so many times the modelled best one's cycles."""

MOST_CUTS = 6
"""The modelled best ones for each number of outputs are worth a measurement."""


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: ``outputs`` a tile and axis, ``pixels`` x ``vectors`` of the products' register tile, a
    ``chunk`` of so many register tiles that goes through the products at a time, and how to cut (see `winograd_cut`)."""
    g = takes(workload)
    if g is None:
        return ()
    found = []
    for outputs in _outputs(g):
        tiling = tiling_of(g, target, outputs)
        for tile, chunk in product(_tiles(tiling, target), CHUNKS):
            if chunk == 1 or tile.pixels * chunk < 2 * tiling.count:
                found.append({"outputs": outputs, "pixels": tile.pixels, "vectors": tile.vectors, "chunk": chunk})
        others = [cut.parameters(tiling) for cut in cuts(tiling, target)[:MOST_CUTS]]  # on NEON with the default
        for own in others if target.neon else (default(g, target, outputs), *others):
            if own not in found:
                found.append(dict(own))
    return tuple(found)


def default(g: Geometry, target: Target, outputs: int) -> Mapping[str, int]:
    """On NEON, whose cores wait for memory, the modelled best cut. Elsewhere all at once, or with stride 2 in strips (`_strip`):
    of the register tiles that are as good as the modelled best that with the fairest shares for threads. On two threads of Zen 4
    RepVGG-A0 takes 0.9 of the time for it, ParNet-S 0.85, on one 0.98."""
    tiling = tiling_of(g, target, outputs)
    if target.neon:
        return cuts(tiling, target)[0].parameters(tiling)
    rows = _strip(tiling, target)
    tiles = tiling.tiles(rows)
    sizes = tiles, tiling.filled, g.ci, tiling.width

    def cost(cut: Cut) -> tuple[float, ...]:
        shares = (round(_share(tiling, cut, threads), 2) for threads in THREADS)
        return *shares, tile_choice.cycles(*sizes, cut.tile, lane_form=False)

    found = tile_choice.contenders(*sizes, target.vector_registers, lane_form=False, within=AS_GOOD)
    cut = min((_whole(tiling, target, rows, tile) for tile in found), key=cost)
    return cut.parameters(tiling)


def _whole(tiling: Tiling, target: Target, rows: int, tile: RegisterTile) -> Cut:
    """With as many register tiles at a time as leave room in the L2 for one block's weights, or, where these stay in no L2
    anyway, for the products: weights are then read once for more tiles. Zen 5, 7x7x512 with m = 2: 0.98 ms with two thirds of the
    tiles at a time, 0.69 with all; 14x14x256 with m = 3 0.56 and 0.42."""
    g, tiles, half = tiling.geometry, tiling.tiles(rows), target.l2_bytes // 2
    channels = tile.vectors * tiling.width
    stays = 4 * tiling.points * channels * g.ci <= half
    room = max(1, half // (4 * tiling.points * (channels + (g.ci if stays else 0))))
    chunk = max(1, min(room, tiles + tile.pixels - 1) // tile.pixels)
    return Cut(rows=rows, parts=1, late=False, tile=tile, chunk=chunk)


def _share(tiling: Tiling, cut: Cut, threads: int) -> float:
    """What one of ``threads`` that make a strip together multiplies at most, of a fair share: chunks of tiles of the blocks of
    equal width are dealt out, then those of a narrower last block; a shorter last chunk each time after the others."""
    groups, vectors, tiles = tiling.geometry.groups, tiling.filled // tiling.width, tiling.tiles(cut.rows)
    chunk = min(tiles, cut.chunk * cut.tile.pixels)
    blocks, narrow = divmod(vectors, cut.tile.vectors)
    most = sum(
        -(-groups * number // threads) * width * length
        for count, width in ((blocks, cut.tile.vectors), (1, narrow))
        for number, length in ((count * (tiles // chunk), chunk), (count, tiles % chunk))
    )
    return most * threads / (groups * vectors * tiles)


def _strip(tiling: Tiling, target: Target) -> int:
    """Rows of tiles of a strip: all, but with stride 2 at most what takes a fourth of the L2 where the weights stay in it. Zen 4,
    112x112x48 with m = 4: 0.84 ms with one or two rows, 1.30 with all, 1.31 directly."""
    weights = 4 * tiling.slots**2 * tiling.inputs * tiling.filled
    if tiling.stride == 1 or tiling.geometry.groups > 1 or weights > target.l2_bytes or _stays(tiling, target, tiling.rows):
        return tiling.rows
    strips = -(-tiling.rows // max(1, target.l2_bytes // 4 // _data_bytes(tiling, 1)))
    return -(-tiling.rows // strips)


def _stays(tiling: Tiling, target: Target, rows: int) -> bool:
    """Whether the data of so many rows of tiles take at most half of the L2."""
    return _data_bytes(tiling, rows) <= target.l2_bytes // 2


def _data_bytes(tiling: Tiling, rows: int) -> int:
    """Transformed data of so many rows of tiles."""
    return 4 * tiling.points * tiling.tiles(rows) * tiling.geometry.groups * tiling.inputs


def _tiles(tiling: Tiling, target: Target) -> tuple[RegisterTile, ...]:
    return tile_choice.contenders(
        tiling.count, tiling.filled, tiling.geometry.ci, tiling.width, target.vector_registers, lane_form=target.neon
    )


def _outputs(g: Geometry) -> tuple[int, ...]:
    """A tile and axis."""
    return tuple(POINTS if g.strides == (1, 1) else STRIDED_POINTS)


def takes(workload: Workload) -> Geometry | None:
    """The geometry of a float32 3x3 convolution, stride 1 or 2, large enough for a tile."""
    found = elementwise_tail(workload)
    g = geometry(workload, found[0]) if found else None
    return g if g is not None and applies(g) and dtype_of(g.source) == "float32" else None


def applies(g: Geometry) -> bool:
    return (
        (g.kh, g.kw, g.dilations) == (TAPS, TAPS, (1, 1))
        and g.strides in ((1, 1), (2, 2))
        and min(g.ci, g.co // g.groups) >= LEAST_CHANNELS
        and g.n * g.ho * g.wo >= LEAST_PIXELS
    )


def outputs_a_tile(g: Geometry, target: Target) -> int | None:
    """m with the least cycles of a model that knows no cuts yet; None where the direct form is the cheapest."""
    direct = _cycles(g, g.n * g.ho * g.wo * TAPS**2, TAPS**2, target)
    costs: dict[int | None, float] = {None: direct}
    for m in _outputs(g) if g.strides == (1, 1) else STRIDED_OUTPUTS[target.neon]:
        tiling = tiling_of(g, target, m)
        vectors = g.groups * (tiling.inputs + tiling.filled) // tiling.width
        transform = transform_cycles(tiling.stride, m) + (_strided(tiling, target) if tiling.stride > 1 else 0)
        costs[m] = _cycles(g, tiling.count * tiling.points, tiling.slots**2, target) + tiling.count * vectors * transform
    least = min(costs, key=lambda m: costs[m])
    return least if g.strides == (1, 1) or costs[least] < STRIDED_GAIN * direct else None


def _strided(tiling: Tiling, target: Target) -> float:
    """Cycles more for a tile of one channel vector."""
    stays = target.neon or _stays(tiling, target, _strip(tiling, target))
    return tiling.width * tiling.points * (STAYING_CYCLES if stays else STRIDED_CYCLES)


def _cycles(g: Geometry, products: int, weights: int, target: Target) -> float:
    """So many products and weights a pair of channels, or the time in which the weights arrive from memory: the longer one, or both
    on NEON's cores, which wait more. 14x14x192 there, modelled with caches: m = 3 5.36 M cycles, 4 5.63 M, 2 5.86 M."""
    pairs = g.ci * g.co
    computing = products * pairs / (FMA_PORTS * (target.vector_bits // 32))
    arriving = 4 * weights * pairs / STREAMED_BYTES_A_CYCLE[target.arch]
    return computing + arriving if target.neon else max(computing, arriving)
