"""Template for dense and grouped convolution (and matrix product, a 1x1 of one row): an outer product in registers.

For a tile of ``pixels`` x ``vectors`` accumulators, every reduction step loads one row of packed weights and
broadcasts one element of data a pixel. Weights are packed [group][block][kh * kw * ci][block's channels], so that
this row is contiguous. Data that needs a border is copied into a zeroed scratch first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule import folded
from edgevision.schedule.conv2d_choice import default, space, takes
from edgevision.schedule.conv2d_plan import Block, Plan, pack, plan_of
from edgevision.schedule.geometry import Geometry
from edgevision.schedule.register_tile import (
    Ahead,
    Buffer,
    Expr,
    Lanes,
    accumulate,
    cleared,
    lanes,
    load,
    loop,
    serial,
    split_index,
)  # fmt: skip
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import Tail, elementwise_tail, ignores_rows
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Workload, rebuild, shape_of
from edgevision.target import Target
from edgevision.tuning_log import Choice

__all__ = ["NAME", "PARALLEL_MACS", "schedule", "space"]

NAME = "conv2d"

MANY_CHUNKS = 16
"""With fewer, threads share out pairs of a chunk and a block, so that none waits long for the last."""
MOST_SHARED_WEIGHTS = 64 * 1024
"""float32 of a block (256 KiB) that stay in an L2 while threads share out the pixels that meet them."""

PARALLEL_MACS = 200_000
"""Below this a kernel stays on one thread: waking a second one costs some 5 us, in which one AVX2 core does about
this much."""
PARALLEL_WEIGHTS = 50_000
"""Likewise of float32 weights that meet one pixel only: 200 kB take a core some 5 us."""


Tiles = Callable[[Expr, Block, Expr, Expr, int], None]
"""Number of a block, the block, a row, the first of its pixels and how many."""


def schedule(workload: Workload, target: Target, parameters: Mapping[str, int] | None = None) -> Scheduled | None:
    """None where the workload is not a float32 convolution by a weight with an elementwise tail.

    ``parameters``: one of `space`; without, the default.
    """
    found = elementwise_tail(workload)
    shape = takes(workload)
    if found is None or shape is None:
        return None
    straight = ignores_rows(workload, *found)
    parameters = parameters or default(shape, target)
    plan = plan_of(shape, target, parameters, straight=straight)
    weight_number = workload.number_of(shape.weights)
    scratch = (shape_of(shape.padded.buffer),) if shape.padded else ()
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            places = parameters_of(workload, {weight_number: (shape.groups * plan.group_weights,)})
            work = [T.arg(f"s{i}", T.buffer(s, "float32", layout=None)) for i, s in enumerate(scratch)]
            tail = Tail(workload, *found, places)
            source = tail.place(shape.source)
            if shape.padded:
                copy_padded(shape, source, work[0])
                source = work[0]
            _emit(plan, source, places[weight_number], tail)
        func = builder.get()
    name = f"template:{NAME} {plan.tile}x{len(plan.block.vectors)}x{plan.block.vectors[0].width}"
    return Scheduled(
        func=func, schedule=name, choice=Choice.of(NAME, parameters), relay={weight_number: lambda w: pack(w, plan)},
        scratch=scratch,
    )  # fmt: skip


def copy_padded(g: Geometry, source: Buffer, target: Buffer) -> None:
    """Write the data and its zero border, row by row."""
    n, h, w, c = shape_of(target)
    stage = g.padded
    assert stage is not None

    def row(r: Expr) -> None:
        at_n, y = split_index(r, (n, h))
        with T.serial(T.int64(w)) as x, T.serial(T.int64(c)) as ch:
            value = rebuild(
                stage.value, dict(zip(stage.axes, (at_n, y, x, ch), strict=True)), lambda _, at: source[tuple(at)]
            )
            T.buffer_store(target, value, [at_n, y, x, ch])

    loop(n * h, row, threads=4 * n * h * w * c > PARALLEL_MACS)


def _emit(plan: Plan, data: Buffer, weights: Buffer, tail: Tail) -> None:
    threads = _keeps_busy(plan) and (plan.geometry.groups == 1 or plan.rows * plan.columns > plan.tile)
    loop(plan.geometry.groups, lambda which: _walk(plan, _tiles(plan, data, weights, tail, which), threads=threads))


def _tiles(plan: Plan, data: Buffer, weights: Buffer, tail: Tail, which: Expr) -> Tiles:
    """What computes a tile of group ``which``."""
    g = plan.geometry

    def tile(block_number: Expr, block: Block, row: Expr, first: Expr, pixels: int) -> None:
        at = which * plan.group_weights + block.weights_at + block_number * (plan.reduction * block.channels)
        channel = which * (g.co // g.groups) + block.first + block_number * block.channels
        used = min(block.channels, g.co // g.groups - block.first)
        _tile(plan, data, weights, tail, block.vectors, which, row, first, pixels, at, channel, used)

    return tile


def emit_rows(plan: Plan, data: Buffer, weights: Buffer, tail: Tail, n: Expr, first: Expr, count: Expr) -> None:
    """Output rows [first, first + count) of image ``n``, of one group, on one thread. A block of channels goes through all of them
    before the next one's turn, where that reads less than all blocks for each row."""
    g, tile = plan.geometry, _tiles(plan, data, weights, tail, T.int64(0))

    def blocks(visit: Callable[[Expr, Block], None]) -> None:
        loop(plan.full, lambda b: visit(b, plan.block))
        if plan.rest:
            visit(T.int64(0), plan.rest)

    def row(i: Expr, b: Expr, block: Block) -> None:
        _columns(plan, lambda column, pixels: tile(b, block, n * g.ho + first + i, column, pixels))

    def all_rows(b: Expr, block: Block) -> None:
        with serial(count) as i:
            row(i, b, block)

    if plan.group_weights > (plan.full + bool(plan.rest)) * g.w * g.ci:
        blocks(all_rows)
        return
    with serial(count) as i:
        blocks(lambda b, block: row(i, b, block))


