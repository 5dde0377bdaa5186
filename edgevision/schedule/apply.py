"""Schedule a whole program: for each workload the first template that takes it, else the generic order of loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tvm
from tvm import tirx

from edgevision.program import Call, Program, Value
from edgevision.schedule import conv2d, depthwise, depthwise_wide, generic, views, winograd
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.workload import ANCHOR, Views, parse
from edgevision.target import Target

TEMPLATES = {"conv2d": (winograd.schedule, conv2d.schedule), "depthwise": (depthwise_wide.schedule, depthwise.schedule)}
"""Anchor annotation -> templates, the preferred one first. A template answers None for what it does not take."""


def schedule_workload(
    func: tirx.PrimFunc, target: Target, excluded: frozenset[str] = frozenset(), seen: Views | None = None
) -> Scheduled:
    """One workload on static shapes -> the same function with loops for ``target``, without the templates
    ``excluded``. ``seen``: the views that it works on (see `Workload`), only for functions that a template takes."""
    workload = parse(func, seen)
    if workload is not None and workload.anchor is not None:
        for template in TEMPLATES[str(workload.anchor.annotations[ANCHOR])]:
            found = template(workload, target) if template.__module__.rpartition(".")[2] not in excluded else None
            if found is not None:
                return found
    assert not seen, "the generic schedule knows no views"
    return generic.schedule(func)


def schedule(program: Program, target: Target, excluded: frozenset[str] = frozenset()) -> Program:
    """Every workload scheduled, weights re-laid as the schedules want them (each distinct layout once), scratch
    appended.

    ``excluded`` names templates that must not be used ("winograd", which trades some accuracy for speed).
    """
    dense = {
        name: Scheduled(func=f, schedule="template:copy")
        if _is_scheduled(f)
        else schedule_workload(f, target, excluded)
        for name, f in ((gv.name_hint, f) for gv, f in program.module.functions.items())
    }
    program = views.share(program, {n for n, s in dense.items() if s.relay})
    program, done = _specialised(program, dense, target, excluded)
    weights: list[np.ndarray] = []
    numbers: dict[tuple[int, str, int], int] = {}
    scratch = 1 + max((v.index for c in program.calls for v in c.args if v.kind == "scratch"), default=-1)
    calls = []
    for call in program.calls:
        plan = done[call.function]
        args = [_placed(v, call.function, i, plan, program, weights, numbers) for i, v in enumerate(call.args)]
        extra = [Value(kind="scratch", index=scratch + i, shape=s, dtype="float32") for i, s in enumerate(plan.scratch)]
        scratch += len(extra)
        step = replace(call.step, schedule=plan.schedule)
        calls.append(Call(function=call.function, args=(*args, *extra), outputs=call.outputs, step=step))
    module = tvm.IRModule({name: s.func.with_attr("global_symbol", name) for name, s in done.items()})
    return replace(program, module=module, calls=tuple(calls), weights=tuple(weights))


def _specialised(
    program: Program, dense: dict[str, Scheduled], target: Target, excluded: frozenset[str]
) -> tuple[Program, dict[str, Scheduled]]:
    """Each function that is called on views scheduled anew for them, under a name of its own; unused ones dropped."""
    done: dict[str, Scheduled] = {}
    names: dict[tuple[str, tuple[tuple[int, int, int], ...]], str] = {}
    calls = []
    for call in program.calls:
        seen = tuple((i, v.first, v.shape[-1]) for i, v in enumerate(call.args) if v.first is not None)
        name = names.setdefault((call.function, seen), f"{call.function}_view{len(names)}" if seen else call.function)
        if name not in done:
            at = {i: (first, channels) for i, first, channels in seen}
            func = program.module[call.function]
            done[name] = schedule_workload(func, target, excluded, at) if at else dense[name]
        calls.append(replace(call, function=name))
    return replace(program, calls=tuple(calls)), done


def _is_scheduled(func: tirx.PrimFunc) -> bool:
    return bool(func.attrs and func.attrs.get("tirx.is_scheduled"))


def _placed(
    value: Value, function: str, number: int, plan: Scheduled, program: Program,
    weights: list[np.ndarray], numbers: dict[tuple[int, str, int], int],
) -> Value:  # fmt: skip
    """A weight in the layout that this call reads; anything else as it is."""
    if value.kind != "weight":
        return value
    relay = plan.relay.get(number)
    key = (value.index, function if relay else "", number if relay else -1)
    if key not in numbers:
        array = program.weights[value.index]
        weights.append(np.ascontiguousarray(relay(array) if relay else array))
        numbers[key] = len(weights) - 1
    index = numbers[key]
    return replace(value, index=index, shape=weights[index].shape if relay else value.shape)
