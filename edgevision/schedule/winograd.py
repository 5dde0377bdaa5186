"""Template for 3x3 convolution, dense or in groups, with stride 1 or 2: Winograd's F(m x m, 3 x 3).

    per strip of rows of tiles: per part of the input channels:
        V[p, t, ci] = B^T d B of every tile -> per block of output channels:
            (U[p, ci] = G g G^T) -> M[p, t] = V[p, t] U[p] -> A^T M A, + the sums of the parts before -> tail, store

With m = 4 a tile of 6 x 6 inputs gives 4 x 4 outputs for 36 products an input channel instead of 144; with stride 2 a tile
of 9 x 9 gives them for 81 (see `strided`). Weights U are transformed in float64, before the first run or at compile time, into
[group][block][p][ci][block's channels], once where points share them; they take (m + 2)^2 / 9 times the room of the kernel.
Where that room is what a layer waits for, nine points are stored and the others made of them in each run, in float32, a block and
part at a time. Strips and parts are as small as leaves the transformed data of one thread in the L2.
Channels of a group are filled up with zeros to whole vectors, so that the long transforms are generated for one width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.linear_map import times
from edgevision.schedule.pitch import odd_lines
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
    read,
    serial,
    split_index,
    store,
)  # fmt: skip
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import Tail, elementwise_tail
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.toom_cook import TAPS, spanning
from edgevision.schedule.winograd_choice import default, outputs_a_tile, space, takes
from edgevision.schedule.winograd_data import transform_data
from edgevision.schedule.winograd_plan import Plan, Strip, plan_of
from edgevision.schedule.workload import Workload
from edgevision.target import Target
from edgevision.tuning_log import Choice

__all__ = ["NAME", "schedule", "space"]

NAME = "winograd"


def schedule(workload: Workload, target: Target, parameters: Mapping[str, int] | None = None) -> Scheduled | None:
    """None where the workload is not a float32 3x3 convolution, stride 1 or 2; without ``parameters``, one of
    `space`, also where it does not gain by it."""
    found = elementwise_tail(workload)
    shape = takes(workload)
    if found is None or shape is None:
        return None
    if parameters is None:
        outputs = outputs_a_tile(shape, target)
        if outputs is None:
            return None
        parameters = default(shape, target, outputs)
    plan = plan_of(shape, target, parameters)
    number = workload.number_of(shape.weights)
    scratch = () if plan.apart else plan.kept
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            places = parameters_of(workload, {number: (shape.groups * plan.weights,)})
            shared = [T.arg(f"s{i}", T.buffer(s, "float32", layout=None)) for i, s in enumerate(scratch)]
            tail = Tail(workload, *found, places)
            _strips(plan, shared, lambda strip, kept: _convolve(plan, strip, places[number], kept, tail))
        func = builder.get()
    return Scheduled(
        func=func, schedule=f"template:{NAME} {plan.outputs}x{plan.outputs}", choice=Choice.of(NAME, parameters),
        relay={number: plan.relay}, scratch=scratch,
    )  # fmt: skip


def _strips(plan: Plan, shared: list[Buffer], strip: Callable[[Strip, list[Buffer]], None]) -> None:
    """All images at once where a strip is a whole one. ``shared``: what all threads keep together (`Plan.kept`); where there is
    none, each keeps its own."""
    if plan.strip == plan.rows:
        strip(Strip(images=plan.geometry.n, rows=plan.rows, image=T.int64(0), row=T.int64(0)), shared)
        return
    full, rest = divmod(plan.rows, plan.strip)

    def one(i: Expr) -> None:
        image, number = split_index(i, (plan.geometry.n, full + bool(rest)))
        kept = shared or [T.alloc_buffer(shape, "float32", layout=None) for shape in plan.kept]

        def of(rows: int) -> None:
            strip(Strip(images=1, rows=rows, image=image, row=number * plan.strip), kept)

        if not rest:
            of(plan.strip)
            return
        with T.If(number < full):
            with T.Then():
                of(plan.strip)
            with T.Else():
                of(rest)

    loop(plan.geometry.n * (full + bool(rest)), one, threads=plan.apart)


def _convolve(plan: Plan, strip: Strip, weights: Buffer, kept: list[Buffer], tail: Tail) -> None:
    data, *sums = kept

    def part(number: Expr) -> None:
        transform_data(plan, strip, number, tail.place(plan.geometry.source), data)
        of_strip = _Part(strip=strip, number=number, data=data, weights=weights, sums=sums[0] if sums else None)
        _multiply(plan, of_strip, tail)

    loop(plan.parts, part)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One part of the input channels of one strip: ``data`` transformed, ``weights`` as they are stored, ``sums`` of the parts
    before, None where there is only one."""

    strip: Strip
    number: Expr
    data: Buffer
    weights: Buffer
    sums: Buffer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """``vectors`` of output channels, from ``channel`` of ``group`` on, ``used`` of them exist. The transformed weights of a slot
    lie from ``at`` on, ``plane`` elements from the slot before."""

    group: Expr
    channel: Expr
    vectors: tuple[Lanes, ...]
    used: int
    weights: Buffer
    at: Expr
    plane: int

    @property
    def width(self) -> int:
        return sum(v.width for v in self.vectors)


