"""Template for depthwise convolution with large kernels, stride 1: Winograd's F(m, m) on pieces of the kernel.

Kernel, data and output are cut into pieces of m taps or pixels along an axis (see `Axis`), so that the transform of one
piece of the data serves every piece of the kernel, and sums over these are taken before the transform back:

    W = B^T d along y -> for each row of points: V = B^T W along x -> for each point: M[t] = sum over g of U[g] V[t + g]
    -> P = M A along x -> A^T P along y, tail, store

All of it for one vector of channels at a time, in a workspace that stays in the L2. Between the transforms this is a
depthwise convolution again, of points instead of pixels and with kernels m times smaller: with m = 4 along both axes a
31x31 kernel takes 49 times 8x8 products for 4x4 outputs, a fifth of 31x31 for each. Weights are transformed in float64
at compile time and stored [channel vector][point][piece of kernel][lane].
Source: Huang et al., "DWM: A Decomposable Winograd Method for Convolution Acceleration" (2020), here with pieces
as long as tiles and sums in the transformed domain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.depthwise_winograd_choice import Axis, axes, default, pays, space, takes
from edgevision.schedule.geometry import Geometry
from edgevision.schedule.linear_map import times
from edgevision.schedule.register_tile import (
    Buffer,
    Expr,
    accumulator,
    by_vector,
    lanes,
    load,
    loop,
    read,
    store,
    write,
    zero,
)  # fmt: skip
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import Tail, elementwise_tail
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.toom_cook import SQUARE_POINTS, Transforms, transforms
from edgevision.schedule.workload import Workload
from edgevision.target import Target
from edgevision.tuning_log import Choice

__all__ = ["NAME", "schedule", "space"]

NAME = "depthwise_winograd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``tile`` output pieces by ``chunk`` kernel pieces along x at a time; ``vectors`` channel vectors of ``width``."""

    geometry: Geometry
    y: Axis
    x: Axis
    tile: int
    chunk: int
    width: int
    vectors: int

    @property
    def products(self) -> int:
        """Transformed weights a channel."""
        return self.y.points * self.x.points * self.y.groups * self.x.groups


def schedule(workload: Workload, target: Target, parameters: Mapping[str, int] | None = None) -> Scheduled | None:
    """None where the workload is not a float32 depthwise convolution, stride 1, with a kernel of at least 4 taps along an
    axis; without ``parameters``, one of `space`, also where it does not gain by it."""
    found = elementwise_tail(workload)
    g = takes(workload)
    if found is None or g is None or (parameters is None and not pays(g)):
        return None
    parameters = parameters or default(g, target)
    plan = _plan(g, target, parameters)
    number = workload.number_of(g.weights)
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            places = parameters_of(workload, {number: (plan.vectors * plan.products * plan.width,)})
            tail = Tail(workload, *found, places)
            source, weights = tail.place(g.source), places[number]
            by_vector(g.co, plan.width, lambda v, used: _vector(plan, source, weights, tail, v, used))
        func = builder.get()
    return Scheduled(
        func=func, schedule=f"template:{NAME} {plan.y.m}x{plan.x.m}", choice=Choice.of(NAME, parameters),
        relay={number: lambda w: pack(w, plan)},
    )  # fmt: skip


