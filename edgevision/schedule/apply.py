"""Schedule a whole program: for each workload what a tuning log chose, else the first template that takes it, else the
generic order of loops."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import tvm
from tvm import tirx

from edgevision.filter_transform import FilterTransform, Transformed
from edgevision.program import Call, Program, Value
from edgevision.schedule import (
    conv2d,
    depthwise,
    depthwise_wide,
    depthwise_winograd,
    generic,
    interleave,
    metaschedule,
    pitch,
    product,
    rows,
    strips,
    transpose,
    views,
    winograd,
)
from edgevision.schedule.extremes import as_instructions
from edgevision.schedule.identity import identify
from edgevision.schedule.scheduled import Relay, Scheduled
from edgevision.schedule.workload import ANCHOR, Views, Workload, parse
from edgevision.target import Target
from edgevision.tuning_log import Choice

Chosen = Callable[[str, Choice | None], Sequence[Choice]]
"""A workload's key and its default, None where templates are left out -> what to schedule it with, the best first."""


class Template(Protocol):
    """A module that schedules one class of workloads."""

    NAME: str

    def schedule(
        self, workload: Workload, target: Target, parameters: Mapping[str, int] | None = None
    ) -> Scheduled | None: ...

    def space(self, workload: Workload, target: Target) -> tuple[dict[str, int], ...]: ...


TEMPLATES: dict[str, tuple[Template, ...]] = {
    "conv2d": (winograd, conv2d), "depthwise": (depthwise_winograd, depthwise_wide, depthwise)
}  # fmt: skip
"""Anchor annotation -> templates, the preferred one first. A template answers None for what it does not take."""

WINOGRAD = frozenset({winograd.NAME, depthwise_winograd.NAME})
"""Templates that trade some accuracy for speed."""

ANCHORLESS: tuple[Template, ...] = (interleave, transpose, product, rows)


def untuned(_key: str, _default: Choice | None) -> tuple[Choice, ...]:
    return ()


def schedule_workload(
    func: tirx.PrimFunc, target: Target, excluded: frozenset[str] = frozenset(), seen: Views | None = None,
    chosen: Chosen = untuned, key: str | None = None,
) -> Scheduled:  # fmt: skip
    """One workload on static shapes -> the same function with loops for ``target``, without the templates
    ``excluded``. ``seen``: the views that it works on (see `Workload`), only for functions that a template takes. ``key``:
    what a log knows it by, its own without."""
    default = _by_default(func, target, excluded, seen)
    if chosen is untuned:
        return default
    for choice in chosen(key or identify(func, seen).key, None if excluded else default.choice):
        found = default if choice == default.choice else realize(choice, func, target, excluded, seen)
        if found is not None:
            return replace(found, schedule="tuned:" + found.schedule.partition(":")[2])
    return default


def _by_default(func: tirx.PrimFunc, target: Target, excluded: frozenset[str], seen: Views | None) -> Scheduled:
    workload = _parsed(func, target, seen)
    for template in _templates(workload, excluded):
        found = template.schedule(workload, target) if workload is not None else None
        if found is not None:
            return found
    assert not seen, "the generic schedule knows no views"
    return generic.schedule(func)


def _parsed(func: tirx.PrimFunc, target: Target, seen: Views | None) -> Workload | None:
    workload = parse(func, seen)
    return as_instructions(workload, target) if workload is not None else None


def realize(
    choice: Choice, func: tirx.PrimFunc, target: Target, excluded: frozenset[str] = frozenset(),
    seen: Views | None = None, legal: Container[Choice] | None = None,
) -> Scheduled | None:  # fmt: skip
    """The workload scheduled as ``choice`` says; None where that is not in its space. ``legal``: that space, where it is known."""
    sampled, workload = choice.template == metaschedule.NAME, _parsed(func, target, seen)
    if legal is None:
        legal = _sampled(func, target, seen) if sampled else _points(workload, func, target, excluded)
    if choice not in legal:
        return None
    if sampled:
        return metaschedule.schedule(func, target, choice)
    for template in _templates(workload, excluded):
        if choice.template == template.NAME and workload is not None:
            return template.schedule(workload, target, choice.mapping)
    return generic.schedule(func, choice.mapping)


def space(
    func: tirx.PrimFunc, target: Target, excluded: frozenset[str] = frozenset(), seen: Views | None = None
) -> tuple[Choice, ...]:
    """All that can be chosen for a workload, in an order that does not change."""
    points = _points(_parsed(func, target, seen), func, target, excluded)
    return (*points, *_sampled(func, target, seen)) if points else ()


def _points(workload: Workload | None, func: tirx.PrimFunc, target: Target, excluded: frozenset[str]) -> tuple[Choice, ...]:
    """Those of our templates."""
    if workload is None:
        return ()
    found = tuple(
        Choice.of(template.NAME, point)
        for template in _templates(workload, excluded)
        for point in template.space(workload, target)
    )
    return found or tuple(Choice.of(generic.NAME, point) for point in generic.space(func))


