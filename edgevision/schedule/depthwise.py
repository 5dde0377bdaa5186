"""Template for depthwise convolution: taps in registers, borders without a padded copy.

For each output row the kernel rows that fall inside the image are a loop with computed bounds. Columns are handled in
tiles of several pixels with the kernel's columns unrolled, so that a loaded vector serves all of them. Tiles at the
border are written out where they are, without the taps that are outside; only with wide kernels their columns go one by
one, with computed bounds too. Weights are packed [channel vector][kh][kw][lane].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.conv2d import PARALLEL_MACS
from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.register_tile import (
    Buffer,
    Expr,
    Lanes,
    accumulator,
    lanes,
    load,
    loop,
    read,
    serial,
    split_index,
    write,
    zero,
)  # fmt: skip
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import Tail, elementwise_tail
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Workload, dtype_of
from edgevision.target import Target
from edgevision.tuning_log import Choice

NAME = "depthwise"

WIDEST_TILE, DEFAULT_TILE = 12, 8
"""Columns. On NEON, modelled with caches, the widest is the default."""
STRIPS = (0, 2, 4, 8, 16)
DEFAULT_STRIP = 16
"""Rows. Over the 35 depthwise layers of MobileNetV2 and GhostNet, Zen 5, cold caches: 16 take 0.80 of the time without strips,
8 0.84, 4 0.86, 2 0.87, all rows 0.85."""
LEAST_SHARES = 4
"""Strips of a vector that threads share out: one vector of 112 rows as one strip would keep one of them busy."""
LINE_BYTES = 64
"""A vector of less than half a line goes without strips: each line would come as often as it holds vectors. MobileNetV2 on
NEON, modelled with caches (tune/modelled.py): 112x112x96, stride 2, takes 0.40 of the cycles without strips, others 0.83 to
0.88."""
SMALL_ROWS, SMALL_STRIP, STAY_BYTES = 14, 8, 48 << 10
"""Rows of an image of which such vectors do go in strips, and of a strip, where the rows that a kernel reaches do not stay in an L1
with all their channels. Modelled with caches: 7x7x960 takes 0.60 of the cycles, with 5x5 taps 0.76, 14x14x672 0.90, with 5x5 taps
and stride 2 0.75; 14x14x240, three rows of which take 39 KiB, would take 1.03, 28x28x192 1.12."""

Visit = Callable[[Expr, Expr, int], None]
"""The first channel of a vector, where its weights are, how many channels."""

UNROLLED_COLUMNS = 7
"""Kernels up to this wide are unrolled along x; wider ones would only make the code long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Output columns [low, high) read only pixels inside the image; ``tile`` of them are handled together.

    A channel vector goes through ``strip`` rows before the next one's turn, fewer where there are few vectors for threads to
    share; with 0 through one tile.
    """

    geometry: Geometry
    tile: int
    low: int
    high: int
    strip: int
    width: int
    full: int  # channel vectors of that width
    rest: tuple[Lanes, ...]

    @property
    def taps(self) -> int:
        return self.geometry.kh * self.geometry.kw


def schedule(workload: Workload, target: Target, parameters: Mapping[str, int] | None = None) -> Scheduled | None:
    """None where the workload is not a float32 depthwise convolution with one output a channel and an elementwise
    tail. ``parameters``: one of `space`; without, the default."""
    found = elementwise_tail(workload)
    shape = takes(workload)
    if found is None or shape is None:
        return None
    parameters = parameters or default(shape, target)
    plan = plan_of(shape, parameters)
    number = workload.number_of(shape.weights)
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            places = parameters_of(workload, {number: (plan.taps * shape.co,)})
            tail = Tail(workload, *found, places)
            _emit(plan, tail.place(shape.source), places[number], tail)
        func = builder.get()
    return Scheduled(
        func=func, schedule=f"template:{NAME} {plan.tile}x{plan.width}", choice=Choice.of(NAME, parameters),
        relay={number: lambda w: pack(w, plan)},
    )  # fmt: skip


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: `Plan`'s ``tile``, ``strip`` and ``width``."""
    g = takes(workload)
    if g is None:
        return ()
    weights = g.kw if g.kw <= UNROLLED_COLUMNS else 1
    tiles = range(1, max(2, min(_tiled_columns(g) + 1, WIDEST_TILE + 1, target.vector_registers - weights - 1)))
    widest = lanes(g.co, target.vector_bits // 32)[0].width
    widths = {widest, widest // 2} if widest >= 8 else {widest}
    strips = {s for s in STRIPS if s < g.ho} | {g.ho}
    return tuple(
        {"tile": tile, "strip": strip, "width": width}
        for tile, strip, width in product(tiles, sorted(strips), sorted(widths))
    )


def default(g: Geometry, target: Target) -> dict[str, int]:
    """As few tiles as registers allow, of one size, and strips of `DEFAULT_STRIP` rows where a vector is half a line or more. Where
    it is less, strips in small images alone."""
    budget = target.vector_registers - g.kw - 2 if g.kw <= UNROLLED_COLUMNS else target.vector_registers // 2
    short = target.vector_bits // 8 < LINE_BYTES // 2
    columns, most = max(1, _tiled_columns(g)), max(1, min(budget // 2, WIDEST_TILE if short else DEFAULT_TILE))
    tile = -(-columns // -(-columns // most))
    strip = _short_strip(g) if short else min(DEFAULT_STRIP, g.ho)
    return {"tile": tile, "strip": strip, "width": lanes(g.co, target.vector_bits // 32)[0].width}


def _short_strip(g: Geometry) -> int:
    """Of vectors that are less than half a line."""
    stay = 4 * g.kh * g.w * g.co <= STAY_BYTES
    return 0 if stay or g.h > SMALL_ROWS else min(SMALL_STRIP, g.ho)


def takes(workload: Workload) -> Geometry | None:
    found = elementwise_tail(workload)
    g = geometry(workload, found[0]) if found else None
    takes = g is not None and g.depthwise and dtype_of(g.source) == "float32"
    return g if takes else None


def _tiled_columns(g: Geometry) -> int:
    """How many columns of a row are handled in tiles: those of wide kernels whose taps are all inside, else all."""
    low, high = _inner_columns(g)
    return g.wo if g.kw <= UNROLLED_COLUMNS else high - low


def _inner_columns(g: Geometry) -> tuple[int, int]:
    """[low, high): the output columns whose taps all lie inside the image."""
    stride, left = g.strides[1], g.pads[1]
    low = min(g.wo, -(-left // stride))
    return low, max(low, min(g.wo, (g.w - 1 - (g.kw - 1) * g.dilations[1] + left) // stride + 1))


def plan_of(g: Geometry, parameters: Mapping[str, int]) -> Plan:
    low, high = _inner_columns(g)
    cover = lanes(g.co, parameters["width"])
    whole = sum(1 for v in cover if v.width == cover[0].width)
    most = -(-g.n * g.ho // -(-LEAST_SHARES // whole))
    return Plan(
        geometry=g, tile=parameters["tile"], low=low, high=high, strip=min(parameters["strip"], most), width=cover[0].width,
        full=whole, rest=cover[whole:],
    )  # fmt: skip


def pack(weights: np.ndarray, plan: Plan) -> np.ndarray:
    """[kh, kw, 1 or c, c or 1] -> [channel vector][tap][lane], flat."""
    taps = weights.reshape(plan.taps, plan.geometry.co)
    vectors = [Lanes(i * plan.width, plan.width) for i in range(plan.full)] + list(plan.rest)
    return np.concatenate([np.ascontiguousarray(taps[:, v.offset : v.offset + v.width]).reshape(-1) for v in vectors])


def _emit(plan: Plan, data: Buffer, weights: Buffer, tail: Tail) -> None:
    g = plan.geometry
    rows, threads = g.n * g.ho, g.macs > PARALLEL_MACS // 4

    def row(r: Expr, channels: Callable[[Visit], None]) -> None:
        n, y = split_index(r, (g.n, g.ho))
        _row(plan, data, weights, tail, n, y, channels)

    def strip(number: Expr, channel: Expr, at: Expr, width: int) -> None:
        first = number * plan.strip
        with serial(plan.strip if rows % plan.strip == 0 else T.min(T.int64(plan.strip), rows - first)) as i:
            row(first + i, lambda visit: visit(channel, at, width))

    def vector(i: Expr) -> None:
        v = i % plan.full
        strip(i // plan.full, v * plan.width, v * (plan.taps * plan.width), plan.width)

    if not plan.strip:
        loop(rows, lambda r: row(r, partial(_vectors, plan)), threads=threads)
        return
    strips = -(-rows // plan.strip)
    loop(strips * plan.full, vector, threads=threads)
    for rest in plan.rest:
        channel, at, width = T.int64(rest.offset), T.int64(rest.offset * plan.taps), rest.width
        loop(strips, partial(strip, channel=channel, at=at, width=width), threads=threads)


def emit_rows(plan: Plan, data: Buffer, weights: Buffer, tail: Tail, n: Expr, first: Expr, count: Expr) -> None:
    """Output rows [first, first + count) of image ``n``, on one thread. A vector of channels goes through all before the next one's
    turn, unless the plan has no strips."""

    def all_rows(channels: Callable[[Visit], None]) -> None:
        with serial(count) as i:
            _row(plan, data, weights, tail, n, first + i, channels)

    if not plan.strip:
        all_rows(partial(_vectors, plan))
        return
    _vectors(plan, lambda channel, at, width: all_rows(lambda visit: visit(channel, at, width)))


def _vectors(plan: Plan, visit: Visit) -> None:
    """Each vector of channels: the first one, where its weights are, how many."""
    loop(plan.full, lambda v: visit(v * plan.width, v * (plan.taps * plan.width), plan.width))
    for v in plan.rest:
        visit(T.int64(v.offset), T.int64(v.offset * plan.taps), v.width)


def _row(
    plan: Plan, data: Buffer, weights: Buffer, tail: Tail, n: Expr, y: Expr, channels: Callable[[Visit], None]
) -> None:  # fmt: skip
    g = plan.geometry
    start = T.Bind(y * g.strides[0] - g.pads[0])
    first = T.Bind(_first_tap(start, g.dilations[0]))
    last = T.Bind(_last_tap(start, g.h, g.kh, g.dilations[0]))
    _columns(plan, data, weights, tail, _Rows(n=n, y=y, start=start, first=first, last=last), channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """One output row: the input row of tap 0, and the taps [first, last) that lie inside the image."""

    n: Expr
    y: Expr
    start: Expr
    first: Expr
    last: Expr


def _first_tap(start: Expr, dilation: int) -> Expr:
    """Smallest k >= 0 with start + k * dilation >= 0."""
    return T.max(T.int64(0), (dilation - 1 - start) // dilation)


def _last_tap(start: Expr, extent: int, taps: int, dilation: int) -> Expr:
    """One past the largest k < taps with start + k * dilation < extent."""
    return T.min(T.int64(taps), (extent - start + dilation - 1) // dilation)


def _columns(
    plan: Plan, data: Buffer, weights: Buffer, tail: Tail, rows: _Rows, vectors: Callable[[Visit], None]
) -> None:
    """Tiles of a row: the first and the last ones where they are, since some of their taps are outside, the others in a loop."""
    g = plan.geometry

    def border(low: int, high: int) -> None:
        loop(
            high - low,
            lambda x: vectors(lambda c, at, w: _border_pixel(plan, data, weights, tail, rows, x + low, c, at, w)),
        )

    def tile(first: int | Expr, pixels: int) -> None:
        vectors(lambda c, at, w: _tile(plan, data, weights, tail, rows, first, pixels, c, at, w))

    def fixed(start: int, end: int) -> None:
        for first in range(start, end, plan.tile):
            tile(first, min(plan.tile, end - first))

    wide = g.kw > UNROLLED_COLUMNS
    start = plan.low if wide else min(-(-plan.low // plan.tile) * plan.tile, g.wo)
    end = start + max(0, plan.high - start) // plan.tile * plan.tile
    (border if wide else fixed)(0, start)
    loop((end - start) // plan.tile, lambda t: tile(t * plan.tile + start, plan.tile))
    fixed(end, plan.high if wide else g.wo)
    if wide:
        border(plan.high, g.wo)


def _tile(
    plan: Plan, data: Buffer, weights: Buffer, tail: Tail, rows: _Rows,
    first: int | Expr, pixels: int, channel: Expr, at: Expr, width: int,
) -> None:  # fmt: skip
    """``pixels`` columns. Their taps are all inside along x, unless ``first`` is a number: then those that are not are left out."""
    g = plan.geometry
    stride, dilation = g.strides[1], g.dilations[1]
    acc = _cleared(pixels, width)
    left = first * stride - g.pads[1]
    reach = [p * stride + kx * dilation for p in range(pixels) for kx in range(g.kw)]
    needed = sorted({x for x in reach if not isinstance(left, int) or 0 <= left + x < g.w})

    def taps(k: Expr) -> None:
        ky = k + rows.first
        y = rows.start + ky * g.dilations[0]
        if g.kw > UNROLLED_COLUMNS:
            loop(g.kw, lambda kx: column(ky, y, kx))
            return
        line = [T.Bind(load(weights, [at + (ky * g.kw + kx) * width], width)) for kx in range(g.kw)]
        for x in needed:
            element = T.Bind(load(data, [rows.n, y, T.int64(left + x) if isinstance(left, int) else left + x, channel], width))
            for p in range(pixels):
                kx, off = divmod(x - p * stride, dilation)
                if off == 0 and 0 <= kx < g.kw:
                    write(acc[p], read(acc[p], width) + element * line[kx], width)

    def column(ky: Expr, y: Expr, kx: Expr) -> None:
        weight = T.Bind(load(weights, [at + (ky * g.kw + kx) * width], width))
        for p in range(pixels):
            element = load(data, [rows.n, y, left + p * stride + kx * dilation, channel], width)
            write(acc[p], read(acc[p], width) + element * weight, width)

    with T.serial(rows.last - rows.first) as k:
        taps(k)
    for p in range(pixels):
        x = T.int64(first + p) if isinstance(first, int) else first + p
        tail.store([rows.n, rows.y, x], channel, acc[p], width)


def _border_pixel(
    plan: Plan, data: Buffer, weights: Buffer, tail: Tail, rows: _Rows, x: Expr, channel: Expr, at: Expr, width: int
) -> None:
    """One column of which some taps are outside along x."""
    g = plan.geometry
    (acc,) = _cleared(1, width)
    left = T.Bind(x * g.strides[1] - g.pads[1])
    low = T.Bind(_first_tap(left, g.dilations[1]))
    high = T.Bind(_last_tap(left, g.w, g.kw, g.dilations[1]))
    with T.serial(rows.last - rows.first) as k, T.serial(high - low) as j:
        ky, kx = k + rows.first, j + low
        weight = load(weights, [at + (ky * g.kw + kx) * width], width)
        element = load(data, [rows.n, rows.start + ky * g.dilations[0], left + kx * g.dilations[1], channel], width)
        write(acc, read(acc, width) + element * weight, width)
    tail.store([rows.n, rows.y, x], channel, acc, width)


def _cleared(count: int, width: int) -> list[Buffer]:
    acc = [accumulator(width) for _ in range(count)]
    for a in acc:
        write(a, zero(width), width)
    return acc
