"""What a template does with a finished accumulator: the elementwise stages that were fused behind the anchor."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.register_tile import Buffer, Expr, Shifted, store
from edgevision.schedule.workload import Stage, Workload, dtype_of, rebuild, shape_of


@dataclass(frozen=True, slots=True)
class Tail:
    """The anchor, the stages behind it, and where each parameter of the workload lives in the function being built."""

    workload: Workload
    anchor: Stage
    last: Stage
    places: tuple[Buffer, ...]

    def place(self, buffer: Buffer) -> Buffer:
        return next(p for b, p in zip(self.workload.params, self.places, strict=True) if b.same_as(buffer))

    @property
    def output(self) -> Buffer:
        return self.places[-1]

    @property
    def results(self) -> tuple[Stage, ...]:
        """What is written: ``last``, and what a device's workload keeps beside it."""
        return tuple(s for p in self.workload.params for s in (self.workload.producer(p),) if s is not None)

    def value(self, at: Sequence[Expr], anchored: Expr, result: Stage | None = None) -> Expr:
        """The workload's result, or the given one, at output indices ``at``, where the anchor's own result there is
        ``anchored``."""
        result = result or self.last

        def element(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
            if buffer.same_as(self.anchor.buffer):
                return anchored
            stage = self.workload.producer(buffer)
            if stage is None:
                return self.place(buffer)[tuple(indices)]
            return rebuild(stage.value, dict(zip(stage.axes, indices, strict=True)), element)

        if result is self.anchor:
            return anchored
        return rebuild(result.value, dict(zip(result.axes, at, strict=True)), element)

    def store(self, prefix: Sequence[Expr], channel: Expr, acc: Buffer, width: int, first: Expr = 0) -> None:
        """Write ``width`` results, lanes ``first`` and up of an accumulator, to output indices [*prefix, channel
        ...]."""
        if width == 1:
            store(self.output, [*prefix, channel], self.value([*prefix, channel], acc[first]), 1)
            return
        with T.vectorized(T.int64(width)) as lane:
            at = [*prefix, channel + lane]
            store(self.output, at, self.value(at, acc[lane + first]), 1)


def elementwise_tail(workload: Workload, anchor: Stage | None = None) -> tuple[Stage, Stage] | None:
    """(anchor, last stage) if everything behind the anchor reads it element by element at the output's own indices. Without
    ``anchor`` it is the workload's annotated one."""
    anchor = anchor or workload.anchor
    last = workload.producer(workload.params[-1])
    if anchor is None or last is None or shape_of(last.buffer) != shape_of(anchor.buffer):
        return None
    exact = True

    def element(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
        nonlocal exact
        stage = workload.producer(buffer)
        if stage is None:
            return buffer[tuple(indices)]
        if stage is anchor:
            exact = exact and _same_place(indices, last.axes, shape_of(buffer))
            return buffer[tuple(indices)]
        exact = exact and not stage.reduction
        return rebuild(stage.value, dict(zip(stage.axes, indices, strict=True)), element)

    if last is not anchor:
        exact = not last.reduction
        rebuild(last.value, {}, element)
    return (anchor, last) if exact else None


def ignores_rows(workload: Workload, anchor: Stage, last: Stage) -> bool:
    """Whether every tensor behind the anchor is either as large as the output or the same for all pixels: then pixels
    may be numbered through, and index arithmetic by rows is not needed."""
    prefix = shape_of(last.buffer)[:-1]
    whole = True

    def element(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
        nonlocal whole
        stage = workload.producer(buffer)
        if stage is None:
            own = shape_of(buffer)[:-1]
            whole = whole and (own == prefix or all(n == 1 for n in own))
            return buffer[tuple(indices)]
        if stage is anchor:
            return buffer[tuple(indices)]
        return rebuild(stage.value, dict(zip(stage.axes, indices, strict=True)), element)

    if last is not anchor:
        rebuild(last.value, {}, element)
    return whole


def _same_place(indices: Sequence[Expr], axes: Sequence[Any], shape: Sequence[int]) -> bool:
    return all(n == 1 or i.same_as(a) for i, a, n in zip(indices, axes, shape, strict=True))


def parameters(
    workload: Workload, replaced: dict[int, tuple[int, ...]], prefix: str = "p", without: Collection[int] = ()
) -> tuple[Buffer, ...]:
    """Declare the workload's parameters in the function being built; ``replaced`` gives a parameter another shape (re-laid
    weights), a view has the shape of the tensor that it is part of. None in the place of those ``without``."""
    places: list[Buffer] = []
    for i, p in enumerate(workload.params):
        if i in without:
            places.append(None)
            continue
        shape = replaced.get(i, shape_of(p))
        if i in workload.views:
            shape = (*shape[:-1], workload.views[i][1])
        buffer = T.arg(f"{prefix}{i}", T.buffer(shape, dtype_of(p), layout=None))
        places.append(Shifted(buffer, workload.views[i][0]) if i in workload.views else buffer)
    return tuple(places)
