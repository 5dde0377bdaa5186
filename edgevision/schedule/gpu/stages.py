"""Every workload without a template: one kernel a stage that must exist in memory, the others computed where they are read.

An elementwise stage is computed by its reader. What follows a reduction element by element is computed in the reduction's kernel.
A long reduction to few results is shared by the work items of a group, whose parts meet in local memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.program import GROUP_SIZE, GROUPS
from edgevision.schedule.gpu import kernel as k
from edgevision.schedule.gpu.scheduled import DeviceSchedule, Kernel, Scratch
from edgevision.schedule.register_tile import Buffer, Expr, split_index, store
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Stage, Workload, dtype_of, nodes, rebuild, shape_of
from edgevision.target import Target

NAME = "stages"
LONG_REDUCTION = 256
SHARED = 64
"""Work items that share one reduction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One kernel: computes ``last`` in memory; ``reduced`` is the reduction in front of it, which may be ``last`` itself."""

    last: Stage
    reduced: Stage | None


def schedule(workload: Workload, target: Target) -> DeviceSchedule:
    passes = plan(workload)
    made = [p.last for p in passes if not p.last.buffer.same_as(workload.params[-1])]
    scratch: tuple[Scratch, ...] = tuple((shape_of(s.buffer), dtype_of(s.buffer)) for s in made)
    shared = [_shares(p, target) for p in passes]
    kernels = tuple(_kernel(workload, p, made, target, shared=s) for p, s in zip(passes, shared, strict=True))
    kind = "reduce" if any(p.reduced for p in passes) else "elementwise"
    return DeviceSchedule(kernels=kernels, schedule=f"default:{kind}", scratch=scratch)


def plan(workload: Workload) -> list[Pass]:
    """The stages that must exist in memory, in order, each with the reduction that its kernel does first."""
    found: list[Pass] = []
    fused = {i for i, stage in enumerate(workload.stages) if _finished_by(workload, stage) is not None}
    inlined = {i for i, stage in enumerate(workload.stages) if _is_inlined(workload, stage)}
    for i, stage in enumerate(workload.stages):
        if i in inlined or i in fused:
            continue
        before = next((workload.stages[j] for j in fused if _finished_by(workload, workload.stages[j]) is stage), None)
        found.append(Pass(last=stage, reduced=stage if stage.reduction else before))
    return found


def _readers(workload: Workload, stage: Stage) -> list[tuple[Stage, Sequence[Expr]]]:
    """Where ``stage`` is read: by which other stage, at which indices."""
    found: list[tuple[Stage, Sequence[Expr]]] = []
    for other in workload.stages:
        if other is not stage:
            for node in nodes(other.value):
                if type(node).__name__ == "TensorLoad" and node.source.same_as(stage.buffer):
                    found.append((other, list(node.indices)))
    return found


def _is_inlined(workload: Workload, stage: Stage) -> bool:
    """Elementwise, not the result, and read in one place, or nothing but a choice of what to read."""
    if stage.reduction or stage.buffer.same_as(workload.params[-1]):
        return False
    return len(_readers(workload, stage)) == 1 or not any(
        type(node).__name__ in ("Mul", "Div", "Call") and str(getattr(node, "dtype", "float")).startswith("float")
        for node in nodes(stage.value)
        if type(node).__name__ != "Call" or "if_then_else" not in str(node.op)
    )


def _finished_by(workload: Workload, stage: Stage) -> Stage | None:
    """The stage that a reduction's kernel computes behind it: its only reader, element by element, perhaps through others."""
    if not stage.reduction or stage.buffer.same_as(workload.params[-1]):
        return None
    readers = _readers(workload, stage)
    while len(readers) == 1:
        reader, indices = readers[0]
        if reader.reduction or shape_of(reader.buffer) != shape_of(stage.buffer):
            return None
        if not all(i.same_as(a) for i, a in zip(indices, reader.axes, strict=True)):
            return None
        if not _is_inlined(workload, reader):
            return reader
        readers = _readers(workload, reader)
    return None


def _extent(stage: Stage) -> int:
    return prod(stage.steps)


