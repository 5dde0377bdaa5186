"""Template for depthwise convolution with large kernels (RepLKNet's 31x31, SLaK's strips), stride 1.

One vector of channels at a time is copied to [row][padded column][lane], where its columns are contiguous and lie in
the cache, and then convolved: a tile of output columns stays in registers while rows and chunks of columns of the
kernel go by, so that a loaded vector serves every tap of the chunk. Rows outside the image are never visited, chunks
of columns that lie outside for the whole tile neither. Weights are packed [channel vector][kh][kw][lane], the last
vector filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.depthwise import UNROLLED_COLUMNS
from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.register_tile import (
    Buffer,
    Expr,
    accumulator,
    by_vector,
    lanes,
    load,
    loop,
    read,
    split_index,
    store,
    write,
    zero,
)
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import Tail, elementwise_tail
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Workload, dtype_of
from edgevision.target import Target
from edgevision.tuning_log import Choice

NAME = "depthwise_wide"

WIDEST_TILE = 14
"""Output columns a tile: more would leave too few registers for a chunk's weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``tile`` output columns by ``chunk`` kernel columns at a time; ``vectors`` channel vectors of ``width``."""

    geometry: Geometry
    tile: int
    chunk: int
    width: int
    vectors: int

    @property
    def columns(self) -> int:
        """Of the copy: the image's and the zeros beside them."""
        return self.geometry.wo + self.geometry.kw - 1

    @property
    def taps(self) -> int:
        return self.geometry.kh * self.geometry.kw


def schedule(workload: Workload, target: Target, parameters: Mapping[str, int] | None = None) -> Scheduled | None:
    """None where the workload is not a float32 depthwise convolution, stride 1, with a large kernel.

    ``parameters``: one of `space`; without, the default.
    """
    found = elementwise_tail(workload)
    g = _takes(workload)
    if found is None or g is None:
        return None
    parameters = parameters or default(g, target)
    plan = _plan(g, target, parameters)
    number = workload.number_of(g.weights)
    copy = (plan.vectors, g.n * g.h, plan.columns, plan.width)
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            places = parameters_of(workload, {number: (plan.vectors * plan.taps * plan.width,)})
            scratch = T.arg("s0", T.buffer(copy, "float32", layout=None))
            tail = Tail(workload, *found, places)
            source, weights = tail.place(g.source), places[number]
            by_vector(g.co, plan.width, lambda v, used: _vector(plan, source, scratch, weights, tail, v, used))
        func = builder.get()
    return Scheduled(
        func=func,
        schedule=f"template:{NAME} {plan.tile}x{plan.chunk}",
        choice=Choice.of(NAME, parameters),
        relay={number: lambda w: pack(w, plan)},
        scratch=(copy,),
    )