def _multiply(plan: Plan, part: _Part, tail: Tail) -> None:
    """Chunks of tiles of blocks of output channels over threads: a block's weights meet one chunk after the other."""
    equal = sum(1 for b in plan.blocks if len(b) == len(plan.blocks[0]) and b[-1].offset + plan.width <= plan.channels)
    _blocks(plan, part, tail, plan.blocks[0], 0, equal)
    for block in plan.blocks[equal:]:
        _blocks(plan, part, tail, block, block[0].offset, 1)


def _blocks(plan: Plan, part: _Part, tail: Tail, block: tuple[Lanes, ...], offset: int, number: int) -> None:
    """``number`` blocks a group as wide as ``block``, from its channel ``offset`` on; of the last one's channels some may not
    exist: they are zeros that fill up its last vector."""
    vectors = tuple(Lanes(v.offset - block[0].offset, v.width) for v in block)
    width = sum(v.width for v in vectors)
    used, count = min(width, plan.channels - offset), plan.geometry.groups * number
    tiles = part.strip.images * part.strip.rows * plan.columns
    chunk = min(tiles, plan.chunk)
    chunks, rest = divmod(tiles, chunk)

    def stored(which: Expr) -> _Block:
        group, channel = which // number, offset + which % number * width
        first = part.number * (plan.part * (plan.taps if plan.late else 1))
        at = group * plan.weights + channel * (plan.taps * plan.inputs) + first * width
        return _Block(
            group=group, channel=channel, vectors=vectors, used=used, weights=part.weights, at=at, plane=plan.inputs * width
        )  # fmt: skip

    def late(which: Expr) -> None:
        kernel, plane = stored(which), odd_lines(plan.part * width)
        made = T.alloc_buffer((plan.slots**2 * plane,), "float32", layout=None)
        block = replace(kernel, weights=made, at=T.int64(0), plane=plane)
        _make_weights(plan, kernel, block)
        loop(chunks, lambda c: _chunk(plan, part, block, tail, c * chunk, chunk))
        if rest:
            _chunk(plan, part, block, tail, T.int64(chunks * chunk), rest)

    shared = not plan.apart and count > 1
    if plan.late:
        loop(count, late, threads=shared)
        return

    def one(i: Expr) -> None:
        _chunk(plan, part, stored(i // chunks), tail, i % chunks * chunk, chunk)

    loop(count * chunks, one, threads=not plan.apart and count * chunks > 1)
    if rest:
        loop(count, lambda i: _chunk(plan, part, stored(i), tail, T.int64(chunks * chunk), rest), threads=shared)


def _make_weights(plan: Plan, stored: _Block, made: _Block) -> None:
    """All points [slot, ci, block's channels] of the stored [ci, point, block's channels]."""
    _, matrix = spanning(plan.matrices.kernel)
    width = stored.width

    def inputs(k: Expr) -> None:
        for v in stored.vectors:
            half = []
            for j in range(TAPS):
                points = [stored.at + (k * plan.taps + i * TAPS + j) * width + v.offset for i in range(TAPS)]
                column = [T.Bind(load(stored.weights, [point], v.width)) for point in points]
                half.append(times(matrix, column, v.width))
            for a in range(plan.slots):
                for b, value in enumerate(times(matrix, [column[a] for column in half], v.width)):
                    store(made.weights, [made.at + (a * plan.slots + b) * made.plane + k * width + v.offset], value, v.width)

    loop(plan.part, inputs)


def _chunk(plan: Plan, part: _Part, block: _Block, tail: Tail, first: Expr, tiles: int) -> None:
    """``tiles`` tiles of a strip, from its tile ``first`` on, through one block of output channels."""
    products = T.alloc_buffer((plan.points * _plane(plan, block),), "float32", layout=None)
    loop(plan.points, lambda p: _products(plan, part, block, products, first, tiles, p))
    loop(tiles, lambda t: _finish(plan, part, block, products, tail, first + t, t))


def _products(
    plan: Plan, part: _Part, block: _Block, products: Buffer, first: Expr, tiles: int, point: Expr
) -> None:  # fmt: skip
    """products[point, t] = data[point, first + t] x weights[point] for ``tiles`` tiles."""
    width, vectors, turns = block.width, block.vectors, plan.part // plan.step
    at = T.Bind(block.at + _slot(plan, point) * block.plane)
    base = point * plan.plane + first * plan.pitch + block.group * plan.part
    ahead = Ahead(weights=block.weights, at=at + block.plane, elements=plan.part * width, pixels=tiles)

    def tile(start: Expr, count: int) -> None:
        acc = cleared(count, vectors)

        def steps(k: Expr) -> None:
            if not plan.late:
                ahead.ask(start, count, k, turns)
            elements = [
                T.Bind(load(part.data, [base + (start + p) * plan.pitch + k * plan.step], plan.step)) for p in range(count)
            ]
            accumulate(acc, vectors, elements, plan.step, block.weights, at + k * plan.step * width, width)

        loop(turns, steps)
        for p, line in enumerate(acc):
            for a, v in zip(line, vectors, strict=True):
                place = point * _plane(plan, block) + (start + p) * width + v.offset
                store(products, [place], read(a, v.width), v.width)

    full, rest = divmod(tiles, plan.tile)
    loop(full, lambda i: tile(i * plan.tile, plan.tile))
    if rest:
        tile(T.int64(full * plan.tile), rest)


def _slot(plan: Plan, point: Expr) -> Expr:
    """Where a point's weights are."""
    if plan.slots == plan.size:
        return point
    last = T.int64(plan.slots - 1)
    return T.min(point // plan.size, last) * plan.slots + T.min(point % plan.size, last)


def _finish(plan: Plan, part: _Part, block: _Block, products: Buffer, tail: Tail, number: Expr, t: Expr) -> None:
    """Outputs of one tile: A^T M A, then what was fused behind the convolution, a row of outputs at a time."""
    whole, rest = divmod(block.used, plan.width)

    def vector(q: Expr, lanes_used: int) -> None:
        half = _half(plan, block, products, t, q * plan.width)
        for y in range(plan.outputs):
            row = T.alloc_buffer((plan.outputs * plan.width,), "float32", layout=None)
            for x, value in enumerate(times(plan.matrices.output, [column[y] for column in half], plan.width)):
                store(row, [x * plan.width], value, plan.width)
            channel = block.channel + q * plan.width
            finished = partial(
                _store_row, plan, part.strip, tail, row, number, y, block.group * plan.channels + channel, lanes_used
            )  # fmt: skip
            if part.sums is None:
                finished()
            else:
                _add_up(plan, part, [number, y, block.group * plan.filled + channel], row, finished)

    loop(whole, lambda q: vector(q, plan.width))
    if rest:
        vector(T.int64(whole), rest)


def _half(plan: Plan, block: _Block, products: Buffer, t: Expr, offset: Expr) -> list[list[Expr]]:
    """A^T M for one channel vector: [column of points][row of outputs]."""
    size, half = plan.size, []
    for b in range(size):
        places = [(a * size + b) * _plane(plan, block) + t * block.width + offset for a in range(size)]
        column = [T.Bind(load(products, [place], plan.width)) for place in places]
        half.append(times(plan.matrices.output, column, plan.width))
    return half


def _plane(plan: Plan, block: _Block) -> int:
    """Products of a block at a point."""
    return odd_lines(plan.chunk * block.width)


def _add_up(plan: Plan, part: _Part, at: list[Expr], row: Buffer, finished: Callable[[], None]) -> None:
    """A row of outputs, ``at`` tile, row and channel of ``sums``: plus what the parts before made, kept for the next part."""
    number, y, channel = at
    places = [(x * plan.width, [number, y * plan.outputs + x, channel]) for x in range(plan.outputs)]
    with T.If(part.number > 0), T.Then():
        for x, place in places:
            store(row, [x], load(row, [x], plan.width) + load(part.sums, place, plan.width), plan.width)
    with T.If(part.number < plan.parts - 1):
        with T.Then():
            for x, place in places:
                store(part.sums, place, load(row, [x], plan.width), plan.width)
        with T.Else():
            finished()


def _store_row(
    plan: Plan, strip: Strip, tail: Tail, row: Buffer, number: Expr, y: int, channel: Expr, used: int
) -> None:  # fmt: skip
    """Tiles at the lower and right edge may reach beyond the image, the last vector beyond the channels."""
    g, m = plan.geometry, plan.outputs
    image, line, tx = split_index(number, (strip.images, strip.rows, plan.columns))
    ty = strip.row + line

    def pixel(x: Expr) -> None:
        for v in lanes(used, plan.width):
            at = [strip.image + image, ty * m + y, tx * m + x]
            tail.store(at, channel + v.offset, row, v.width, x * plan.width + v.offset)

    def pixels() -> None:
        inside = m if g.wo % m == 0 else T.min(T.int64(m), g.wo - tx * m)
        with serial(inside) as x:
            pixel(x)

    if g.ho % m == 0:
        pixels()
        return
    with T.If(ty * m + y < g.ho), T.Then():
        pixels()
