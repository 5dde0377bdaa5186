"""Elementwise work joined to the only call that reads it, or to the call whose result it alone reads: no launch of its own.

Lowering fuses within one chain of readers. What it leaves are operands of a convolution's tail with a chain of their own, and tails
whose other operand, a gate, is made later than the convolution starts:

    b = x * scale + shift; c = b * gate; y = silu(conv(x) + c)     ->  y = silu(conv(x) + (x * scale + shift) * gate)
    a = conv(x); g = sigmoid(conv1x1(pool(x))); y = silu(a * g)    ->  y = silu(conv(x) * g), behind g

Every element is computed once, by the same operations in the same order: results are the same bits.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from edgevision.program import Call, Program
from edgevision.schedule.gpu import workloads
from edgevision.schedule.register_tile import Buffer
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.workload import Workload, nodes, shape_of


def join(program: Program, known: workloads.Made) -> tuple[Program, workloads.Made]:
    """The program with fewer calls, and what its calls compute that are in no module."""
    made = dict(known)
    names: dict[tuple[str, str, int], str] = {}
    calls = list(program.calls)
    number, uses = 0, workloads.uses(calls)
    while number < len(calls):
        first = calls[number]
        reader = _only_reader(uses, first)
        pair = _parsed(program, made, first, reader) if reader is not None else None
        where = _position(first, reader) if reader is not None else None
        whole = joined(*pair, where) if pair is not None and where is not None else None
        if reader is None or where is None or whole is None:
            number += 1
            continue
        name = names.setdefault((first.function, reader.function, where), f"joined{len(names)}_{reader.function}")
        made.setdefault(name, whole)
        calls[next(i for i, c in enumerate(calls) if c is reader)] = _call(name, first, reader, where)
        del calls[number]
        number, uses = max(0, number - 1), workloads.uses(calls)
    return replace(program, calls=tuple(calls)), made


def _only_reader(uses: workloads.Uses, first: Call) -> Call | None:
    """The one call that reads the result of ``first``, whole and in its own shape; None if there are more, or the caller does."""
    result = first.args[-1]
    if result.kind != "scratch" or result.first is not None or first.outputs != 1:
        return None
    reads = [(c, v) for c, v in uses[result.place] if c is not first]
    if len(reads) != 1 or reads[0][1] != result or reads[0][0].outputs != 1:
        return None
    return reads[0][0]


def _position(first: Call, reader: Call) -> int | None:
    """Which argument of ``reader`` it is; None if that call writes it."""
    where = reader.args.index(first.args[-1])
    return where if where < len(reader.args) - 1 else None


def _parsed(program: Program, made: workloads.Made, first: Call, reader: Call) -> tuple[Workload, Workload] | None:
    one, other = (workloads.of(program, made, call) for call in (first, reader))
    return (one, other) if one is not None and other is not None else None


def joined(first: Workload, reader: Workload, where: int, *, keep: bool = False) -> Workload | None:
    """Both as one workload; None where that is no elementwise work in front of or behind what templates compute, or where an
    element would be computed more than once. With ``keep`` the first one's result is a result too, the last but one."""
    source, whole = reader.params[where], workloads.composed(first, reader, where, keep=keep)
    if whole is None or len(workloads.loads(reader, source)) != 1:
        return None
    if prod(shape_of(first.params[-1])) != prod(shape_of(reader.params[-1])):
        return None
    reduced = [side for side in (first, reader) if any(s.reduction for s in side.stages)]
    if not reduced:
        return whole
    if len(reduced) > 1 or reduced[0].anchor is None or elementwise_tail(reduced[0]) is None or elementwise_tail(whole) is None:
        return None
    return None if reader.anchor is not None and _feeds_anchor(reader, source) else whole


def _feeds_anchor(workload: Workload, buffer: Buffer) -> bool:
    """Whether the anchor reads ``buffer``, itself or through other stages."""
    waiting = [workload.anchor]
    while waiting:
        stage = waiting.pop()
        if stage is None:
            continue
        for node in nodes(stage.value):
            if type(node).__name__ == "TensorLoad" and not node.source.same_as(stage.buffer):
                if node.source.same_as(buffer):
                    return True
                waiting.append(workload.producer(node.source))
    return False


def _call(name: str, first: Call, reader: Call, where: int) -> Call:
    """Under the reader's name, by which reports find the same step of the CPU's version; what that does apart stands before it."""
    step = replace(reader.step, ops=(*first.step.ops, *reader.step.ops), macs=first.step.macs + reader.step.macs)
    return Call(function=name, args=(*first.args[:-1], *reader.args[:where], *reader.args[where + 1 :]), outputs=1, step=step)