def applies(g: Geometry) -> bool:
    return g.depthwise and g.steps_by_one and max(g.kh, g.kw) > UNROLLED_COLUMNS


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: `Plan`'s ``tile`` and ``chunk``."""
    g = _takes(workload)
    if g is None:
        return ()
    most = target.vector_registers - 2
    tiles, chunks = range(1, min(g.wo, 2 * WIDEST_TILE, most) + 1), range(1, min(g.kw, 12) + 1)
    least = min(most // 2, g.wo * g.kw)
    found = [{"tile": t, "chunk": c} for t, c in product(tiles, chunks) if t + c <= most and t * c >= least]
    own = default(g, target)
    return (*found, *(() if own in found else (own,)))


def default(g: Geometry, target: Target) -> dict[str, int]:
    """A chunk that leaves most registers to the tile, and a tile that divides the row where one does."""
    chunk = min(g.kw, 8 if target.vector_registers >= 32 else 5)
    tile = min(g.wo, WIDEST_TILE, target.vector_registers - chunk - 2)
    while tile > 6 and g.wo % tile:
        tile -= 1
    return {"tile": tile, "chunk": chunk}


def _takes(workload: Workload) -> Geometry | None:
    found = elementwise_tail(workload)
    g = geometry(workload, found[0]) if found else None
    return g if g is not None and applies(g) and dtype_of(g.source) == "float32" else None


def _plan(g: Geometry, target: Target, parameters: Mapping[str, int]) -> Plan:
    width = target.vector_bits // 32
    return Plan(
        geometry=g, tile=parameters["tile"], chunk=parameters["chunk"], width=width, vectors=-(-g.co // width)
    )  # fmt: skip


def pack(weights: np.ndarray, plan: Plan) -> np.ndarray:
    """[kh, kw, c] -> [vector][kh][kw][lane], flat, the last vector filled up with zeros."""
    g = plan.geometry
    full = np.zeros((plan.taps, plan.vectors * plan.width), weights.dtype)
    full[:, : g.co] = weights.reshape(plan.taps, g.co)
    return np.ascontiguousarray(full.reshape(plan.taps, plan.vectors, plan.width).transpose(1, 0, 2)).reshape(-1)


def _vector(plan: Plan, data: Buffer, scratch: Buffer, weights: Buffer, tail: Tail, v: Expr, used: int) -> None:
    """Copy and convolve channels [v * width, v * width + used)."""
    g = plan.geometry
    left = g.pads[1]
    right = plan.columns - left - g.w

    def row(r: Expr) -> None:
        image, y = split_index(r, (g.n, g.h))

        def blank(first: int, count: int) -> None:
            loop(count, lambda x: store(scratch, [v, r, x + first, T.int64(0)], zero(plan.width), plan.width))

        def pixel(x: Expr) -> None:
            for part in lanes(used, plan.width):
                value = load(data, [image, y, x, v * plan.width + part.offset], part.width)
                store(scratch, [v, r, x + left, T.int64(part.offset)], value, part.width)
            for part in lanes(plan.width - used, plan.width):
                place = [v, r, x + left, T.int64(used + part.offset)]
                store(scratch, place, zero(part.width), part.width)

        blank(0, left)
        loop(min(g.w, plan.columns - left), pixel)
        blank(left + g.w, max(0, right))

    loop(g.n * g.h, row)
    loop(g.n * g.ho, lambda r: _row(plan, scratch, weights, tail, v, r, used))


def _row(plan: Plan, scratch: Buffer, weights: Buffer, tail: Tail, v: Expr, r: Expr, used: int) -> None:
    g = plan.geometry
    image, y = split_index(r, (g.n, g.ho))
    start = T.Bind(y - g.pads[0])
    low = T.Bind(T.max(T.int64(0), -start))
    high = T.Bind(T.min(T.int64(g.kh), g.h - start))

    def tile(first: Expr, pixels: int) -> None:
        acc = [accumulator(plan.width) for _ in range(pixels)]
        for a in acc:
            write(a, zero(plan.width), plan.width)
        with T.serial(high - low) as k:
            ky = k + low
            _taps(plan, scratch, weights, acc, v, image * g.h + start + ky, ky, first)
        for p, a in enumerate(acc):
            for part in lanes(used, plan.width):
                at = v * plan.width + part.offset
                tail.store([image, y, first + p], at, a, part.width, part.offset)

    count, rest = divmod(g.wo, plan.tile)
    loop(count, lambda t: tile(t * plan.tile, plan.tile))
    if rest:
        tile(T.int64(count * plan.tile), rest)


def _taps(
    plan: Plan, scratch: Buffer, weights: Buffer, acc: list[Buffer], v: Expr, row: Expr, ky: Expr, first: Expr
) -> None:  # fmt: skip
    """One kernel row: the chunks of it that touch the image somewhere in the tile, then the columns left over."""
    g, width, chunk = plan.geometry, plan.width, plan.chunk
    base = (v * g.kh + ky) * g.kw

    def some(kx: Expr, count: int) -> None:
        line = [T.Bind(load(weights, [(base + kx + j) * width], width)) for j in range(count)]
        for x in range(len(acc) + count - 1):
            element = T.Bind(load(scratch, [v, row, first + kx + x, T.int64(0)], width))
            for p, a in enumerate(acc):
                if 0 <= x - p < count:
                    write(a, read(a, width) + element * line[x - p], width)

    whole, rest = divmod(g.kw, chunk)
    if whole == 1:
        some(T.int64(0), chunk)
    else:
        begin = T.Bind(T.max(T.int64(0), g.pads[1] - first - (len(acc) - 1)) // chunk)
        end = T.Bind(T.min(T.int64(whole), (g.w + g.pads[1] - first + chunk - 1) // chunk))
        with T.serial(T.max(T.int64(0), end - begin)) as c:
            some((c + begin) * chunk, chunk)
    if rest:
        some(T.int64(whole * chunk), rest)
