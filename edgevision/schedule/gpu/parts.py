"""Elementwise work on a concatenation, done by the calls that write its parts: no launch of its own, and nothing read again.

    a = conv(x); b = depthwise(a); y = concat(a, b) + s   ->  a, y[:k] = conv(x), conv(x) + s[:k]; y[k:] = depthwise(a) + s[k:]

A part that others read too is a second result of its call. Every element is computed by the same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tvm import tirx

from edgevision.program import Call, Place, Program, Value
from edgevision.schedule.geometry import geometry
from edgevision.schedule.gpu import conv2d, depthwise, workloads
from edgevision.schedule.gpu.join import joined
from edgevision.schedule.register_tile import Buffer, Expr
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.workload import Stage, Workload, dtype_of, nodes, rebuild, shape_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The elementwise ``call``, whose argument ``number`` is the concatenation."""

    call: Call
    workload: Workload
    number: int

    @property
    def whole(self) -> Value:
        return self.call.args[self.number]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """``channels`` of the concatenation from ``first`` on, which ``writer`` makes; ``kept``: others read it too."""

    writer: Call
    workload: Workload
    first: int
    channels: int
    kept: bool


def spread(program: Program) -> tuple[Program, workloads.Made]:
    """The program in which concatenations without copies (see `views`) are worked on part by part, where every part's call can."""
    made: dict[str, Workload] = {}
    number, uses = 0, workloads.uses(program.calls)
    while number < len(program.calls):
        work = _work(program, made, program.calls[number], uses)
        parts = _parts(program, made, work) if work is not None else None
        found = _spread(program, made, work, parts) if work is not None and parts is not None else None
        if found is None:
            number += 1
            continue
        program, uses = found, workloads.uses(found.calls)
    return program, made


def _work(program: Program, made: workloads.Made, call: Call, uses: workloads.Uses) -> _Work | None:
    """None for a call that is not the only one to read a whole concatenation, or whose result is part of another."""
    workload = workloads.of(program, made, call)
    if workload is None or call.args[-1].first is not None:
        return None
    for number, value in enumerate(call.args[:-1]):
        others = [v for c, v in uses[value.place] if c is not call]
        if value.kind == "scratch" and others and all(v.first is not None for v in others):
            return _Work(call=call, workload=workload, number=number)
    return None


def _parts(program: Program, made: workloads.Made, work: _Work) -> list[_Part] | None:
    """In the order that they are made; None where one of them is not made by a template that may go on, where another operand is
    made later, or where the work sees another shape."""
    calls = list(program.calls)
    writers = [c for c in calls if work.whole.place in _results(c)]
    parts = []
    for writer in writers:
        workload, result = workloads.of(program, made, writer), writer.args[-1]
        if workload is None or writer.outputs != 1 or not _templated(workload) or result.shape != work.whole.shape:
            return None
        kept = any(v.place == result.place and v.first == result.first for c in calls if c is not writer for v in c.args)
        channels = shape_of(workload.params[-1])[-1]
        parts.append(_Part(writer=writer, workload=workload, first=result.first or 0, channels=channels, kept=kept))
    before = calls[: next(i for i, c in enumerate(calls) if c is writers[0])]
    others = {v.place for i, v in enumerate(work.call.args[:-1]) if i != work.number and v.kind == "scratch"}
    return parts if others <= {place for c in before for place in _results(c)} else None


def _results(call: Call) -> set[Place]:
    return {v.place for v in call.args[-call.outputs :]}


def _templated(workload: Workload) -> bool:
    found = elementwise_tail(workload)
    g = geometry(workload, found[0]) if found else None
    return g is not None and (conv2d.takes(g) or depthwise.takes(g))


def _spread(program: Program, made: dict[str, Workload], work: _Work, parts: Sequence[_Part]) -> Program | None:
    """None where the work cannot be joined to all parts."""
    replaced: dict[int, Call] = {}
    moved: dict[int, Value] = {}
    scratch = 1 + max(v.index for c in program.calls for v in c.args if v.kind == "scratch")
    found: dict[str, Workload] = {}
    for part in parts:
        piece = narrowed(work.workload, part.channels)
        whole = joined(part.workload, piece, work.number, keep=part.kept) if piece is not None else None
        if piece is None or whole is None:
            return None
        if part.kept:
            shape = (*work.whole.shape[:-1], part.channels)
            moved[part.first] = replace(work.whole, index=scratch + len(moved), shape=shape)
        name = f"part{work.number}_{part.writer.function}_{work.call.function}{'_kept' if part.kept else ''}"
        found[name] = whole
        replaced[id(part.writer)] = _call(name, part, work, piece)
    made.update(found)
    calls = [replaced.get(id(c), c) for c in program.calls if c is not work.call]
    return replace(program, calls=tuple(_moved(c, work.whole, moved) for c in calls))


def _call(name: str, part: _Part, work: _Work, piece: Workload) -> Call:
    some = [not a.same_as(b) for a, b in zip(piece.params, work.workload.params, strict=True)]
    values = [replace(v, first=part.first + (v.first or 0)) if s else v for v, s in zip(work.call.args, some, strict=True)]
    *operands, result = [v for i, v in enumerate(values) if i != work.number]
    kept = (part.writer.args[-1],) if part.kept else ()
    step = replace(part.writer.step, ops=(*part.writer.step.ops, *work.call.step.ops))
    return Call(function=name, args=(*part.writer.args[:-1], *operands, *kept, result), outputs=1 + len(kept), step=step)


def _moved(call: Call, whole: Value, moved: dict[int, Value]) -> Call:
    """Parts that are still read are tensors of their own. The call itself where it has none: calls are told apart by identity."""
    if not any(v.place == whole.place for v in call.args):
        return call
    return replace(call, args=tuple(moved[v.first or 0] if v.place == whole.place else v for v in call.args))


def narrowed(workload: Workload, channels: int) -> Workload | None:
    """The elementwise ``workload`` on that many channels of its result; None where it does more than read them in their place."""
    reads = [_reads(stage) for stage in workload.stages]
    pairs = [pair for each in reads if each is not None for pair in each]
    own = [s.buffer for s in workload.stages] + [buffer for buffer, in_place in pairs if in_place]
    if any(each is None for each in reads) or any(not in_place and buffer in own for buffer, in_place in pairs):
        return None
    buffers = {b: tirx.decl_buffer((*shape_of(b)[:-1], channels), dtype_of(b), b.name, layout=None) for b in own}

    def element(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
        found: Buffer = buffers.get(buffer, buffer)
        return found[tuple(indices)]

    stages = tuple(replace(s, buffer=buffers[s.buffer], value=rebuild(s.value, {}, element)) for s in workload.stages)
    return Workload(func=workload.func, params=tuple(buffers.get(p, p) for p in workload.params), stages=stages)


def _reads(stage: Stage) -> list[tuple[Buffer, bool]] | None:
    """What it reads, and whether at its own channel or at one that is the same for all; None where the channel decides more."""
    axis = stage.axes[-1]
    found: list[tuple[Buffer, bool]] = []
    elsewhere = False

    def element(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
        nonlocal elsewhere
        in_place = bool(indices) and indices[-1].same_as(axis)
        elsewhere = elsewhere or any(axis.same_as(n) for i in indices[: -1 if in_place else None] for n in nodes(i))
        found.append((buffer, in_place))
        return tirx.const(0, dtype_of(buffer))

    rest = rebuild(stage.value, {}, element)
    return None if elsewhere or any(axis.same_as(n) for n in nodes(rest)) else found
