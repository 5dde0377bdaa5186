"""Template for dense and grouped convolution (and matrix product, a 1x1 of one row): an outer product in registers.

For a tile of ``pixels`` x ``vectors`` accumulators, every reduction step loads one row of packed weights and
broadcasts one element of data a pixel. Weights are packed [group][block][kh * kw * ci][block's channels], so that
this row is contiguous. Data that needs a border is copied into a zeroed scratch first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule import tile_choice
from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.register_tile import (
    Buffer,
    Expr,
    Lanes,
    accumulate,
    accumulator,
    lanes,
    load,
    loop,
    split_index,
    write,
    zero,
)  # fmt: skip
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import Tail, elementwise_tail, ignores_rows, parameters
from edgevision.schedule.workload import Workload, dtype_of, rebuild, shape_of
from edgevision.target import Target

PARALLEL_MACS = 200_000
"""Below this a kernel stays on one thread: waking a second one costs some 5 us, in which one AVX2 core does about
this much."""


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
    ``rest``."""

    geometry: Geometry
    flat: bool
    straight: bool  # flat, and nothing behind the anchor depends on the row
    rows: int
    columns: int
    tile: int
    full: int
    block: Block
    rest: Block | None
    step: int  # reduction steps handled together (4: the lane form of NEON)
    channels_first: bool

    @property
    def reduction(self) -> int:
        return self.geometry.kh * self.geometry.kw * self.geometry.ci

    @property
    def group_weights(self) -> int:
        return self.reduction * (self.geometry.co // self.geometry.groups)


def schedule(workload: Workload, target: Target) -> Scheduled | None:
    """None where the workload is not a float32 convolution by a weight with an elementwise tail."""
    found = elementwise_tail(workload)
    if found is None:
        return None
    shape = geometry(workload, found[0])
    if shape is None or dtype_of(shape.source) != "float32":
        return None
    plan = _plan(shape, target, straight=ignores_rows(workload, *found))
    weight_number = next(i for i, p in enumerate(workload.params) if p.same_as(shape.weights))
    scratch = (shape_of(shape.padded.buffer),) if shape.padded else ()
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            size = int(np.prod(shape_of(shape.weights)))
            places = parameters(workload, {weight_number: (size,)})
            work = [T.arg(f"s{i}", T.buffer(s, "float32", layout=None)) for i, s in enumerate(scratch)]
            tail = Tail(workload, *found, places)
            source = tail.place(shape.source)
            if shape.padded:
                _copy_padded(shape, source, work[0])
                source = work[0]
            _emit(plan, source, places[weight_number], tail)
        func = builder.get()
    name = f"template:conv2d {plan.tile}x{len(plan.block.vectors)}x{plan.block.vectors[0].width}"
    return Scheduled(func=func, schedule=name, relay={weight_number: lambda w: pack(w, plan)}, scratch=scratch)


def _plan(g: Geometry, target: Target, *, straight: bool) -> Plan:
    flat = (g.kh, g.kw, g.strides) == (1, 1, (1, 1)) and g.padded is None
    rows, columns = (1, g.n * g.ho * g.wo) if flat else (g.n * g.ho, g.wo)
    channels = g.co // g.groups
    lane_form = target.arch in ("aarch64", "arm") and g.ci % 4 == 0
    width = target.vector_bits // 32
    reduction = g.kh * g.kw * g.ci
    tile = tile_choice.choose(columns, channels, reduction, width, target.vector_registers, lane_form=lane_form)
    cover = lanes(channels, width)
    block = Block(0, cover[: tile.vectors], 0)
    full = max(1, sum(1 for v in cover if v.width == cover[0].width) // len(block.vectors))
    first = full * block.channels
    left = tuple(Lanes(v.offset - first, v.width) for v in cover[full * len(block.vectors) :])
    rest = Block(first, left, first * reduction) if left else None
    weight_bytes, data_bytes = 4 * reduction * channels, 4 * g.n * g.h * g.w * g.ci
    return Plan(
        geometry=g, flat=flat, straight=straight, rows=rows, columns=columns, tile=tile.pixels, full=full,
        block=block, rest=rest, step=4 if lane_form else 1, channels_first=weight_bytes > data_bytes and full > 1,
    )  # fmt: skip


def pack(weights: np.ndarray, plan: Plan) -> np.ndarray:
    """[kh, kw, ci, co] -> the flat order that the kernel streams: group, block of channels, reduction step, channel."""
    g = plan.geometry
    groups = weights.reshape(plan.reduction, g.groups, g.co // g.groups).transpose(1, 0, 2)
    size = plan.block.channels
    parts = []
    for one in groups:
        parts += [one[:, i * size : (i + 1) * size] for i in range(plan.full)]
        if plan.rest:
            parts.append(one[:, plan.rest.first :])
    return np.concatenate([np.ascontiguousarray(p).reshape(-1) for p in parts])


def _copy_padded(g: Geometry, source: Buffer, target: Buffer) -> None:
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
    g = plan.geometry
    threads = g.macs > PARALLEL_MACS

    def group(which: Expr) -> None:
        def tiles(block_number: Expr, block: Block, row: Expr, first: Expr, pixels: int) -> None:
            at = which * plan.group_weights + block.weights_at + block_number * (plan.reduction * block.channels)
            channel = which * (g.co // g.groups) + block.first + block_number * block.channels
            _tile(plan, data, weights, tail, block.vectors, which, row, first, pixels, at, channel)

        _walk(plan, tiles, threads=threads and (g.groups == 1 or plan.rows * plan.columns > plan.tile))

    loop(g.groups, group)


Tiles = Callable[[Expr, Block, Expr, Expr, int], None]


def _walk(plan: Plan, tiles: Tiles, *, threads: bool) -> None:
    """Visit every (block, row, tile of pixels): rows or tiles outermost, or blocks where weights outweigh data."""
    count, rest = divmod(plan.columns, plan.tile)

    def blocks(row: Expr, first: Expr, pixels: int) -> None:
        loop(plan.full, lambda b: tiles(b, plan.block, row, first, pixels))
        if plan.rest:
            tiles(T.int64(0), plan.rest, row, first, pixels)

    def columns(row: Expr, visit: Callable[[Expr, Expr, int], None], *, split: bool) -> None:
        loop(count, lambda t: visit(row, t * plan.tile, plan.tile), threads=split and count > 1)
        if rest:
            visit(row, T.int64(count * plan.tile), rest)

    def rows(visit: Callable[[Expr, Expr, int], None], *, split: bool) -> None:
        by_row = plan.rows > 1
        loop(plan.rows, lambda r: columns(r, visit, split=split and not by_row), threads=split and by_row)

    if not plan.channels_first:
        rows(blocks, split=threads)
        return
    loop(plan.full, lambda b: rows(lambda r, f, p: tiles(b, plan.block, r, f, p), split=False), threads=threads)
    if plan.rest:
        last = plan.rest
        rows(lambda r, f, p: tiles(T.int64(0), last, r, f, p), split=threads)


def _tile(
    plan: Plan, data: Buffer, weights: Buffer, tail: Tail, vectors: tuple[Lanes, ...],
    which: Expr, row: Expr, first: Expr, pixels: int, at: Expr, channel: Expr,
) -> None:  # fmt: skip
    """One register tile: clear, reduce, finish."""
    g = plan.geometry
    width = sum(v.width for v in vectors)
    acc = [[accumulator(v.width) for v in vectors] for _ in range(pixels)]
    for line in acc:
        for a, v in zip(line, vectors, strict=True):
            write(a, zero(v.width), v.width)

    def taps(ky: Expr, kx: Expr) -> None:
        positions = [_position(plan, row, first + p, ky, kx) for p in range(pixels)]

        def steps(k: Expr) -> None:
            base = which * g.ci + k * plan.step
            elements = [T.Bind(load(data, [*p, base], plan.step)) for p in positions]
            row = at + ((ky * g.kw + kx) * g.ci + k * plan.step) * width
            accumulate(acc, vectors, elements, plan.step, weights, row, width)

        loop(g.ci // plan.step, steps)

    loop(g.kh, lambda ky: loop(g.kw, lambda kx: taps(ky, kx)))
    for p, line in enumerate(acc):
        prefix = _output_position(plan, row, first + p)
        for a, v in zip(line, vectors, strict=True):
            tail.store(prefix, channel + v.offset, a, v.width)


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
