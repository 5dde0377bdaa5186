"""Which register tile, and how many ways to split a reduction, on a GPU whose threads run in warps of 32.

A model, never measured on a GPU. Sources: NVIDIA, CUDA C++ Programming Guide, tables of arithmetic throughput (128 float32 FMAs a
cycle and multiprocessor from compute capability 8.6 on) and of technical specifications (65,536 registers a multiprocessor); for
latencies, Abdelkhalik et al., "Demystifying the Nvidia Ampere Architecture through Microbenchmarking" (2022), tables 1 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.schedule.gpu import kernel

WARP = 32
MOST_THREADS = 512
MOST_VECTORS = 16  # of accumulators: 64 registers
LOCAL_BYTES = 48 * 1024  # a block's, without asking for more

_SCHEDULERS = 4  # of a multiprocessor; each issues one FMA of a warp in a cycle
_LOAD_WAIT_CYCLES = 120  # between a load that the first cache or the second answers
_VECTOR_LOAD_CYCLES = 4  # what a warp's load of 32 x 16 bytes takes of the first cache, at 128 bytes a cycle
_SHARED_LOAD_CYCLES = 1.5  # likewise where neighbours load the same 16 bytes
_MEETING_CYCLES = 60  # a barrier, and the first load behind it
_TURN_CYCLES = 40  # what a warp needs to find its tile, and to finish and store one vector of it
_REGISTERS = 65_536
_MOST_BLOCKS = 16  # of a multiprocessor at a time; 32 from compute capability 9.0 on
_OTHER_REGISTERS = 32


@dataclass(frozen=True, slots=True)
class WarpTile:
    """``pixels`` x ``vectors`` accumulators of four channels. ``splits`` threads share a reduction, in blocks of ``lanes`` tiles;
    where one does it alone, ``lanes`` are a block's threads."""

    pixels: int
    vectors: int
    splits: int
    lanes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A reduction over ``windows`` places of a window, at each over ``each`` vectors of ``width`` channels, which are split."""

    windows: int
    each: int
    width: int


def choose(rows: int, columns: int, channels: int, steps: Steps, *, units: int, block: int) -> WarpTile:
    """The tile with the least modelled cycles over a [rows, columns, channels] result on ``units`` multiprocessors; the first of
    those that are equal, which is the smallest. Tiles do not go from one row to the next. ``block``: the most threads of one that
    splits nothing."""
    vectors = -(-channels // 4)
    found = []
    for v in (1, 2, 4):
        for p in range(1, min(columns, 8) + 1):
            if v <= vectors and p * v <= MOST_VECTORS:
                items = rows * -(-columns // p) * -(-vectors // v)
                found += [(WarpTile(p, v, s, n), items) for s, n in _shares(steps, items, p * v, block)]
    return min(found, key=lambda each: cycles(each[0], each[1], steps, units))[0]


def _shares(steps: Steps, items: int, vectors: int, block: int) -> list[tuple[int, int]]:
    """(splits, lanes) that share a reduction evenly, are at most a block of threads and meet in the memory that every block may
    have. Neighbouring threads read whole lines of memory, of 8 vectors, unless there are fewer tiles."""
    wide = [n for n in (8, 16, 32) if n < 2 * items] or [1 << (items - 1).bit_length()]
    return [(1, kernel.grid(items, block).size)] + [
        (s, n) for s in (2, 4, 8, 16, 32) for n in wide
        if WARP <= s * n <= MOST_THREADS and steps.each % s == 0 and (s - 1) * vectors * n * 16 <= LOCAL_BYTES
    ]  # fmt: skip


def cycles(tile: WarpTile, items: int, steps: Steps, units: int) -> float:
    """Modelled cycles of a launch of ``items`` tiles, without its overhead."""
    p, v, s = tile.pixels, tile.vectors, tile.splits
    blocks, warps = -(-items // tile.lanes), -(-tile.lanes * s // WARP)
    here = -(-blocks // units) * warps
    registers = WARP * warps * (4 * p * v + steps.width * p + 16 * v + _OTHER_REGISTERS)
    resident = warps * max(1, min(_MOST_BLOCKS, _REGISTERS // registers))
    turns = steps.windows * steps.each / s
    fma = 4 * steps.width * p * v
    port = max(fma / min(_SCHEDULERS, here), _SHARED_LOAD_CYCLES * p + _VECTOR_LOAD_CYCLES * steps.width * v)
    chain = turns * (_LOAD_WAIT_CYCLES * steps.width / 4 + fma)
    ends = _TURN_CYCLES * (1 + p * v) + ((_MEETING_CYCLES + (s - 1) * p * v * _VECTOR_LOAD_CYCLES) if s > 1 else 0)
    return max(here * turns * port, -(-here // resident) * chain) + ends * max(1.0, here / resident)
