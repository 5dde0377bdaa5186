"""Convolution and matrix product: a tile of pixels x channel vectors in each work item's registers.

Every reduction step loads the tile's row of packed weights and one number a pixel. Weights are packed
[block][kh * kw * ci][block's channels], filled up with zeros to whole blocks; where work items run in warps
[kh * kw * ci][vector of a block][block][vector's channels], so that neighbours read neighbouring vectors. There several work items
may share a tile's reduction, and meet in local memory. Borders are not copied: rows outside the image are left out of the loop over
the kernel's rows, and a tile that touches the left or right border reads zeros there. A tile's channels are all of one group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Protocol

import numpy as np
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule import tile_choice
from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.gpu import kernel as k
from edgevision.schedule.gpu import warp_tile
from edgevision.schedule.gpu.scheduled import DeviceSchedule
from edgevision.schedule.gpu.tail import finish
from edgevision.schedule.register_tile import Buffer, Expr, broadcast, load, loop, split_index
from edgevision.schedule.tail import Tail, elementwise_tail, ignores_rows
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Workload, dtype_of, shape_of
from edgevision.target import Target

NAME = "conv2d"

STEP = 4
"""Where vectors of four are the widest that pay, data comes in such vectors too: a phone's GPU loads 128 bits at a time, and has
no cheaper load for one number. A CPU broadcasts a number from memory at no cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Work items cover ``rows`` x ``columns`` pixels, one row of them all if ``flat``, by tiles of ``pixels``, times ``blocks``
    of ``vectors`` x ``width`` channels. ``step`` input channels of a pixel are loaded as one vector. ``splits`` work items share
    the reduction of a tile, each every so many-th step of the input channels, in groups of ``lanes`` tiles; 0 where work items do
    not run in warps."""

    geometry: Geometry
    flat: bool
    straight: bool
    rows: int
    columns: int
    pixels: int
    vectors: int
    width: int
    step: int
    splits: int = 0
    lanes: int = 0

    @property
    def tiles(self) -> int:
        return -(-self.columns // self.pixels)

    @property
    def block(self) -> int:
        """Channels of a block."""
        return self.vectors * self.width

    @property
    def blocks(self) -> int:
        return -(-self.geometry.co // self.block)

    @property
    def reduction(self) -> int:
        return self.geometry.kh * self.geometry.kw * self.geometry.ci

    @property
    def items(self) -> int:
        return self.rows * self.tiles * self.blocks

    @property
    def line(self) -> int:
        """Weights from one reduction step to the next."""
        return self.block * (self.blocks if self.splits else 1)

    @property
    def gap(self) -> int:
        """Weights from one vector of a block to the next."""
        return self.width * (self.blocks if self.splits else 1)


class Prologue(Protocol):
    """What is computed where the convolution reads its data (see `prologue`)."""

    @property
    def operands(self) -> tuple[Buffer, ...]: ...
    @property
    def parameter(self) -> int: ...
    @property
    def pointwise(self) -> bool: ...
    @property
    def run(self) -> int: ...
    def channel(self, at: Expr, width: int) -> Expr: ...
    def element(self, places: Sequence[Buffer], at: Sequence[Expr], width: int = 1) -> Expr: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """``channel``: from the number of the data's first channel to what ``read`` takes for it, once for all pixels. ``read``:
    indices of the data's first element -> a vector of ``step`` of them."""

    channel: Callable[[Expr], Expr]
    read: Callable[[Sequence[Expr]], Expr]


LEAST_OF_GROUP = 4
"""Channels that a group's vectors must have: with fewer, each is computed alone."""


def takes(g: Geometry) -> bool:
    return (g.groups == 1 or _group_width(g, LEAST_OF_GROUP) == LEAST_OF_GROUP) and dtype_of(g.source) == "float32"


