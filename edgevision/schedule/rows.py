"""Template for what is computed row by row: softmax, layer normalisation and other stages over the last axes of one tensor.

All stages of a workload share their leading axes. They run one after the other for a few rows, so that what is between them
stays in the cache, and such chunks are given to threads; as separate passes they write and read whole tensors. Elementwise
stages are vectors, also where they call functions; a reduction keeps its lanes in a register.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.generic import PARALLEL_ELEMENTS
from edgevision.schedule.register_tile import Buffer, Expr, accumulator, lanes, loop, serial, split_index
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Stage, Workload, dtype_of, nodes, rebuild, shape_of
from edgevision.target import Target
from edgevision.tuning_log import Choice

NAME = "rows"

MOST_KEPT = 16_384
"""Elements of a chunk that are kept between two stages: 64 KB."""
WIDEST_SUM = 16
"""Lanes of a reduction that one register holds."""
CHUNKS = (16, 64, 4, 1)
"""Rows that a thread takes at a time, each stage for all of them: one row's sums would wait for each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``prefix``: the extents that all stages share. ``work``: elements visited in all."""

    workload: Workload
    prefix: tuple[int, ...]
    work: int
    width: int
    chunk: int


def schedule(workload: Workload, target: Target, parameters: Mapping[str, int] | None = None) -> Scheduled | None:
    """None where the stages, all of float32 and one of them a reduction, share no rows. ``parameters``: one of `space`; without,
    its first."""
    points = space(workload, target)
    if not points:
        return None
    parameters = parameters or points[0]
    work = sum(prod(shape_of(s.buffer)) * prod(s.steps) for s in workload.stages)
    plan = Plan(
        workload=workload, prefix=_prefix(workload), work=work, width=target.vector_bits // 32, chunk=parameters["chunk"]
    )  # fmt: skip
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            _emit(plan, parameters_of(workload, {}))
        func = builder.get()
    return Scheduled(func=func, schedule=f"template:{NAME}", choice=Choice.of(NAME, parameters))


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: how many rows a ``chunk`` has."""
    prefix = _prefix(workload)
    if prod(prefix) == 1 or workload.views:
        return ()
    kept = max(prod(shape_of(stage.buffer)[len(prefix) :]) for stage in workload.stages)
    return tuple({"chunk": chunk} for chunk in CHUNKS if chunk * kept <= MOST_KEPT)


def _prefix(workload: Workload) -> tuple[int, ...]:
    """Leading extents that all stages have, each of which reads what others made at its own place there; () without any."""
    stages = workload.stages
    if len(stages) < 2 or not any(s.reduction for s in stages) or any(dtype_of(s.buffer) != "float32" for s in stages):
        return ()
    shapes = [shape_of(s.buffer) for s in stages]
    count = min(len(s) for s in shapes) - 1
    while count > 0 and not _share(workload, shapes, count):
        count -= 1
    return shapes[0][:count]


def _share(workload: Workload, shapes: Sequence[tuple[int, ...]], count: int) -> bool:
    if any(s[:count] != shapes[0][:count] for s in shapes):
        return False
    for stage in workload.stages:
        for each in nodes(stage.value):
            if type(each).__name__ == "TensorLoad" and workload.producer(each.source) is not None:
                own = zip(each.indices[:count], stage.axes[:count], shapes[0][:count], strict=True)
                if not all(extent == 1 or at.same_as(axis) for at, axis, extent in own):
                    return False
    return True


def _emit(plan: Plan, places: Sequence[Buffer]) -> None:
    """Chunks of rows over threads; intermediate results of one row have a place for each chunk."""
    rows, stages = prod(plan.prefix), plan.workload.stages

    def some(number: Expr) -> None:
        kept = tuple(T.alloc_buffer((plan.chunk * prod(_suffix(plan, s)),), "float32", layout=None) for s in stages[:-1])
        first = number * plan.chunk
        for stage in stages:
            with serial(T.min(T.int64(plan.chunk), rows - first) if rows % plan.chunk else plan.chunk) as i:
                row = Row(plan=plan, number=i, at=split_index(first + i, plan.prefix), kept=kept, places=tuple(places))
                row.reduce(stage) if stage.reduction else row.each(stage)

    loop(-(-rows // plan.chunk), some, threads=plan.work >= PARALLEL_ELEMENTS)


def _suffix(plan: Plan, stage: Stage) -> tuple[int, ...]:
    return shape_of(stage.buffer)[len(plan.prefix) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row ``at`` the leading axes, so many rows into its chunk; ``kept`` are the chunk's results of all stages but the last."""

    plan: Plan
    number: Expr
    at: tuple[Expr, ...]
    kept: tuple[Buffer, ...]
    places: tuple[Buffer, ...]

    def each(self, stage: Stage) -> None:
        """An elementwise stage: vectors along its last axis."""
        *outer, last = _suffix(self.plan, stage)

        def line(number: Expr) -> None:
            rest = split_index(number, outer)
            whole = last // self.plan.width
            loop(whole, lambda i: vector(rest, i * self.plan.width, self.plan.width))
            for v in lanes(last % self.plan.width, self.plan.width):
                vector(rest, T.int64(whole * self.plan.width + v.offset), v.width)

        def vector(rest: Sequence[Expr], first: Expr, width: int) -> None:
            def element(lane: Expr) -> None:
                at = (*rest, first + lane)
                self._write(stage, at, self._value(stage, at, {}))

            _lanes(width, element)

        loop(prod(outer), line)

    def reduce(self, stage: Stage) -> None:
        """A reduction: its lanes, if it has some, in one register, else element by element."""
        suffix = _suffix(self.plan, stage)
        width = suffix[-1] if suffix[-1] <= WIDEST_SUM else 1

        def element(number: Expr) -> None:
            acc = accumulator(width)
            first = split_index(number, (*suffix[:-1], suffix[-1] // width))

            def place(lane: Expr) -> tuple[Expr, ...]:
                return (*first[:-1], first[-1] * width + lane)

            def fill(lane: Expr) -> None:
                T.buffer_store(acc, stage.init, [lane])

            def step(steps: Expr) -> None:
                at = dict(zip(stage.reduction, split_index(steps, stage.steps), strict=True))
                _lanes(width, lambda lane: T.buffer_store(acc, self._value(stage, place(lane), at, acc[lane]), [lane]))

            _lanes(width, fill)
            loop(prod(stage.steps), step)
            _lanes(width, lambda lane: self._write(stage, place(lane), acc[lane]))

        loop(prod(suffix) // width, element)

    def _value(self, stage: Stage, at: Sequence[Expr], steps: Mapping[Expr, Expr], own: Expr = None) -> Expr:
        def load(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
            if own is not None and buffer.same_as(stage.buffer):
                return own
            number = next((i for i, s in enumerate(self.plan.workload.stages[:-1]) if s.buffer.same_as(buffer)), None)
            if number is None:
                params = zip(self.plan.workload.params, self.places, strict=True)
                return next(place for p, place in params if p.same_as(buffer))[tuple(indices)]
            return self.kept[number][self._flat(self.plan.workload.stages[number], indices[len(self.at) :])]

        return rebuild(stage.value, {**dict(zip(stage.axes, (*self.at, *at), strict=True)), **steps}, load)

    def _write(self, stage: Stage, at: Sequence[Expr], value: Expr) -> None:
        stages = self.plan.workload.stages
        number = next(i for i, s in enumerate(stages) if s is stage)
        if number == len(stages) - 1:
            T.buffer_store(self.places[-1], value, [*self.at, *at])
        else:
            T.buffer_store(self.kept[number], value, [self._flat(stage, at)])

    def _flat(self, stage: Stage, at: Sequence[Expr]) -> Expr:
        place = self.number
        for extent, index in zip(_suffix(self.plan, stage), at, strict=True):
            place = place * extent + index
        return place


def _lanes(width: int, body: Callable[[Expr], None]) -> None:
    if width == 1:
        body(T.int64(0))
        return
    with T.vectorized(T.int64(width)) as lane:
        body(lane)
