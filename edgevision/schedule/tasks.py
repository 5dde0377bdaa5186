"""The distinct workloads of a program, each with what a tuner needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from tvm import tirx

from edgevision.program import Call, Program
from edgevision.schedule import views
from edgevision.schedule.apply import schedules, space, untuned
from edgevision.schedule.identity import identify
from edgevision.schedule.workload import Views, dtype_of, shape_of
from edgevision.target import Target
from edgevision.tuning_log import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One workload that a network runs ``count`` times. ``constants`` are the numbers of the parameters that hold weights,
    ``outputs`` how many of the last ones are results, ``names`` the functions that it is in the network,
    ``default`` what is chosen without a log, which reads ``weights_bytes``, ``space`` all that can be."""

    key: str
    what: str
    func: tirx.PrimFunc
    views: Views
    constants: tuple[int, ...]
    outputs: int
    count: int
    names: tuple[str, ...]
    macs: int
    weights_bytes: int
    default: Choice
    space: tuple[Choice, ...]


def tasks(program: Program, target: Target, excluded: frozenset[str] = frozenset()) -> tuple[Task, ...]:
    """In the order in which the network first runs them. Copies, which have no schedule, are left out."""
    original = program.module
    program, scheduled = schedules(program, target, excluded, untuned)
    found: dict[str, list[Call]] = {}
    made: dict[str, tuple[tirx.PrimFunc, Views, str, Choice, int]] = {}
    for call in program.calls:
        func, seen = original[call.step.name], views.seen(call)
        choice = scheduled[call.function].choice
        if choice is None:
            continue
        identity = identify(func, views.shared(call))
        found.setdefault(identity.key, []).append(call)
        read_bytes = _weights_bytes(call, scheduled[call.function].func)
        made.setdefault(identity.key, (func, seen, identity.what, choice, read_bytes))
    return tuple(
        Task(
            key=key, what=what, func=func, views=seen,
            constants=tuple(i for i, v in enumerate(found[key][0].args) if v.kind == "weight"),
            outputs=found[key][0].outputs, count=len(found[key]),
            names=tuple(dict.fromkeys(c.function for c in found[key])), macs=found[key][0].step.macs,
            weights_bytes=weights_bytes, default=choice, space=space(func, target, excluded, seen),
        )
        for key, (func, seen, what, choice, weights_bytes) in made.items()
    )  # fmt: skip


def _weights_bytes(call: Call, scheduled: tirx.PrimFunc) -> int:
    """As they are laid for the schedule: Winograd's are up to four times as large as the network's."""
    weights = [p for p, v in zip(scheduled.params, call.args, strict=False) if v.kind == "weight"]
    return sum(prod(shape_of(p)) * np.dtype(dtype_of(p)).itemsize for p in weights)
