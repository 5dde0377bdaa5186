"""Whether Winograd pays, with how many outputs a tile, and what else of it can be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from edgevision.schedule import tile_choice
from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.tile_choice import FMA_PORTS, RegisterTile
from edgevision.schedule.toom_cook import POINTS, STRIDED_POINTS, TAPS
from edgevision.schedule.workload import Workload, dtype_of
from edgevision.target import Target

LEAST_CHANNELS = 16
"""Below, the transforms cost more than the products they save."""

STREAMED_BYTES_A_CYCLE = {"x86_64": 5.0, "aarch64": 3.2, "arm": 3.2}
"""Weights of a layer are cold in a network. One core of a desktop streams 15 to 25 GB/s from memory at 4 to 5 GHz, from an L3 twice
as much: Zen 5 reads the weights of 7x7x512 at 33 GB/s, and takes 0.69 ms with m = 2, 0.79 with 3, 1.09 with 4, 1.04 directly. Some
8 GB/s at 2.4 GHz is usual for boards."""

TRANSFORM_CYCLES = {1: {2: 30, 3: 60, 4: 90}, 2: {2: 60}}
"""Stride -> outputs a tile -> to transform one tile of one channel vector, forth or back: loads, stores and additions counted. With
stride 2 more outputs a tile gained nothing without a measurement."""

STRIDED_CYCLES_A_LANE = 10.6
"""More for a tile with stride 2, whose data are as large as the image, which stays in no L2. Fitted to eight layers of RepVGG-A0
and ParNet-S, Zen 5: 112x112x48 takes 1.17 of the direct time, 28x28x192 0.84. On NEON, modelled with caches, 112x112x48 takes
0.81 and 28x28x96 0.74."""

LEAST_PIXELS = 16
"""One tile. Fewer output pixels would compute what nobody reads."""

CHUNKS = (1, 2, 4, 8, 16, 32)

AS_GOOD = 1.05
"""Tiles of at least `LEAST_TILE` pixels that cost no more than so many times the best one's cycles, of which that with the widest
block reads data the fewest times. 14x14x192 to 192 on NEON, modelled with caches: 2 x 10 and one chunk 5.6 M cycles, 4 x 5 6.2 M,
8 x 2 and two chunks 8.2 M."""
LEAST_TILE = 2
"""That each row of weights which is loaded meets: with one, loads would be the limit."""


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: ``outputs`` a tile and axis, ``pixels`` x ``vectors`` of the products' register tile, and a
    ``chunk`` of so many register tiles that goes through the products at a time."""
    g = takes(workload)
    if g is None:
        return ()
    found = []
    for outputs in _outputs(g):
        tiles = tile_count(g, outputs)
        for tile, chunk in product(_tiles(g, target, tiles), CHUNKS):
            if chunk == 1 or tile.pixels * chunk < 2 * tiles:
                found.append({"outputs": outputs, "pixels": tile.pixels, "vectors": tile.vectors, "chunk": chunk})
    found += [own for own in (dict(default(g, target, m)) for m in _outputs(g)) if own not in found]
    return tuple(found)


def default(g: Geometry, target: Target, outputs: int) -> Mapping[str, int]:
    """The modelled best tile, and as many of them as leave room in the L2 for one block's weights, or, where these stay in no L2
    anyway, for the products: weights are then read once for more tiles. Zen 5, 7x7x512 with m = 2: 0.98 ms with two thirds of the
    tiles at a time, 0.69 with all; 14x14x256 with m = 3 0.56 and 0.42. On NEON data that do not stay are read a block at a time."""
    width, tiles, points = target.vector_bits // 32, tile_count(g, outputs), products(g, outputs)
    neon, half = target.arch in ("aarch64", "arm"), target.l2_bytes // 2
    tile = tile_choice.choose(tiles, _filled(g, width), g.ci, width, target.vector_registers, lane_form=neon)
    if neon and 4 * points * tiles * g.ci > half:
        wide = [each for each in _tiles(g, target, tiles, AS_GOOD) if each.pixels >= LEAST_TILE]
        tile = max(wide, key=lambda each: each.vectors, default=tile)
    channels = min(tile.vectors * width, _filled(g, width))
    stays = 4 * points * channels * g.ci <= half
    room = max(1, half // (4 * points * (channels + (g.ci if stays else 0))))
    chunk = max(1, min(room, tiles + tile.pixels - 1) // tile.pixels)
    return {"outputs": outputs, "pixels": tile.pixels, "vectors": tile.vectors, "chunk": chunk}


def _tiles(g: Geometry, target: Target, tiles: int, within: float = tile_choice.CONTENDING) -> tuple[RegisterTile, ...]:
    width = target.vector_bits // 32
    return tile_choice.contenders(
        tiles, _filled(g, width), g.ci, width, target.vector_registers, lane_form=target.arch in ("aarch64", "arm"),
        within=within,
    )  # fmt: skip


def _filled(g: Geometry, width: int) -> int:
    """Output channels of a group in whole vectors."""
    return -(-(g.co // g.groups) // width) * width


def products(g: Geometry, outputs: int) -> int:
    """Of a tile, for each pair of channels: `winograd.Plan.points`."""
    return (g.strides[0] * (outputs - 1) + TAPS) ** 2


def _outputs(g: Geometry) -> tuple[int, ...]:
    """A tile and axis."""
    return tuple(POINTS if g.strides == (1, 1) else STRIDED_POINTS)


def tile_count(g: Geometry, outputs: int) -> int:
    return g.n * -(-g.ho // outputs) * -(-g.wo // outputs)


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
    """m with the least modelled cycles; None where the direct form is the cheapest."""
    width = target.vector_bits // 32
    direct = _cycles(g, g.n * g.ho * g.wo * TAPS**2, TAPS**2, target)
    vectors = g.groups * -(-g.ci // width) + g.groups * -(-(g.co // g.groups) // width)
    costs: dict[int | None, float] = {None: direct}
    strided = STRIDED_CYCLES_A_LANE * width * (g.strides[0] - 1)
    for m, each in TRANSFORM_CYCLES[g.strides[0]].items():
        tiles = tile_count(g, m)
        costs[m] = _cycles(g, tiles * products(g, m), (m + TAPS - 1) ** 2, target) + tiles * vectors * (each + strided)
    return min(costs, key=lambda m: costs[m])


def _cycles(g: Geometry, products: int, weights: int, target: Target) -> float:
    """So many products and weights a pair of channels, or the time in which the weights arrive from memory: the longer one, or both
    on NEON's cores, which wait more. 14x14x192 there, modelled with caches: m = 3 5.36 M cycles, 4 5.63 M, 2 5.86 M."""
    pairs = g.ci * g.co
    computing = products * pairs / (FMA_PORTS * (target.vector_bits // 32))
    arriving = 4 * weights * pairs / STREAMED_BYTES_A_CYCLE[target.arch]
    return computing + arriving if target.arch in ("aarch64", "arm") else max(computing, arriving)