def _plan(g: Geometry, target: Target, parameters: Mapping[str, int]) -> Plan:
    y, x = axes(g, parameters["rows"], parameters["columns"])
    width = target.vector_bits // 32
    return Plan(
        geometry=g, y=y, x=x, tile=parameters["tile"], chunk=parameters["chunk"], width=width, vectors=-(-g.co // width)
    )


def pack(weights: np.ndarray, plan: Plan) -> np.ndarray:
    """[kh, kw, 1 or c, c or 1] -> U = G g G^T of each piece, flat in the order [vector][point y, x][piece y, x][lane], the
    last vector filled up with zeros."""
    g, y, x = plan.geometry, plan.y, plan.x
    full = np.zeros((y.groups * y.m, x.groups * x.m, plan.vectors * plan.width))
    full[: g.kh, : g.kw, : g.co] = weights.reshape(g.kh, g.kw, g.co)
    pieces = full.reshape(y.groups, y.m, x.groups, x.m, plan.vectors, plan.width)
    points = np.einsum("ai,gihjvl,bj->vabghl", _matrices(y).kernel, pieces, _matrices(x).kernel, optimize=True)
    return np.ascontiguousarray(points, weights.dtype).reshape(-1)


def _matrices(axis: Axis) -> Transforms:
    return transforms(axis.m, SQUARE_POINTS[axis.m], axis.m)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Channel vectors in a flat buffer, planes of ``plane`` vectors: [plane][row][column], from column ``first`` on."""

    buffer: Buffer
    plane: int
    columns: int
    width: int
    first: int = 0

    def at(self, plane: Expr, row: Expr, column: Expr) -> Expr:
        return (plane * self.plane + row * self.columns + column - self.first) * self.width

    def load(self, plane: Expr, row: Expr, column: Expr) -> Expr:
        return load(self.buffer, [self.at(plane, row, column)], self.width)

    def store(self, plane: Expr, row: Expr, column: Expr, value: Expr) -> None:
        store(self.buffer, [self.at(plane, row, column)], value, self.width)


def _grid(planes: int, rows: int, columns: int, width: int, first: int = 0) -> _Grid:
    buffer = T.alloc_buffer((planes * rows * columns * width,), "float32", layout=None)
    return _Grid(buffer=buffer, plane=rows * columns, columns=columns, width=width, first=first)


def _vector(plan: Plan, source: Buffer, weights: Buffer, tail: Tail, v: Expr, used: int) -> None:
    """Channels [v * width, v * width + used)."""
    g, y, x, width = plan.geometry, plan.y, plan.x, plan.width
    if x.m == 1:
        rows = _grid(y.points, y.pieces, g.w, width, x.pad)
        finished = _grid(y.points, y.tiles, g.wo, width)
    else:  # a plane of data is transformed before its place is needed for results
        plane = max(y.pieces * g.w, y.tiles * g.wo)
        rows = replace(_grid(y.points, 1, plane, width), columns=g.w)
        finished = replace(rows, columns=g.wo)
        pieces = _grid(x.points, y.pieces, x.pieces, width, x.low)
        summed = _grid(x.points, y.tiles, x.tiles, width)

    def point(u: Expr) -> None:
        at = (v * y.points + u) * x.points
        if x.m == 1:
            _convolve(plan, rows, u, weights, at, finished, u)
            return
        _columns_forth(plan, rows, pieces, u)
        loop(x.points, lambda p: _convolve(plan, pieces, p, weights, at + p, summed, p))
        _columns_back(plan, summed, finished, u)

    def image(i: Expr) -> None:
        _rows_forth(plan, source, rows, i, v * width, used)
        loop(y.points, point)
        _rows_back(plan, finished, tail, i, v * width, used)

    loop(g.n, image)


def _each_piece(axis: Axis, visit: Callable[[Expr, range], None]) -> None:
    """``visit`` each piece of the data with the pixels of it that lie in the image: those at the border have code of their
    own, the others are a loop."""
    whole = [s for s in range(axis.low, axis.high) if axis.inside(s) == (0, axis.points)]
    first, last = (whole[0], whole[-1] + 1) if whole else (axis.high, axis.high)
    for s in range(axis.low, first):
        visit(T.int64(s), range(*axis.inside(s)))
    loop(last - first, lambda i: visit(i + first, range(axis.points)))
    for s in range(last, axis.high):
        visit(T.int64(s), range(*axis.inside(s)))


def _each_tile(axis: Axis, visit: Callable[[Expr, int], None]) -> None:
    """``visit`` each output piece with how many pixels of it exist."""
    whole, rest = divmod(axis.out, axis.m)
    loop(whole, lambda t: visit(t, axis.m))
    if rest:
        visit(T.int64(whole), rest)


def _rows_forth(plan: Plan, source: Buffer, rows: _Grid, image: Expr, channel: Expr, used: int) -> None:
    """W[point, piece, x] = B^T d. Lanes without a channel are zeros: denormal numbers, which a workspace may hold, cost time."""
    y, matrix = plan.y, _matrices(plan.y).data

    def piece(s: Expr, inside: range) -> None:
        start = s * y.m - y.pad

        def pixel(x: Expr) -> None:
            for part in lanes(used, plan.width):
                at = channel + part.offset
                terms = [
                    T.Bind(load(source, [image, start + j, x, at], part.width)) if j in inside else None
                    for j in range(y.points)
                ]
                for u, value in enumerate(times(matrix, terms, part.width)):
                    store(rows.buffer, [rows.at(u, s - y.low, x + rows.first) + part.offset], value, part.width)
            for part in lanes(plan.width - used, plan.width):
                for u in range(y.points):
                    place = rows.at(u, s - y.low, x + rows.first) + used + part.offset
                    store(rows.buffer, [place], zero(part.width), part.width)

        loop(plan.geometry.w, pixel)

    _each_piece(y, piece)


def _columns_forth(plan: Plan, rows: _Grid, pieces: _Grid, u: Expr) -> None:
    """V[point, piece y, piece x] = B^T W of one row of points."""
    x, matrix = plan.x, _matrices(plan.x).data

    def row(s: Expr) -> None:
        def piece(sx: Expr, inside: range) -> None:
            start = sx * x.m - x.pad
            terms = [T.Bind(rows.load(u, s, start + j)) if j in inside else None for j in range(x.points)]
            for p, value in enumerate(times(matrix, terms, plan.width)):
                pieces.store(p, s, sx, value)

        _each_piece(x, piece)

    loop(plan.y.pieces, row)


def _convolve(plan: Plan, data: _Grid, plane: Expr, weights: Buffer, at: Expr, sums: _Grid, target: Expr) -> None:
    """sums[target, t] = sum over g of U[at, g] data[plane, t + g]."""
    y = plan.y

    def row(t: Expr) -> None:
        low = T.Bind(T.max(T.int64(0), y.low - t))
        high = T.Bind(T.min(T.int64(y.groups), y.high - t))

        def tile(first: Expr, count: int, touching: range) -> None:
            acc = [accumulator(plan.width) for _ in range(count)]
            for a in acc:
                write(a, zero(plan.width), plan.width)
            with T.serial(T.max(T.int64(0), high - low)) as k:
                gy = k + low
                line = partial(data.load, plane, t + gy - y.low)
                _taps(plan, line, weights, (at * y.groups + gy) * plan.x.groups, acc, first, touching)
            for i, a in enumerate(acc):
                sums.store(target, t, first + i, read(a, plan.width))

        _tiles(plan, tile)

    loop(y.tiles, row)


def _tiles(plan: Plan, visit: Callable[[Expr, int, range], None]) -> None:
    """``visit`` tiles of output pieces along x, each with the data pieces, counted from its first one, that touch the image.
    Where some do not, its code is its own."""
    x = plan.x
    starts = range(0, x.tiles, plan.tile)

    def touching(first: int) -> range:
        reach = min(plan.tile, x.tiles - first) + x.groups - 1
        return range(max(0, x.low - first), min(reach, x.high - first))

    inner = [s for s in starts if s + plan.tile <= x.tiles and touching(s) == range(plan.tile + x.groups - 1)]
    for first in starts:
        if first not in inner:
            visit(T.int64(first), min(plan.tile, x.tiles - first), touching(first))
        elif first == inner[0]:
            loop(len(inner), lambda i: visit(i * plan.tile + inner[0], plan.tile, range(plan.tile + x.groups - 1)))


def _taps(
    plan: Plan, line: Callable[[Expr], Expr], weights: Buffer, at: Expr, acc: list[Buffer], first: Expr, touching: range
) -> None:  # fmt: skip
    """One row of pieces of the kernel, chunk by chunk: a loaded vector serves every product of the chunk."""
    width, groups = plan.width, plan.x.groups
    for start in range(0, groups, plan.chunk):
        chunk = range(start, min(start + plan.chunk, groups))
        loaded = {g: T.Bind(load(weights, [(at + g) * width], width)) for g in chunk}
        for z in range(chunk[0], chunk[-1] + len(acc)):
            if z not in touching:
                continue
            element = T.Bind(line(first + z))
            for i, a in enumerate(acc):
                if z - i in chunk:
                    write(a, read(a, width) + element * loaded[z - i], width)


def _columns_back(plan: Plan, summed: _Grid, finished: _Grid, u: Expr) -> None:
    """P[u, piece y, x] = A^T M of one row of points."""
    x, matrix = plan.x, _matrices(plan.x).output

    def row(t: Expr) -> None:
        def tile(tx: Expr, count: int) -> None:
            terms = [T.Bind(summed.load(p, t, tx)) for p in range(x.points)]
            for i, value in enumerate(times(matrix[:count], terms, plan.width)):
                finished.store(u, t, tx * x.m + i, value)

        _each_tile(x, tile)

    loop(plan.y.tiles, row)


def _rows_back(plan: Plan, finished: _Grid, tail: Tail, image: Expr, channel: Expr, used: int) -> None:
    """A^T P along y, and what was fused behind the convolution."""
    y, matrix = plan.y, _matrices(plan.y).output

    def tile(t: Expr, count: int) -> None:
        def pixel(x: Expr) -> None:
            terms = [T.Bind(finished.load(u, t, x)) for u in range(y.points)]
            for i, value in enumerate(times(matrix[:count], terms, plan.width)):
                acc = accumulator(plan.width)
                write(acc, value, plan.width)
                for part in lanes(used, plan.width):
                    tail.store([image, t * y.m + i, x], channel + part.offset, acc, part.width, part.offset)

        loop(plan.geometry.wo, pixel)

    _each_tile(y, tile)
