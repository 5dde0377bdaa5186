"""Template for any change of order that brings another axis to the last place: square blocks are turned in registers.

Axes that stay neighbours count as one, so that [n, c, h, w] -> [n, h, w, c] is a matrix of c x hw an image. A block loads
``width`` vectors along the source's last axis and stores as many along the result's, each of which is contiguous; between them
stand log2(width) rounds of shuffles of two vectors. Where the width does not divide an extent, the last blocks overlap.

Source of the rounds: J. O. Eklundh, "A fast computer method for matrix transposing", IEEE Transactions on Computers C-21, 1972.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.interleave import PARALLEL_ELEMENTS
from edgevision.schedule.register_tile import LINE, Buffer, Expr, load, loop, split_index, store
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Workload, dtype_of, shape_of
from edgevision.target import Target
from edgevision.tuning_log import Choice

NAME = "transpose"

LEAST_WIDTH = 4


@dataclass(frozen=True, slots=True)
class Axis:
    """Neighbours in both orders: how many elements, and how far apart they are in the source and in the result."""

    extent: int
    source: int
    result: int


@dataclass(frozen=True, slots=True)
class Order:
    """``across`` is the source's last axis, ``along`` the result's; ``others`` are neither."""

    across: Axis
    along: Axis
    others: tuple[Axis, ...]

    @property
    def elements(self) -> int:
        return prod(axis.extent for axis in (self.across, self.along, *self.others))


def schedule(workload: Workload, target: Target, parameters: Mapping[str, int] | None = None) -> Scheduled | None:
    """None where the workload is anything else than such a change of order of 32-bit elements, or an axis is shorter than the
    least vector. ``parameters``: one of `space`; without, its first."""
    points = space(workload, target)
    order = _order(workload)
    if not points or order is None:
        return None
    parameters = parameters or points[0]
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            source, result = parameters_of(workload, {0: (order.elements,), 1: (order.elements,)})
            _emit(order, source, result, **parameters)
        func = builder.get()
    return Scheduled(func=func, schedule=f"template:{NAME} {parameters['width']}", choice=Choice.of(NAME, parameters))


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: the blocks' ``width``, and whether those ``along`` the result's last axis follow each other. Where
    vectors are less than half a line, those along the shorter axis do by default: a line then waits in the cache for as few
    others as possible. 24x56x56 to 56x56x24 on NEON, modelled with caches, takes 0.68 of the cycles."""
    order = _order(workload)
    if order is None or workload.views:
        return ()
    widest = min(target.vector_bits // 32, order.across.extent, order.along.extent)
    widths = [1 << bits for bits in range(widest.bit_length() - 1, LEAST_WIDTH.bit_length() - 2, -1)]
    shorter = int(2 * target.vector_bits // 32 < LINE and order.along.extent < order.across.extent)
    return tuple({"width": width, "along": along} for width in widths for along in (shorter, 1 - shorter))


def _order(workload: Workload) -> Order | None:
    if len(workload.stages) != 1 or len(workload.params) != 2:
        return None
    stage, source = workload.stages[0], workload.params[0]
    value = stage.value
    if stage.reduction or type(value).__name__ != "TensorLoad" or not value.source.same_as(source):
        return None
    extents = shape_of(stage.buffer)
    kept = [axis for axis, extent in zip(stage.axes, extents, strict=True) if extent > 1]
    read = [at for at, extent in zip(value.indices, shape_of(source), strict=True) if extent > 1]
    places = [next((i for i, axis in enumerate(kept) if at.same_as(axis)), -1) for at in read]
    if sorted(places) != list(range(len(kept))) or dtype_of(source) not in ("float32", "int32"):
        return None
    axes = _axes(places, [extent for extent in extents if extent > 1])
    across = axes[-1] if axes else None
    along = next((axis for axis in axes if axis.result == 1), None)
    if across is None or along is None or across is along:
        return None
    return Order(across, along, tuple(axis for axis in axes if axis not in (across, along)))


def _axes(places: Sequence[int], extents: Sequence[int]) -> list[Axis]:
    """``places``: for each axis of the source, which of the result it is; ``extents`` are the result's."""
    axes: list[Axis] = []
    last, size = -1, 1
    for place in reversed(places):
        extent = extents[place]
        if axes and place + 1 == last:
            axes[0] = Axis(axes[0].extent * extent, axes[0].source, axes[0].result)
        else:
            axes.insert(0, Axis(extent, size, prod(extents[place + 1 :])))
        last, size = place, size * extent
    return axes


def _emit(order: Order, source: Buffer, result: Buffer, *, width: int, along: int) -> None:
    slow, fast = (order.across, order.along) if along else (order.along, order.across)

    def first(axis: Axis, block: Expr) -> Expr:
        return block * width if axis.extent % width == 0 else T.min(block * width, T.int64(axis.extent - width))

    def line(number: Expr) -> None:
        *at, block = split_index(number, (*(axis.extent for axis in order.others), -(-slow.extent // width)))
        start = first(slow, block)
        places = [sum((a * getattr(axis, side) for a, axis in zip(at, order.others, strict=True)), T.int64(0)) for side in SIDES]

        def one(other: Expr) -> None:
            x, y = (start, first(fast, other)) if along else (first(fast, other), start)
            _block(order, source, result, places[0] + x + y * order.along.source, places[1] + x * order.across.result + y, width)

        loop(-(-fast.extent // width), one)

    count = prod(axis.extent for axis in order.others) * -(-slow.extent // width)
    loop(count, line, threads=order.elements >= PARALLEL_ELEMENTS)


SIDES = ("source", "result")


def _block(order: Order, source: Buffer, result: Buffer, at: Expr, to: Expr, width: int) -> None:
    """``width`` x ``width`` elements from ``at`` on, turned, to ``to``."""
    rows = [T.Bind(load(source, [at + i * order.along.source], width)) for i in range(width)]
    half = width // 2
    while half:
        low = [lane + (width - half if lane & half else 0) for lane in range(width)]
        for i in range(width):
            if not i & half:
                pair = [rows[i], rows[i + half]]
                rows[i], rows[i + half] = T.Bind(T.Shuffle(pair, low)), T.Bind(T.Shuffle(pair, [lane + half for lane in low]))
        half //= 2
    for i, row in enumerate(rows):
        store(result, [to + i * order.across.result], row, width)