def _group_width(g: Geometry, most: int) -> int:
    """The widest vector of those that fill a group."""
    return gcd(g.co // g.groups, most)


def schedule(workload: Workload, target: Target, prologue: Prologue | None = None) -> DeviceSchedule | None:
    """None where the workload is not a float32 convolution by a weight, in groups of whole vectors, with an elementwise tail.

    With ``prologue`` the kernel's arguments are the workload's and then the prologue's operands."""
    found = elementwise_tail(workload)
    g = geometry(workload, found[0]) if found else None
    if found is None or g is None or not takes(g):
        return None
    plan = choose(g, target, straight=ignores_rows(workload, *found), prologue=prologue)
    number = workload.number_of(g.weights)
    count = len(workload.params)

    def body() -> None:
        places = parameters_of(workload, {number: (plan.blocks * plan.reduction * plan.block,)})
        tail = Tail(workload, *found, places)
        data = tail.place(g.source)
        operands = [
            T.arg(f"p{count + i}", T.buffer(shape_of(b), dtype_of(b), layout=None))
            for i, b in enumerate(prologue.operands if prologue else ())
        ]

        source = Source(channel=lambda c: c, read=lambda at: load(data, at, plan.step))
        if prologue:
            source = Source(
                channel=lambda c: prologue.channel(c, plan.step), read=lambda at: prologue.element(operands, at, plan.step)
            )
        _items(plan, target, source, places[number], tail)

    name = f"template:{NAME} {plan.pixels}x{plan.vectors}x{plan.width}{f'/{plan.splits}' if plan.splits > 1 else ''}"
    used = set(range(count + len(prologue.operands if prologue else ()))) - ({prologue.parameter} if prologue else set())
    made = k.used_only(k.build(body), used)
    return DeviceSchedule(kernels=(made,), schedule=name, relay={number: lambda w: pack(w, plan)})


def choose(g: Geometry, target: Target, *, straight: bool, prologue: Prologue | None = None) -> Plan:
    flat = g.kh == g.kw == 1 and g.strides == (1, 1) and g.padded is None and (prologue is None or prologue.pointwise)
    rows, columns = (1, g.n * g.ho * g.wo) if flat else (g.n * g.ho, g.wo)
    most, channels = target.vector_bits // 32, g.co // g.groups
    width = vector_width(g.co, most) if g.groups == 1 else _group_width(g, most)
    whole = g.ci % STEP == 0 and (prologue is None or prologue.run % STEP == 0)
    step = STEP if target.vector_bits == 32 * STEP and whole else 1
    if target.kind == "cuda":
        steps = warp_tile.Steps(windows=g.kh * g.kw, each=g.ci // step, width=step)
        found = warp_tile.choose(
            rows * g.groups, columns, channels, steps, units=target.compute_units, block=target.work_group
        )
        return Plan(
            geometry=g, flat=flat, straight=straight, rows=rows, columns=columns, pixels=found.pixels,
            vectors=gcd(found.vectors, channels // width) if g.groups > 1 else found.vectors,
            width=width, step=step, splits=found.splits, lanes=found.lanes,
        )  # fmt: skip
    tile = tile_choice.choose(
        columns, -(-channels // width) * width, g.kh * g.kw * g.ci, width, target.vector_registers, lane_form=False
    )
    pixels, vectors = tile.pixels, tile.vectors
    while pixels * vectors > 1 and rows * -(-columns // pixels) * -(-g.co // (vectors * width)) < target.work_items:
        if vectors > 1 and vectors >= pixels:
            vectors = -(-vectors // 2)
        else:
            pixels = -(-pixels // 2)
    pixels = k.largest_divisor(columns, pixels, -(-2 * pixels // 3)) or pixels
    vectors = k.largest_divisor(channels // width, vectors) or 1 if g.groups > 1 else vectors
    return Plan(
        geometry=g, flat=flat, straight=straight, rows=rows, columns=columns, pixels=pixels, vectors=vectors, width=width,
        step=step,
    )  # fmt: skip


def vector_width(channels: int, most: int) -> int:
    """The narrowest vector of those that cover ``channels`` with the fewest."""
    return min((1 << i for i in range(most.bit_length())), key=lambda width: (-(-channels // width), width))


def pack(weights: np.ndarray, plan: Plan) -> np.ndarray:
    """[kh, kw, ci, co] or [ci, co] -> [block][kh * kw * ci][block's channels], flat, zeros beyond co; for warps
    [kh * kw * ci][vector of a block][block][vector's channels]."""
    table = weights.reshape(plan.reduction, plan.geometry.co)
    table = np.pad(table, ((0, 0), (0, plan.blocks * plan.block - plan.geometry.co)))
    order = (0, 2, 1, 3) if plan.splits else (1, 0, 2, 3)
    packed = table.reshape(plan.reduction, plan.blocks, plan.vectors, plan.width).transpose(order)
    return np.ascontiguousarray(packed).reshape(-1)


def _items(plan: Plan, target: Target, source: Source, weights: Buffer, tail: Tail) -> None:
    if plan.splits > 1:
        with k.sharing(plan.items, plan.lanes, plan.splits) as member:
            _item(plan, member.item, source, weights, tail, member)
        return
    with k.work_items(k.grid(plan.items, target.work_group)) as item:
        _item(plan, item, source, weights, tail)


def _item(plan: Plan, item: Expr, source: Source, weights: Buffer, tail: Tail, member: k.Member | None = None) -> None:
    g = plan.geometry
    row_tile, block = split_index(item, (plan.rows * plan.tiles, plan.blocks))
    row, tile = split_index(row_tile, (plan.rows, plan.tiles))
    n, y = (T.int64(0), T.int64(0)) if plan.flat else split_index(row, (g.n, g.ho))
    first, block = k.keep(tile * plan.pixels), k.keep(block)
    acc = k.registers(plan.pixels * plan.vectors, plan.width)
    base = k.keep(block * (plan.width if plan.splits else plan.reduction * plan.block))
    step = plan.step
    group = k.keep(block * plan.block // (g.co // g.groups) * (g.ci // step)) * step if g.groups > 1 else T.int64(0)
    if plan.flat:
        _flat_taps(plan, first, group, source, weights, base, acc, member)
    else:
        _window_taps(plan, n, k.keep(y), first, group, source, weights, base, acc, member)
    if member is None:
        _finish(plan, n, y, first, block, acc, tail)
    else:
        k.meet(member, acc, plan.pixels * plan.vectors, plan.width, lambda: _finish(plan, n, y, first, block, acc, tail))


def _finish(plan: Plan, n: Expr, y: Expr, first: Expr, block: Expr, acc: Buffer, tail: Tail) -> None:
    """The tail of every pixel of the tile, and the stores."""
    g = plan.geometry
    whole = plan.columns % plan.pixels == 0
    for p in range(plan.pixels):
        at = first + p
        prefix = _output_position(plan, n, y, at)

        def channels(prefix: tuple[Expr, ...] = prefix, p: int = p) -> None:
            for v in range(plan.vectors):
                finish(tail, prefix, block * plan.block + v * plan.width, acc, p * plan.vectors + v, plan.width, g.co,
                       partial=g.co % plan.block != 0)  # fmt: skip

        k.when(None if whole else at < T.int64(plan.columns), channels)


def _output_position(plan: Plan, n: Expr, y: Expr, column: Expr) -> tuple[Expr, ...]:
    g = plan.geometry
    if plan.flat and plan.straight:
        return (*(T.int64(0) for _ in g.prefix[1:]), column)
    return split_index(column, g.prefix) if plan.flat else (n, y, column)


def _accumulate(plan: Plan, acc: Buffer, weights: Buffer, at: Expr, elements: list[Expr]) -> None:
    """``elements``: ``step`` consecutive input channels of each pixel."""
    loaded = [T.Bind(element) for element in elements]
    for s in range(plan.step):
        line = [T.Bind(load(weights, [at + s * plan.line + v * plan.gap], plan.width)) for v in range(plan.vectors)]
        for p, vector in enumerate(loaded):
            one = vector if plan.step == 1 else T.Bind(T.Shuffle([vector], [s]))
            for v, weight in enumerate(line):
                number = p * plan.vectors + v
                k.put(acc, number, acc[number] + broadcast(one, plan.width) * weight)


def _channel_steps(plan: Plan, member: k.Member | None, step: Callable[[Expr], None]) -> None:
    """``step`` for every vector of input channels, or for a work item's share of them."""
    count = plan.geometry.ci // plan.step
    if member is None:
        loop(count, step)
    else:
        loop(count // plan.splits, lambda j: step(j * plan.splits + member.share))


def _flat_taps(
    plan: Plan, first: Expr, group: Expr, source: Source, weights: Buffer, base: Expr, acc: Buffer, member: k.Member | None
) -> None:  # fmt: skip
    """Of the input channels from ``group`` on. Pixels beyond the last one repeat it: what they compute is not stored."""
    zeros = tuple(T.int64(0) for _ in plan.geometry.prefix[1:])
    last = T.int64(plan.columns - 1)
    exact = plan.columns % plan.pixels == 0
    pixels = [first + p if exact else k.keep(T.min(first + p, last)) for p in range(plan.pixels)]

    def step(i: Expr) -> None:
        channel = source.channel(group + i * plan.step)
        elements = [source.read([*zeros, pixel, channel]) for pixel in pixels]
        _accumulate(plan, acc, weights, base + i * (plan.step * plan.line), elements)

    _channel_steps(plan, member, step)


def _window_taps(
    plan: Plan, n: Expr, y: Expr, first: Expr, group: Expr, source: Source, weights: Buffer, base: Expr, acc: Buffer,
    member: k.Member | None,
) -> None:  # fmt: skip
    g = plan.geometry
    top = k.keep(y * g.strides[0] - g.pads[0])
    left = k.keep(first * g.strides[1] - g.pads[1])
    begin, end = rows_inside(g, top)
    span = (plan.pixels - 1) * g.strides[1] + (g.kw - 1) * g.dilations[1]
    low, high = columns_outside(g, plan.tiles, plan.pixels)

    def taps(*, masked: bool) -> None:
        def tap(ky: Expr, kx: Expr) -> None:
            line = top + ky * g.dilations[0]
            columns = [k.keep(left + p * g.strides[1] + kx * g.dilations[1]) for p in range(plan.pixels)]
            at = k.keep(base + (ky * g.kw + kx) * (g.ci * plan.line))

            def step(i: Expr) -> None:
                elements = []
                channel = source.channel(group + i * plan.step)
                for column in columns:
                    value = source.read([n, line, column, channel])
                    check = k.inside([(column, g.w, low, high)]) if masked else None
                    zero = broadcast(T.float32(0), plan.step)
                    elements.append(value if check is None else T.if_then_else(check, value, zero))
                _accumulate(plan, acc, weights, at + i * (plan.step * plan.line), elements)

            _channel_steps(plan, member, step)

        with T.serial(end - begin) as j:
            ky = k.keep(begin + j)
            loop(g.kw, lambda kx: tap(ky, kx))

    interior = k.both(left >= T.int64(0) if low else None, left + span < T.int64(g.w) if high else None)
    k.either(interior, lambda: taps(masked=False), lambda: taps(masked=True))


def rows_inside(g: Geometry, top: Expr) -> tuple[Expr, Expr]:
    """[begin, end) of the kernel's rows that lie inside the image, for a window whose first row is ``top``."""
    d = g.dilations[0]
    begin = k.keep(T.max(T.int64(0), (T.int64(d - 1) - top) // d)) if g.pads[0] > 0 else T.int64(0)
    beyond = (g.ho - 1) * g.strides[0] - g.pads[0] + (g.kh - 1) * d >= g.h
    end = k.keep(T.min(T.int64(g.kh), (T.int64(g.h + d - 1) - top) // d)) if beyond else T.int64(g.kh)
    return begin, end


def columns_outside(g: Geometry, tiles: int, pixels: int) -> tuple[bool, bool]:
    """Whether some tile reaches past the left and past the right border."""
    right = (tiles * pixels - 1) * g.strides[1] - g.pads[1] + (g.kw - 1) * g.dilations[1] >= g.w
    return g.pads[1] > 0, right

