"""What calls compute, also those that were made of several and have no function in the module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgevision.program import Call, Place, Program, Value
from edgevision.schedule.register_tile import Buffer, Expr
from edgevision.schedule.workload import Stage, Workload, nodes, parse, rebuild

Made = Mapping[str, Workload]
"""What calls compute that were made of several, by the names of their functions, which are in no module."""

Uses = Mapping[Place, Sequence[tuple[Call, Value]]]
"""Every argument or result that is a place or a part of it, in the order of the calls."""

MOST_OPERANDS = 8
"""Of a kernel made of several, its results among them: as many buffers as WebGPU promises (maxStorageBuffersPerShaderStage)."""


def of(program: Program, made: Made, call: Call) -> Workload | None:
    """None for a kernel that is loops already."""
    if call.function in made:
        return made[call.function]
    func = program.module[call.function]
    return None if func.attrs and func.attrs.get("tirx.is_scheduled") else parse(func)


def uses(calls: Sequence[Call]) -> Uses:
    found: dict[Place, list[tuple[Call, Value]]] = {}
    for call in calls:
        for value in call.args:
            found.setdefault(value.place, []).append((call, value))
    return found


def composed(first: Workload, reader: Workload, where: int, *, keep: bool = False) -> Workload | None:
    """Both as one, whose parameters are those of ``first``, those of ``reader`` but number ``where``, which is the other one's
    result, and the result; with ``keep`` that of ``first`` before it. None where these are too many, or buffers would have two
    meanings because both are the same function."""
    own = [*first.params, *(s.buffer for s in first.stages)]
    others = [*reader.params, *(s.buffer for s in reader.stages)]
    if len(first.params) + len(reader.params) - 2 + keep > MOST_OPERANDS or any(a.same_as(b) for a in own for b in others):
        return None
    passed, source = first.params[-1], reader.params[where]
    *operands, result = (*reader.params[:where], *reader.params[where + 1 :])
    return Workload(
        func=reader.func, params=(*first.params[:-1], *operands, *((passed,) if keep else ()), result),
        stages=(*first.stages, *(_reading(stage, source, passed) for stage in reader.stages)),
    )  # fmt: skip


def _reading(stage: Stage, source: Buffer, passed: Buffer) -> Stage:
    """``stage`` with ``passed`` where it reads ``source``."""

    def element(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
        return (passed if buffer.same_as(source) else buffer)[tuple(indices)]

    return replace(stage, value=rebuild(stage.value, {}, element))


def loads(workload: Workload, buffer: Buffer) -> list[Stage]:
    """The stages that read ``buffer``, once for each place where they do."""
    return [s for s in workload.stages for n in nodes(s.value) if type(n).__name__ == "TensorLoad" and n.source.same_as(buffer)]
