"""Template for 3x3 convolution, dense or in groups, with stride 1 or 2: Winograd's F(m x m, 3 x 3).

    pad -> V[p, t, ci] = B^T d B of every tile -> per block of output channels: M[p, t] = V[p, t] U[p] -> A^T M A,
    tail, store

With m = 4 a tile of 6 x 6 inputs gives 4 x 4 outputs for 36 products an input channel instead of 144; with stride 2 a tile
of 9 x 9 gives them for 81 (see `strided`). Weights U are transformed in float64, before the first run or at compile time, into
[group][block][p][ci][block's channels], once where points share them; they take (m + 2)^2 / 9 times the room of the kernel.
Channels of a group are filled up with zeros to whole vectors, so that the long transforms are generated for one width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.filter_transform import FilterTransform
from edgevision.schedule.geometry import Geometry
from edgevision.schedule.linear_map import times
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
    zero,
)  # fmt: skip
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import Tail, elementwise_tail
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.toom_cook import TAPS, Transforms, strided, transforms
from edgevision.schedule.winograd_choice import default, outputs_a_tile, space, takes, tile_count
from edgevision.schedule.workload import Workload
from edgevision.target import Target
from edgevision.tuning_log import Choice

__all__ = ["NAME", "schedule", "space"]

NAME = "winograd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``rows`` x ``columns`` tiles an image; ``chunk`` tiles go through the products of one block of channels at a
    time. ``blocks`` are those of one group."""

    geometry: Geometry
    matrices: Transforms
    outputs: int
    rows: int
    columns: int
    chunk: int
    tile: int
    width: int
    step: int
    blocks: tuple[tuple[Lanes, ...], ...]

    @property
    def stride(self) -> int:
        return self.geometry.strides[0]

    @property
    def size(self) -> int:
        """Of a tile of data, along an axis."""
        return self.stride * (self.outputs - 1) + TAPS

    @property
    def order(self) -> tuple[int, ...]:
        """In which the transform takes the data along an axis."""
        return tuple(i for start in range(self.stride) for i in range(start, self.size, self.stride))

    @property
    def points(self) -> int:
        return self.size**2

    @property
    def slots(self) -> int:
        """Rows of points with weights of their own."""
        return len(self.matrices.kernel)

    def slot(self, point: Expr) -> Expr:
        """Where a point's weights are."""
        if self.slots == self.size:
            return point
        last = T.int64(self.slots - 1)
        return T.min(point // self.size, last) * self.slots + T.min(point % self.size, last)

    @property
    def tiles(self) -> int:
        return self.geometry.n * self.rows * self.columns

    @property
    def inputs(self) -> int:
        """Input channels of a group, filled up."""
        return -(-self.geometry.ci // self.width) * self.width

    @property
    def channels(self) -> int:
        """Output channels of a group."""
        return self.geometry.co // self.geometry.groups

    @property
    def weights(self) -> int:
        """Elements of a group."""
        return self.slots**2 * self.inputs * sum(v.width for b in self.blocks for v in b)

    @property
    def padded(self) -> tuple[int, int, int, int]:
        """The zero-padded data that whole tiles read."""
        g, step = self.geometry, self.stride * self.outputs
        reach = self.size - step
        return (g.n, self.rows * step + reach, self.columns * step + reach, g.groups * self.inputs)


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
    plan = _plan(shape, target, parameters)
    number = workload.number_of(shape.weights)
    scratch = (plan.padded, (plan.points * plan.tiles * plan.padded[-1],))
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            places = parameters_of(workload, {number: (shape.groups * plan.weights,)})
            padded, transformed = (T.arg(f"s{i}", T.buffer(s, "float32", layout=None)) for i, s in enumerate(scratch))
            tail = Tail(workload, *found, places)
            _pad(plan, tail.place(shape.source), padded)
            _transform_data(plan, padded, transformed)
            _multiply(plan, transformed, places[number], tail)
        func = builder.get()
    return Scheduled(
        func=func, schedule=f"template:{NAME} {plan.outputs}x{plan.outputs}", choice=Choice.of(NAME, parameters),
        relay={number: _filters(plan)}, scratch=scratch,
    )  # fmt: skip


def _plan(g: Geometry, target: Target, parameters: Mapping[str, int]) -> Plan:
    outputs, pixels, vectors = parameters["outputs"], parameters["pixels"], parameters["vectors"]
    width = target.vector_bits // 32
    cover = lanes(-(-(g.co // g.groups) // width) * width, width)
    matrices = transforms(outputs) if g.strides == (1, 1) else strided(outputs)
    return Plan(
        geometry=g, matrices=matrices, outputs=outputs, rows=-(-g.ho // outputs), columns=-(-g.wo // outputs),
        chunk=min(tile_count(g, outputs), pixels * parameters["chunk"]), tile=pixels, width=width,
        step=4 if target.arch in ("aarch64", "arm") else 1,
        blocks=tuple(cover[i : i + vectors] for i in range(0, len(cover), vectors)),
    )  # fmt: skip


def _filters(plan: Plan) -> FilterTransform:
    last = plan.blocks[-1][-1]
    return FilterTransform(
        matrix=plan.matrices.kernel, groups=plan.geometry.groups, channels=plan.channels, inputs=plan.inputs,
        filled=last.offset + last.width, block=sum(v.width for v in plan.blocks[0]),
    )  # fmt: skip


def _pad(plan: Plan, source: Buffer, target: Buffer) -> None:
    """Each group's channels in whole vectors."""
    g, width = plan.geometry, plan.width
    n, h, w, c = plan.padded
    top, left = g.pads[0], g.pads[1]
    whole = g.ci // width

    def pixel(image: Expr, y: Expr, x: Expr) -> None:
        def channels(group: Expr) -> None:
            def copy(ch: Expr, v: int) -> None:
                value = load(source, [image, y - top, x - left, group * g.ci + ch], v)
                store(target, [image, y, x, group * plan.inputs + ch], value, v)

            loop(whole, lambda i: copy(i * width, width))
            for v in lanes(g.ci - whole * width, width):
                copy(T.int64(whole * width + v.offset), v.width)
            for v in lanes(plan.inputs - g.ci, width):
                store(target, [image, y, x, group * plan.inputs + (g.ci + v.offset)], zero(v.width), v.width)

        loop(g.groups, channels)

    def row(r: Expr) -> None:
        image, y = split_index(r, (n, h))
        inside_y = T.And(y >= top, y < top + g.h)
        with T.serial(T.int64(w)) as x, T.If(T.And(inside_y, T.And(x >= left, x < left + g.w))):
            with T.Then():
                pixel(image, y, x)
            with T.Else():
                loop(c // width, lambda i: store(target, [image, y, x, i * width], zero(width), width))

    loop(n * h, row, threads=True)


def _transform_data(plan: Plan, padded: Buffer, transformed: Buffer) -> None:
    g, size, step, channels = plan.geometry, plan.size, plan.stride * plan.outputs, plan.padded[-1]
    matrix = plan.matrices.data

    def row_of_tiles(r: Expr) -> None:
        image, ty = split_index(r, (g.n, plan.rows))

        def one(tx: Expr) -> None:
            number = r * plan.columns + tx

            def vector(block: Expr) -> None:
                ch, v = block * plan.width, plan.width
                half = []
                for x in plan.order:
                    at = [[image, ty * step + y, tx * step + x, ch] for y in plan.order]
                    column = [T.Bind(load(padded, place, v)) for place in at]
                    half.append(times(matrix, column, v))
                for a in range(size):
                    for b, value in enumerate(times(matrix, [half[x][a] for x in range(size)], v)):
                        store(transformed, [((a * size + b) * plan.tiles + number) * channels + ch], value, v)

            loop(channels // plan.width, vector)

        loop(plan.columns, one)

    loop(g.n * plan.rows, row_of_tiles, threads=True)


def _multiply(plan: Plan, data: Buffer, weights: Buffer, tail: Tail) -> None:
    """Chunks of tiles of blocks of output channels over threads: a block's weights meet one chunk after the other."""
    equal = sum(1 for b in plan.blocks if len(b) == len(plan.blocks[0]) and b[-1].offset + plan.width <= plan.channels)
    _blocks(plan, data, weights, tail, plan.blocks[0], 0, equal)
    for block in plan.blocks[equal:]:
        _blocks(plan, data, weights, tail, block, block[0].offset, 1)


def _blocks(
    plan: Plan, data: Buffer, weights: Buffer, tail: Tail, block: tuple[Lanes, ...], offset: int, number: int
) -> None:  # fmt: skip
    """``number`` blocks a group as wide as ``block``, from its channel ``offset`` on; of the last one's channels some may not
    exist: they are zeros that fill up its last vector."""
    vectors = tuple(Lanes(v.offset - block[0].offset, v.width) for v in block)
    width = sum(v.width for v in vectors)
    used = min(width, plan.channels - offset)
    chunks, rest = divmod(plan.tiles, plan.chunk)

    def chunk(which: Expr, first: Expr, tiles: int) -> None:
        products = T.alloc_buffer((plan.points * plan.chunk * width,), "float32", layout=None)
        group, channel = which // number, offset + which % number * width
        at = group * plan.weights + channel * (plan.slots**2 * plan.inputs)
        of_group = _Operands(data=data, weights=weights, at=at, first=first * plan.padded[-1] + group * plan.inputs)
        loop(plan.points, lambda p: _products(plan, of_group, products, vectors, tiles, p))
        loop(tiles, lambda t: _finish(plan, products, tail, vectors, first + t, t, group * plan.channels + channel, used))

    count = plan.geometry.groups * number
    loop(count * chunks, lambda i: chunk(i // chunks, i % chunks * plan.chunk, plan.chunk), threads=count * chunks > 1)
    if rest:
        loop(count, lambda i: chunk(i, T.int64(chunks * plan.chunk), rest), threads=count > 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operands:
    """What one chunk of tiles and one block of channels read: data from ``first`` of a point on, weights from ``at`` on."""

    data: Buffer
    weights: Buffer
    at: Expr
    first: Expr


def _products(
    plan: Plan, operands: _Operands, products: Buffer, vectors: tuple[Lanes, ...], tiles: int, point: Expr
) -> None:  # fmt: skip
    """products[point, t] = data[point, first + t] x weights[point] for ``tiles`` tiles."""
    ci, width, pitch = plan.inputs, sum(v.width for v in vectors), plan.padded[-1]
    turns = ci // plan.step
    at, base = T.Bind(operands.at + plan.slot(point) * (ci * width)), operands.first + point * (plan.tiles * pitch)
    ahead = Ahead(weights=operands.weights, at=at + ci * width, elements=ci * width, pixels=tiles)

    def tile(start: Expr, count: int) -> None:
        acc = cleared(count, vectors)

        def steps(k: Expr) -> None:
            ahead.ask(start, count, k, turns)
            elements = [
                T.Bind(load(operands.data, [base + (start + p) * pitch + k * plan.step], plan.step)) for p in range(count)
            ]
            accumulate(acc, vectors, elements, plan.step, operands.weights, at + k * plan.step * width, width)

        loop(turns, steps)
        for p, line in enumerate(acc):
            for a, v in zip(line, vectors, strict=True):
                place = (point * plan.chunk + start + p) * width + v.offset
                store(products, [place], read(a, v.width), v.width)

    full, rest = divmod(tiles, plan.tile)
    loop(full, lambda i: tile(i * plan.tile, plan.tile))
    if rest:
        tile(T.int64(full * plan.tile), rest)


def _finish(
    plan: Plan,
    products: Buffer,
    tail: Tail,
    vectors: tuple[Lanes, ...],
    number: Expr,
    t: Expr,
    channel: Expr,
    used: int,
) -> None:
    """Outputs of one tile: A^T M A, then what was fused behind the convolution, a row of outputs at a time."""
    whole, rest = divmod(used, plan.width)
    width = sum(v.width for v in vectors)

    def vector(q: Expr, lanes_used: int) -> None:
        half = _half(plan, products, t, width, q * plan.width)
        for y in range(plan.outputs):
            row = T.alloc_buffer((plan.outputs * plan.width,), "float32", layout=None)
            for x, value in enumerate(times(plan.matrices.output, [column[y] for column in half], plan.width)):
                store(row, [x * plan.width], value, plan.width)
            _store_row(plan, tail, row, number, y, channel + q * plan.width, lanes_used)

    loop(whole, lambda q: vector(q, plan.width))
    if rest:
        vector(T.int64(whole), rest)


def _half(plan: Plan, products: Buffer, t: Expr, width: int, offset: Expr) -> list[list[Expr]]:
    """A^T M for one channel vector: [column of points][row of outputs]."""
    size, half = plan.size, []
    for b in range(size):
        places = [((a * size + b) * plan.chunk + t) * width + offset for a in range(size)]
        column = [T.Bind(load(products, [place], plan.width)) for place in places]
        half.append(times(plan.matrices.output, column, plan.width))
    return half


def _store_row(plan: Plan, tail: Tail, row: Buffer, number: Expr, y: int, channel: Expr, used: int) -> None:
    """Tiles at the lower and right edge may reach beyond the image, the last vector beyond the channels."""
    g, m = plan.geometry, plan.outputs
    image, ty, tx = split_index(number, (g.n, plan.rows, plan.columns))

    def pixel(x: Expr) -> None:
        for v in lanes(used, plan.width):
            at = [image, ty * m + y, tx * m + x]
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