def _keeps_busy(plan: Plan) -> bool:
    """Whether there is work for two threads: multiplications, or weights that each is used once and read from afar."""
    once = plan.rows * plan.columns == 1
    return plan.geometry.macs > (PARALLEL_WEIGHTS if once else PARALLEL_MACS)


def _walk(plan: Plan, tiles: Tiles, *, threads: bool) -> None:
    """Visit every (block, row, tile of pixels): chunks of ``sweep`` units, in each the blocks, in each the units."""

    def blocks(visit: Callable[[Expr, Block, bool], None], *, split: bool) -> None:
        loop(plan.full, lambda b: visit(b, plan.block, split and plan.full == 1), threads=split and plan.full > 1)
        if plan.rest:
            visit(T.int64(0), plan.rest, split)

    def row(r: Expr) -> None:
        def column(first: Expr, pixels: int) -> None:
            blocks(lambda b, block, _: tiles(b, block, r, first, pixels), split=False)

        _columns(plan, column, threads=threads and plan.rows == 1)

    if not plan.sweep:
        loop(plan.rows, row, threads=threads and plan.rows > 1)
        return
    chunks = -(-plan.units // plan.sweep)
    if chunks == 1 and threads and _in_pieces(plan, tiles):
        return
    if chunks == 1:
        blocks(lambda b, block, split: _chunk(plan, tiles, T.int64(0), b, block, split=split), split=threads)
        return
    if threads and chunks < MANY_CHUNKS:
        loop(chunks * plan.full, lambda i: _chunk(plan, tiles, i // plan.full, i % plan.full, plan.block), threads=True)
        if plan.rest:
            last = plan.rest
            loop(chunks, lambda c: _chunk(plan, tiles, c, T.int64(0), last), threads=True)
        return
    loop(
        chunks,
        lambda c: blocks(lambda b, block, _: _chunk(plan, tiles, c, b, block), split=False),
        threads=threads,
    )


def _in_pieces(plan: Plan, tiles: Tiles) -> bool:
    """Where a few blocks of channels are too coarse for threads: in pieces of the pixels, if the weights that each piece meets are
    few enough; else False. Three blocks keep two threads busy as long as four do, and what follows reads rows, which then lie in
    the cache of the core that wrote them."""
    if not 1 < plan.full < MANY_CHUNKS or plan.units == 1 or plan.reduction * plan.block.channels > MOST_SHARED_WEIGHTS:
        return False
    by_rows = plan.group_weights <= MOST_SHARED_WEIGHTS
    sweep = -(-plan.units // (MANY_CHUNKS if by_rows else -(-MANY_CHUNKS // plan.full)))
    cut, pieces, last = replace(plan, sweep=sweep), -(-plan.units // sweep), plan.rest

    def share(i: Expr) -> None:
        piece, number = (i // plan.full, i % plan.full) if by_rows else (i % pieces, i // pieces)
        _chunk(cut, tiles, piece, number, plan.block)

    loop(plan.full * pieces, share, threads=True)
    if last:
        loop(pieces, lambda piece: _chunk(cut, tiles, piece, T.int64(0), last), threads=True)
    return True


def _columns(plan: Plan, visit: Callable[[Expr, int], None], *, threads: bool = False) -> None:
    """Tiles of one row."""
    count, rest = divmod(plan.columns, plan.tile)
    loop(count, lambda t: visit(t * plan.tile, plan.tile), threads=threads and count > 1)
    if rest:
        visit(T.int64(count * plan.tile), rest)


def _chunk(plan: Plan, tiles: Tiles, chunk: Expr, number: Expr, block: Block, *, split: bool = False) -> None:
    """Units [chunk * sweep, (chunk + 1) * sweep) with one block; the last chunk may be shorter, and takes the pixels that
    fill no tile."""
    units, sweep = plan.units, plan.sweep
    only = units <= sweep
    first = T.int64(0) if only else chunk * sweep

    def unit(i: Expr) -> None:
        at = first + i
        if plan.flat:
            tiles(number, block, T.int64(0), at * plan.tile, plan.tile)
        else:
            _columns(plan, lambda column, pixels: tiles(number, block, at, column, pixels))

    if only or units % sweep == 0:
        loop(min(sweep, units), unit, threads=split and units > 1)
    else:
        with serial(T.min(T.int64(sweep), units - first)) as i:
            unit(i)
    rest = plan.columns % plan.tile
    if not plan.flat or not rest:
        return
    if only:
        tiles(number, block, T.int64(0), T.int64(units * plan.tile), rest)
        return
    with T.If(chunk == -(-units // sweep) - 1), T.Then():
        tiles(number, block, T.int64(0), T.int64(units * plan.tile), rest)


def _tile(
    plan: Plan, data: Buffer, weights: Buffer, tail: Tail, vectors: tuple[Lanes, ...],
    which: Expr, row: Expr, first: Expr, pixels: int, at: Expr, channel: Expr, used: int,
) -> None:  # fmt: skip
    """One register tile: clear, reduce, finish. ``used`` of its channels exist."""
    g = plan.geometry
    width = sum(v.width for v in vectors)
    size, turns = plan.reduction * width, plan.reduction // plan.step
    ahead = Ahead(weights=weights, at=at + size, elements=size, pixels=plan.rows * plan.columns) if plan.prefetches else None
    acc = cleared(pixels, vectors)

    def taps(ky: Expr, kx: Expr) -> None:
        positions = [_position(plan, row, first + p, ky, kx) for p in range(pixels)]

        def step(k: Expr) -> None:
            if ahead:
                ahead.ask(row * plan.columns + first, pixels, (ky * g.kw + kx) * (g.ci // plan.step) + k, turns)
            base = which * g.ci + k * plan.step
            elements = [T.Bind(load(data, [*p, base], plan.step)) for p in positions]
            place = at + ((ky * g.kw + kx) * g.ci + k * plan.step) * width
            if plan.folded:
                folded.accumulate(acc, vectors, elements, weights, place)
            else:
                accumulate(acc, vectors, elements, plan.step, weights, place, width)

        def steps(k: Expr) -> None:
            for u in range(plan.unroll):
                step(k * plan.unroll + u if plan.unroll > 1 else k)

        loop(g.ci // plan.step // plan.unroll, steps)

    loop(g.kh, lambda ky: loop(g.kw, lambda kx: taps(ky, kx)))
    for p, line in enumerate(acc):
        prefix = _output_position(plan, row, first + p)
        for a, v in folded.unfold(line, vectors):
            for part in lanes(min(v.width, used - v.offset), v.width):
                tail.store(prefix, channel + v.offset + part.offset, a, part.width, part.offset)


def _position(plan: Plan, row: Expr, column: Expr, ky: Expr, kx: Expr) -> tuple[Expr, ...]:
    g = plan.geometry
    if plan.flat:
        # Dense rows follow each other: the last prefix axis may run past its extent.
        return (*(T.int64(0) for _ in g.prefix[1:]), column)
    n, y = split_index(row, (g.n, g.ho))
    return n, y * g.strides[0] + ky * g.dilations[0], column * g.strides[1] + kx * g.dilations[1]


def _output_position(plan: Plan, row: Expr, column: Expr) -> tuple[Expr, ...]:
    g = plan.geometry
    if plan.flat and plan.straight:
        return (*(T.int64(0) for _ in g.prefix[1:]), column)
    return split_index(column, g.prefix) if plan.flat else (*split_index(row, (g.n, g.ho)), column)