def _shares(each: Pass, target: Target) -> bool:
    if each.reduced is None or _term(each.reduced) is None or _extent(each.reduced) < LONG_REDUCTION:
        return False
    return prod(shape_of(each.last.buffer)) < target.work_items * (target.vector_bits // 32)


def _term(stage: Stage) -> Expr | None:
    """x of a reduction written ``self + x``, ``self * x``, max or min; None for any other."""
    value: Any = stage.value
    if type(value).__name__ not in ("Add", "Mul", "Max", "Min"):
        return None
    own = type(value.a).__name__ == "TensorLoad" and value.a.source.same_as(stage.buffer)
    return value.b if own else None


class _Emitter:
    """Emits one pass: where each buffer is, and what is computed where it is read."""

    def __init__(self, workload: Workload, each: Pass, places: dict[int, tuple[Buffer, Buffer]]) -> None:
        self.workload, self.each, self.places = workload, each, places
        self.touched: set[int] = set()

    def place(self, buffer: Buffer) -> Buffer | None:
        """Where ``buffer`` is in memory; None for one that is computed where it is read."""
        for number, (known, place) in self.places.items():
            if known.same_as(buffer):
                self.touched.add(number)
                return place
        return None

    def value(self, expr: Expr, variables: Mapping[Any, Expr], own: Callable[[], Expr] | None = None) -> Expr:
        """``expr`` with everything it reads; the pass's reduction is ``own()``."""

        def element(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
            if own is not None and self.each.reduced is not None and buffer.same_as(self.each.reduced.buffer):
                return own()
            stage = self.workload.producer(buffer)
            found = self.place(buffer)
            if found is not None:
                return found[tuple(indices)]
            assert stage is not None, "a buffer that nobody makes"
            return rebuild(stage.value, dict(zip(stage.axes, indices, strict=True)), element)

        return rebuild(expr, variables, element)


def _kernel(workload: Workload, each: Pass, made: list[Stage], target: Target, *, shared: bool) -> Kernel:
    touched: set[int] = set()

    def body() -> None:
        places = list(zip(workload.params, parameters_of(workload, {}), strict=True))
        for stage in made:
            buffer = T.buffer(shape_of(stage.buffer), dtype_of(stage.buffer), layout=None)
            places.append((stage.buffer, T.arg(f"p{len(places)}", buffer)))
        emitter = _Emitter(workload, each, dict(enumerate(places)))
        if shared:
            _shared(emitter, target)
        else:
            _alone(emitter, target)
        touched.update(emitter.touched)

    return k.used_only(k.build(body), touched)


def _vector(emitter: _Emitter, target: Target) -> int:
    """How many results along the last axis one work item computes as a vector: they must lie side by side in every tensor read, or
    be one element of it."""
    stages = [emitter.each.last, *([emitter.each.reduced] if emitter.each.reduced else [])]
    last = emitter.each.last
    shape = shape_of(last.buffer)
    if not shape or dtype_of(last.buffer) == "bool":
        return 1
    for stage in stages:
        axis = stage.axes[-1]
        if not _plain(emitter, stage, axis):
            return 1
    width = target.vector_bits // 32
    while shape[-1] % width:
        width //= 2
    return width


def _plain(emitter: _Emitter, stage: Stage, axis: Any) -> bool:
    plain = True

    def look(indices: Sequence[Expr]) -> None:
        nonlocal plain
        uses = [any(axis.same_as(node) for node in nodes(i)) for i in indices]
        plain = plain and not any(uses[:-1]) and (not uses or not uses[-1] or indices[-1].same_as(axis))

    reduced = emitter.each.reduced
    value = emitter.value(stage.value, {}, lambda: tirx.const(0, dtype_of(reduced.buffer if reduced else stage.buffer)))
    for node in nodes(value):
        kind = type(node).__name__
        if kind == "TensorLoad":
            plain = plain and str(node.source.dtype) != "bool"  # OpenCL has no vectors of bool
            look(node.indices)
        elif kind == "Call" and "if_then_else" in str(node.op):
            plain = plain and not any(axis.same_as(n) for n in nodes(node.args[0]))
    return plain


def _alone(emitter: _Emitter, target: Target) -> None:
    """Each work item computes a vector of results from beginning to end."""
    each = emitter.each
    shape = shape_of(each.last.buffer)
    width = _vector(emitter, target)
    while width > 1 and prod(shape) // width < target.work_items:
        width //= 2
    counts = (*shape[:-1], shape[-1] // width) if shape else ()
    with k.work_items(k.grid(prod(counts), target.work_group)) as item:
        at = list(split_index(item, counts)) if shape else []
        if width > 1:
            at[-1] = T.Bind(at[-1] * width)
        own = None
        if each.reduced is not None:
            own = _reduce(emitter, at, width)
        _write(emitter, at, width, own)


def _reduce(emitter: _Emitter, at: list[Expr], width: int) -> Buffer:
    stage = emitter.each.reduced
    assert stage is not None
    acc = k.scalars(width, dtype_of(stage.buffer))
    _each_lane(width, lambda lane: T.buffer_store(acc, emitter.value(stage.init, {}), [lane]))

    def nest(axes: Sequence[Any], bound: dict[Any, Expr]) -> None:
        if not axes:
            def update(lane: Expr) -> None:
                variables = {**dict(zip(stage.axes, _shifted(at, lane), strict=True)), **bound}
                T.buffer_store(acc, emitter.value(stage.value, variables, lambda: acc[lane]), [lane])

            _each_lane(width, update)
            return
        axis, steps = axes[0]
        with T.serial(T.int64(steps)) as i:
            nest(axes[1:], {**bound, axis: i})

    nest(tuple(zip(stage.reduction, stage.steps, strict=True)), {})
    return acc


def _write(emitter: _Emitter, at: list[Expr], width: int, acc: Buffer | None) -> None:
    each = emitter.each
    place = emitter.place(each.last.buffer)
    assert place is not None

    def one(lane: Expr) -> None:
        where = _shifted(at, lane)
        if acc is not None and each.last is each.reduced:
            store(place, where, acc[lane], 1)
            return
        variables = dict(zip(each.last.axes, where, strict=True))
        own = (lambda: acc[lane]) if acc is not None else None
        store(place, where, emitter.value(each.last.value, variables, own), 1)

    _each_lane(width, one)


def _shifted(at: list[Expr], lane: Expr) -> list[Expr]:
    return [*at[:-1], at[-1] + lane] if at else []


def _each_lane(width: int, body: Callable[[Expr], None]) -> None:
    if width == 1:
        body(T.int64(0))
        return
    with T.vectorized(T.int64(width)) as lane:
        body(lane)


def _shared(emitter: _Emitter, target: Target) -> None:
    """A group of work items computes a vector of results: each reduces every so many-th element, then halves meet."""
    each = emitter.each
    stage = each.reduced
    assert stage is not None
    shape, dtype = shape_of(each.last.buffer), dtype_of(stage.buffer)
    width = _vector(emitter, target)
    size = min(SHARED, target.work_group)
    counts = (*shape[:-1], shape[-1] // width) if shape else ()
    total = prod(stage.steps)
    T.func_attr({"tirx.noalias": True, GROUPS: prod(counts), GROUP_SIZE: size})
    with T.launch_thread("blockIdx.x", prod(counts)) as group, T.launch_thread("threadIdx.x", size) as member:
        at = list(split_index(T.Bind(T.cast(group, "int64")), counts)) if shape else []
        if width > 1:
            at[-1] = T.Bind(at[-1] * width)
        me = T.Bind(T.cast(member, "int64"))
        acc = k.scalars(width, dtype)
        _each_lane(width, lambda lane: T.buffer_store(acc, emitter.value(stage.init, {}), [lane]))
        with T.serial((T.int64(total + size - 1) - me) // size) as i:
            number = T.Bind(i * size + me)
            bound = dict(zip(stage.reduction, split_index(number, stage.steps), strict=True))

            def update(lane: Expr) -> None:
                variables = {**dict(zip(stage.axes, _shifted(at, lane), strict=True)), **bound}
                T.buffer_store(acc, emitter.value(stage.value, variables, lambda: acc[lane]), [lane])

            _each_lane(width, update)
        parts = T.alloc_buffer((size * width,), dtype, scope="shared", layout=None)
        _each_lane(width, lambda lane: T.buffer_store(parts, acc[lane], [me * width + lane]))
        kind = getattr(tirx, type(stage.value).__name__)
        half = size // 2
        while half:
            T.evaluate(T.tvm_storage_sync("shared"))
            with T.If(me < T.int64(half)), T.Then():
                step = half
                _each_lane(width, lambda lane, step=step: T.buffer_store(  # type: ignore[misc]
                    parts, kind(parts[me * width + lane], parts[(me + step) * width + lane]), [me * width + lane]))
            half //= 2
        with T.If(me == T.int64(0)), T.Then():
            _each_lane(width, lambda lane: T.buffer_store(acc, parts[lane], [lane]))
            _write(emitter, at, width, acc)
