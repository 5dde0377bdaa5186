"""Depthwise convolution: a tile of output pixels of one channel vector in each work item's registers, no local memory.

A work item goes down ``strip`` output rows. Weights are packed [channel vector][kh][kw][lane]; where work items run in warps they
stay [kh][kw][channel], so that neighbours read neighbouring vectors. Borders as in `conv2d`. Channels that fill no vector are the
last vector's business, in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.gpu import kernel as k
from edgevision.schedule.gpu.conv2d import columns_outside, rows_inside, vector_width
from edgevision.schedule.gpu.scheduled import DeviceSchedule, Kernel
from edgevision.schedule.gpu.tail import finish
from edgevision.schedule.register_tile import Buffer, Expr, Lanes, broadcast, lanes, load, loop, serial, split_index
from edgevision.schedule.tail import Tail, elementwise_tail
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Workload, dtype_of
from edgevision.target import Target

NAME = "depthwise"
LONGEST_STRIP = 8
UNROLLED_COLUMNS = 7
"""Kernels up to this wide keep a row's weights in registers, so that a loaded vector serves all pixels that need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``full`` vectors of ``width`` channels, then one of the ``rest``. ``across``: weights are not packed."""

    geometry: Geometry
    pixels: int
    strip: int
    width: int
    full: int
    rest: tuple[Lanes, ...]
    across: bool

    @property
    def vectors(self) -> int:
        return self.full + bool(self.rest)

    @property
    def tiles(self) -> int:
        return -(-self.geometry.wo // self.pixels)

    @property
    def strips(self) -> int:
        return -(-self.geometry.ho // self.strip)

    @property
    def taps(self) -> int:
        return self.geometry.kh * self.geometry.kw

    def line(self, width: int) -> int:
        """Weights from one tap to the next, of a vector of ``width`` channels."""
        return self.geometry.co if self.across else width

    @property
    def items(self) -> int:
        return self.geometry.n * self.strips * self.tiles * self.vectors


def takes(g: Geometry) -> bool:
    return g.depthwise and dtype_of(g.source) == "float32"


def schedule(workload: Workload, target: Target) -> DeviceSchedule | None:
    """None where the workload is not a float32 depthwise convolution with one output a channel and an elementwise tail."""
    found = elementwise_tail(workload)
    g = geometry(workload, found[0]) if found else None
    if found is None or g is None or not takes(g):
        return None
    plan = choose(g, target)
    number = workload.number_of(g.weights)
    over = k.grid(plan.items, target.work_group)

    def body() -> None:
        places = parameters_of(workload, {number: (plan.taps * g.co,)})
        tail = Tail(workload, *found, places)
        with k.work_items(over) as item:
            _item(plan, item, tail.place(g.source), places[number], tail)

    made = Kernel(func=k.build(body), arguments=tuple(range(len(workload.params))))
    name = f"template:{NAME} {plan.pixels}x{plan.width}"
    return DeviceSchedule(kernels=(made,), schedule=name, relay={} if plan.across else {number: lambda w: pack(w, plan)})


def choose(g: Geometry, target: Target) -> Plan:
    width = vector_width(g.co, target.vector_bits // 32)
    cover = lanes(g.co, width)
    full = sum(1 for v in cover if v.width == cover[0].width)
    weights = g.kw if g.kw <= UNROLLED_COLUMNS else 1
    most = max(1, min(8, (target.vector_registers - weights - 2) // 2))
    pixels, strip = min(g.wo, most), min(g.ho, LONGEST_STRIP)

    def items() -> int:
        return g.n * -(-g.ho // strip) * -(-g.wo // pixels) * len(cover)

    while items() < target.work_items and strip * pixels > 1:
        if strip >= pixels:
            strip = -(-strip // 2)
        else:
            pixels = -(-pixels // 2)
    pixels = k.largest_divisor(g.wo, pixels, -(-2 * pixels // 3)) or pixels
    return Plan(
        geometry=g, pixels=pixels, strip=strip, width=cover[0].width, full=full, rest=cover[full:],
        across=target.kind == "cuda",
    )  # fmt: skip


def pack(weights: np.ndarray, plan: Plan) -> np.ndarray:
    """[kh, kw, c] -> [channel vector][tap][lane], flat."""
    taps = weights.reshape(plan.taps, plan.geometry.co)
    vectors = [Lanes(i * plan.width, plan.width) for i in range(plan.full)] + list(plan.rest)
    return np.concatenate([np.ascontiguousarray(taps[:, v.offset : v.offset + v.width]).reshape(-1) for v in vectors])


def _item(plan: Plan, item: Expr, data: Buffer, weights: Buffer, tail: Tail) -> None:
    g = plan.geometry
    n, strip, tile, vector = split_index(item, (g.n, plan.strips, plan.tiles, plan.vectors))
    first, vector = k.keep(tile * plan.pixels), k.keep(vector)
    top = k.keep(strip * plan.strip)
    count = plan.strip if g.ho % plan.strip == 0 else k.keep(T.min(T.int64(plan.strip), T.int64(g.ho) - top))

    def piece(channel: Expr, at: Expr, width: int) -> None:
        def row(y: Expr) -> None:
            _row(plan, n, top + y, first, channel, at, width, data, weights, tail)

        if plan.strip == 1:
            row(T.int64(0))
            return
        with serial(count) as y:
            row(y)

    def full() -> None:
        piece(k.keep(vector * plan.width), k.keep(vector * (plan.width if plan.across else plan.taps * plan.width)), plan.width)

    def rest() -> None:
        for v in plan.rest:
            piece(T.int64(v.offset), T.int64(v.offset if plan.across else v.offset * plan.taps), v.width)

    k.either(vector < T.int64(plan.full) if plan.rest else None, full, rest)


def _row(
    plan: Plan, n: Expr, y: Expr, first: Expr, channel: Expr, at: Expr, width: int, data: Buffer, weights: Buffer, tail: Tail
) -> None:  # fmt: skip
    """``pixels`` results of one output row."""
    g = plan.geometry
    acc = k.registers(plan.pixels, width)
    top = k.keep(y * g.strides[0] - g.pads[0])
    left = k.keep(first * g.strides[1] - g.pads[1])
    begin, end = rows_inside(g, top)
    span = (plan.pixels - 1) * g.strides[1] + (g.kw - 1) * g.dilations[1]
    low, high = columns_outside(g, plan.tiles, plan.pixels)

    def taps(*, masked: bool) -> None:
        columns = _Columns(plan=plan, n=n, left=left, channel=channel, low=low and masked, high=high and masked)
        with T.serial(end - begin) as j:
            ky = k.keep(begin + j)
            line = k.keep(top + ky * g.dilations[0])
            emit = _unrolled if g.kw <= UNROLLED_COLUMNS else _rolled
            emit(columns, line, at + ky * (g.kw * plan.line(width)), width, data, weights, acc)

    interior = k.both(left >= T.int64(0) if low else None, left + span < T.int64(g.w) if high else None)
    k.either(interior, lambda: taps(masked=False), lambda: taps(masked=True))
    whole = g.wo % plan.pixels == 0
    for p in range(plan.pixels):
        exists = None if whole else first + p < T.int64(g.wo)
        k.when(exists, lambda p=p: finish(tail, (n, y, first + p), channel, acc, p, width, g.co, partial=False))  # type: ignore[misc]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """The columns that a tile reads of a line, from ``left`` on; whether to look if one is left (``low``) or right of the image."""

    plan: Plan
    n: Expr
    left: Expr
    channel: Expr
    low: bool
    high: bool

    def element(self, data: Buffer, line: Expr, offset: Expr, width: int) -> Expr:
        column = self.left + offset
        check = k.inside([(column, self.plan.geometry.w, self.low, self.high)])
        value = load(data, [self.n, line, column, self.channel], width)
        return value if check is None else T.if_then_else(check, value, broadcast(T.float32(0), width))


def _unrolled(columns: _Columns, line: Expr, at: Expr, width: int, data: Buffer, weights: Buffer, acc: Buffer) -> None:
    """A row of the kernel whose weights are all in registers: each pixel of the line is loaded once."""
    plan, g = columns.plan, columns.plan.geometry
    row = [T.Bind(load(weights, [at + kx * plan.line(width)], width)) for kx in range(g.kw)]
    offsets = sorted({p * g.strides[1] + kx * g.dilations[1] for p in range(plan.pixels) for kx in range(g.kw)})
    for x in offsets:
        one = T.Bind(columns.element(data, line, T.int64(x), width))
        for p in range(plan.pixels):
            kx, off = divmod(x - p * g.strides[1], g.dilations[1])
            if off == 0 and 0 <= kx < g.kw:
                k.put(acc, p, acc[p] + one * row[kx])


def _rolled(columns: _Columns, line: Expr, at: Expr, width: int, data: Buffer, weights: Buffer, acc: Buffer) -> None:
    """A row of a wide kernel, one column after another."""
    plan, g = columns.plan, columns.plan.geometry

    def tap(kx: Expr) -> None:
        weight = T.Bind(load(weights, [at + kx * plan.line(width)], width))
        for p in range(plan.pixels):
            offset = kx * g.dilations[1] + p * g.strides[1]
            k.put(acc, p, acc[p] + columns.element(data, line, offset, width) * weight)

    loop(g.kw, tap)