def _sampled(func: tirx.PrimFunc, target: Target, seen: Views | None) -> tuple[Choice, ...]:
    """MetaSchedule's, which knows no views."""
    return () if seen else metaschedule.space(func, target)


def _templates(workload: Workload | None, excluded: frozenset[str]) -> tuple[Template, ...]:
    if workload is None:
        return ()
    known = ANCHORLESS if workload.anchor is None else TEMPLATES[str(workload.anchor.annotations[ANCHOR])]
    return tuple(template for template in known if template.NAME not in excluded)


def schedule(
    program: Program, target: Target, excluded: frozenset[str] = frozenset(), chosen: Chosen = untuned
) -> Program:
    """Every workload scheduled, weights re-laid as the schedules want them (each distinct layout once), scratch
    appended. Convolutions with much between them go in strips.

    ``excluded`` names templates that must not be used (`WINOGRAD`, for instance).
    """
    program, done = strips.join(*schedules(program, target, excluded, chosen), target)
    constants = _Constants(program)
    scratch = 1 + max((v.index for c in program.calls for v in c.args if v.kind == "scratch"), default=-1)
    calls = []
    for call in program.calls:
        plan = done[call.function]
        args = [constants.placed(v, call.function, i, plan) for i, v in enumerate(call.args)]
        extra = [Value(kind="scratch", index=scratch + i, shape=s, dtype="float32") for i, s in enumerate(plan.scratch)]
        scratch += len(extra)
        step = replace(call.step, schedule=plan.schedule)
        calls.append(Call(function=call.function, args=(*args, *extra), outputs=call.outputs, step=step))
    module = tvm.IRModule({name: s.func.with_attr("global_symbol", name) for name, s in done.items()})
    return replace(
        program, module=module, calls=tuple(calls), weights=tuple(constants.arrays), transformed=constants.transformed
    )  # fmt: skip


def schedules(
    program: Program, target: Target, excluded: frozenset[str], chosen: Chosen
) -> tuple[Program, dict[str, Scheduled]]:
    """The program as it will run, concatenations shared, and the schedule of each function it calls."""
    dense = {
        name: Scheduled(func=f, schedule="template:copy")
        if _is_scheduled(f)
        else schedule_workload(f, target, excluded, None, chosen)
        for name, f in ((gv.name_hint, f) for gv, f in program.module.functions.items())
    }
    templated = {n for n, s in dense.items() if s.relay}
    program = views.share(program, templated)
    program = pitch.spread(program, templated, {n for n in templated if _anchor(program.module[n]) == depthwise.NAME})
    return _specialised(program, dense, target, excluded, chosen)


def _specialised(
    program: Program, dense: dict[str, Scheduled], target: Target, excluded: frozenset[str], chosen: Chosen
) -> tuple[Program, dict[str, Scheduled]]:
    """Each function that is called on views scheduled anew for them, under a name of its own; unused ones dropped."""
    done: dict[str, Scheduled] = {}
    names: dict[tuple[str, tuple[tuple[int, int, int], ...]], str] = {}
    calls = []
    for call in program.calls:
        at = views.seen(call)
        seen = tuple((i, *place) for i, place in at.items())
        name = names.setdefault((call.function, seen), f"{call.function}_view{len(names)}" if seen else call.function)
        if name not in done and not at:
            done[name] = dense[name]
        elif name not in done:
            func = program.module[call.function]
            key = identify(func, views.shared(call)).key
            done[name] = schedule_workload(func, target, excluded, at, chosen, key)
        calls.append(replace(call, function=name))
    return replace(program, calls=tuple(calls)), done


def _anchor(func: tirx.PrimFunc) -> str | None:
    """The class of templates that the function is for."""
    workload = parse(func)
    return str(workload.anchor.annotations[ANCHOR]) if workload and workload.anchor else None


def _is_scheduled(func: tirx.PrimFunc) -> bool:
    return bool(func.attrs and func.attrs.get("tirx.is_scheduled"))


class _Constants:
    """Weights as the scheduled functions read them, each distinct layout once."""

    def __init__(self, program: Program) -> None:
        self.arrays: list[np.ndarray] = []
        self.transformed: dict[int, Transformed] = {}
        self._program = program
        self._numbers: dict[tuple[int, str, int], int] = {}

    def placed(self, value: Value, function: str, number: int, plan: Scheduled) -> Value:
        """A weight in the layout that this call reads; anything else as it is."""
        if value.kind != "weight":
            return value
        relay = plan.relay.get(number)
        key = (value.index, function if relay else "", number if relay else -1)
        if key not in self._numbers:
            self._numbers[key] = self._add(self._program.weights[value.index], relay)
        index = self._numbers[key]
        return replace(value, index=index, shape=self.arrays[index].shape if relay else value.shape)

    def _add(self, array: np.ndarray, relay: Relay | None) -> int:
        self.arrays.append(np.ascontiguousarray(relay(array) if relay else array))
        if isinstance(relay, FilterTransform) and array.nbytes < self.arrays[-1].nbytes:
            self.transformed[len(self.arrays) - 1] = Transformed(filters=np.ascontiguousarray(array), by=relay)
        return len(self.arrays) - 1
