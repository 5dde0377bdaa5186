"""The process that compiles candidates: it imports TVM once and stays.

    python -m edgevision.tune.worker

One request a line on stdin, one answer a line on stdout, both JSON. It ends when stdin does, and removes the folder of
the run: whoever asked may have been killed. A candidate that cannot be compiled ends it with a traceback.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import cache
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.link import codegen, zig
from edgevision.schedule.apply import WINOGRAD, realize, schedule_workload, space
from edgevision.schedule.identity import deserialize
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.workload import dtype_of, parse, shape_of
from edgevision.target import Target
from edgevision.tune.request import Argument, Built, Request
from edgevision.tuning_log import Choice

Array = np.ndarray[Any, Any]

FLOAT32_ROUNDING = 2.0**-24
ROUNDINGS = 8.0
"""A sum of k float32 products errs by some sqrt(k) roundings of its largest term; two orders of summation differ by
twice that, and the largest of a million results by four standard deviations."""
WINOGRAD_GAIN = 8.0
"""Winograd's intermediate values are up to ten times its results: toom_cook.POINTS."""
DL_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}


def compile_candidate(request: Request) -> Built | None:
    """The candidate's code and the constants as it reads them; None where the choice is not in the workload's space."""
    func, target = workload(request.function), Target(**request.target)
    seen = {number: (first, channels) for number, first, channels in request.views}
    if request.choice is None:
        scheduled: Scheduled | None = schedule_workload(func, target, WINOGRAD, seen)
    else:
        scheduled = realize(request.choice, func, target, seen=seen, legal=legal(request.function, request.views, target))
    if scheduled is None:
        return None
    made, library = Path(request.stem).with_suffix(".o"), Path(request.stem).with_suffix(".so")
    name = made.stem if request.linked else "kernel"
    workspace_bytes = codegen.compile_function(scheduled.func, target, made, name)
    if not request.linked:
        zig.run(["ld.lld", "-shared", made, "-o", library], purpose="linking a candidate")
        made.unlink()
    return Built(
        library=str(made if request.linked else library), schedule=scheduled.schedule, workspace_bytes=workspace_bytes,
        arguments=_arguments(request, scheduled), tolerance=tolerance(func, scheduled),
    )  # fmt: skip


@cache
def workload(path: str) -> Any:
    return deserialize(Path(path).read_text())


@cache
def legal(path: str, views: tuple[tuple[int, int, int], ...], target: Target) -> frozenset[Choice]:
    """What the workload can be scheduled with."""
    return frozenset(space(workload(path), target, seen={number: (first, channels) for number, first, channels in views}))


def tolerance(func: Any, scheduled: Scheduled) -> float:
    """Largest relative difference to the default schedule that rounding explains."""
    parsed = parse(func)
    steps = max((prod(stage.steps) for stage in parsed.stages), default=1) if parsed else 1
    return ROUNDINGS * FLOAT32_ROUNDING * max(4.0, sqrt(steps)) * (WINOGRAD_GAIN if "winograd" in scheduled.schedule else 1)


def _arguments(request: Request, scheduled: Scheduled) -> tuple[Argument, ...]:
    """The workload's parameters as this schedule takes them: views as the tensors they are part of, constants re-laid and
    written beside the library, then scratch."""
    own = workload(request.function).params
    views = {number: channels for number, _, channels in request.views}
    constants = Path(request.stem).with_suffix(".bin")
    offset, found = 0, []
    with constants.open("wb") as file:
        for number, buffer in enumerate(own):
            shape = shape_of(buffer)
            if number in views:
                shape = (*shape[:-1], views[number])
            role = "o" if number >= len(own) - request.outputs else "c" if number in request.constants else "a"
            path, at = "-", 0
            if role != "o":
                array = operand(number, shape, dtype_of(buffer), request.seed)
                array = np.ascontiguousarray(scheduled.relay[number](array) if number in scheduled.relay else array)
                shape, path, at = array.shape, str(constants), offset
                file.write(array.tobytes())
                offset += array.nbytes
            found.append(argument(role, shape, dtype_of(buffer), path, at))
    scratch = [argument("s", shape, "float32", "-", 0) for shape in scheduled.scratch]
    return (*found, *scratch)


def argument(role: str, shape: tuple[int, ...], dtype: str, file: str, offset: int) -> Argument:
    kind = np.dtype(dtype)
    return Argument(
        role=role, code=DL_CODES[kind.kind], bits=8 * kind.itemsize, shape=tuple(map(int, shape)), file=file, offset=offset
    )  # fmt: skip


def operand(number: int, shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    """Floats in [-1, 1); integers 0 and 1, as they may be indices. The same for every candidate of a workload."""
    random = np.random.default_rng((seed, number))
    if np.dtype(dtype).kind == "f":
        return (2 * random.random(shape, np.float32) - 1).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what compilers print must not mix with answers
    for line in sys.stdin:
        request = Request.load(line)
        built = compile_candidate(request)
        answers.write((built.dump() if built else json.dumps(None)) + "\n")
        answers.flush()
    if len(sys.argv) > 1:
        shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
