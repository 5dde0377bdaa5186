"""Schedule a whole program for a device: every call becomes the launches of its kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import tvm
from tvm import tirx

from edgevision.program import Call, Program, Value
from edgevision.schedule import views
from edgevision.schedule.gpu import concat, conv2d, depthwise, join, parts, prologue, sequential, stages
from edgevision.schedule.gpu.scheduled import DeviceSchedule, Kernel
from edgevision.schedule.workload import Views, Workload, parse
from edgevision.target import Target

TEMPLATES: tuple[Callable[[Workload, Target], DeviceSchedule | None], ...] = (depthwise.schedule, conv2d.schedule)
"""The first that takes a workload schedules it; `stages` takes the rest."""


def schedule(program: Program, target: Target) -> Program:
    """One call a kernel, in order; weights as the kernels read them, buffers between kernels of one workload appended to the
    scratch."""
    program = views.share(program, {name for name, func in _functions(program).items() if not _is_finished(func)})
    program, made = parts.spread(program)
    program, made = join.join(program, made)
    program, prologues, made = prologue.absorb(program, made)
    done: dict[tuple[str, object], tuple[str, DeviceSchedule]] = {}
    weights = _Weights(program)
    functions: dict[str, tirx.PrimFunc] = {}
    calls: list[Call] = []
    scratch = 1 + max((v.index for c in program.calls for v in c.args if v.kind == "scratch"), default=-1)
    for call in program.calls:
        seen = views.seen(call)
        before = prologues.get(id(call))
        key = (call.function, (tuple((i, *place) for i, place in seen.items()), before and before.workload.func))
        if key not in done:
            if call.function in made:
                plan = schedule_workload(replace(made[call.function], views=seen), target, before)
            else:
                plan = schedule_function(program.module[call.function], target, seen, before)
            done[key] = (f"k{len(done)}_{call.function}", plan)
        name, plan = done[key]
        args = [weights.placed(v, name, i, plan) for i, v in enumerate(call.args)]
        for i, (shape, dtype) in enumerate(plan.scratch):
            args.append(Value(kind="scratch", index=scratch + i, shape=shape, dtype=dtype))
        scratch += len(plan.scratch)
        for number, kernel in enumerate(plan.kernels):
            own = name if number == 0 else f"{name}_{number}"
            functions[own] = kernel.func.with_attr("global_symbol", own)
            calls.append(_launch(call, own, kernel, args, plan, number))
    return replace(program, module=tvm.IRModule(functions), calls=tuple(calls), weights=tuple(weights.arrays))


def schedule_function(
    func: tirx.PrimFunc, target: Target, seen: Views | None = None, before: prologue.Prologue | None = None
) -> DeviceSchedule:  # fmt: skip
    """One workload; ``before`` is what its convolution computes where it reads."""
    if _is_finished(func):
        runs = func.attrs.get(concat.RUNS)
        return concat.schedule(func, tuple(int(n) for n in runs), target) if runs is not None else sequential.schedule(func, target)
    workload = parse(func, seen)
    if workload is None:
        return sequential.schedule(func, target)
    return schedule_workload(workload, target, before)


def schedule_workload(workload: Workload, target: Target, before: prologue.Prologue | None = None) -> DeviceSchedule:
    """By the first template that takes it; ``before`` as above."""
    if before is not None:
        found = conv2d.schedule(workload, target, before)
        assert found is not None, "only a convolution has a prologue"
        return found
    for template in TEMPLATES:
        found = template(workload, target)
        if found is not None:
            return found
    return stages.schedule(workload, target)


def _functions(program: Program) -> dict[str, tirx.PrimFunc]:
    return {variable.name_hint: func for variable, func in program.module.functions.items()}


def _is_finished(func: tirx.PrimFunc) -> bool:
    return bool(func.attrs and func.attrs.get("tirx.is_scheduled")) or parse(func) is None


def _launch(call: Call, name: str, kernel: Kernel, args: list[Value], plan: DeviceSchedule, number: int) -> Call:
    step = replace(
        call.step, schedule=plan.schedule, name=call.step.name if number == 0 else f"{call.step.name}_{number}",
        macs=call.step.macs if number == 0 else 0,
    )  # fmt: skip
    return Call(function=name, args=tuple(args[i] for i in kernel.arguments), outputs=call.outputs, step=step)


class _Weights:
    """The constants in the layouts that kernels read, each distinct one once."""

    def __init__(self, program: Program) -> None:
        self.arrays: list[np.ndarray] = []
        self._program = program
        self._numbers: dict[tuple[int, str, int], int] = {}

    def placed(self, value: Value, function: str, number: int, plan: DeviceSchedule) -> Value:
        if value.kind != "weight":
            return value
        relay = plan.relay.get(number)
        key = (value.index, function if relay else "", number if relay else -1)
        if key not in self._numbers:
            array = self._program.weights[value.index]
            self.arrays.append(np.ascontiguousarray(relay(array) if relay else array))
            self._numbers[key] = len(self.arrays) - 1
        index = self._numbers[key]
        return replace(value, index=index, shape=self.arrays[index].shape if relay else value.shape)
