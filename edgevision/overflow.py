"""Find the step of a network in half precision whose result is beyond what half precision holds."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgevision import target as targets
from edgevision.artifact import Step
from edgevision.link import package
from edgevision.measure.compare import Array
from edgevision.measure.local import LocalDevice
from edgevision.program import Place, Program, Value
from edgevision.schedule.gpu import half
from edgevision.tensor import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """The first ``step`` whose result holds infinities or NaN, ``count`` of its ``size`` elements."""

    step: Step
    count: int
    size: int


def overflow(program: Program, inputs: Sequence[Array]) -> Overflow | None:
    """Run the scheduled ``program`` on this machine's device with every tensor that it stores as half as an output too. None
    where all of them are finite."""
    wide, places = _with_every_half(program)
    with tempfile.TemporaryDirectory(prefix="edgevision-") as name:
        folder = Path(name)
        artifact = package.link(wide, targets.load("opencl"), folder, folder, name="closer", bench=False)
        found = LocalDevice(how="native").execute(artifact, [inputs])[0]
    arrays = dict(zip(places, found[len(program.outputs) :], strict=True))
    for call in program.calls:
        for i in sorted(half.written(program.module[call.function])):
            array = arrays.get(call.args[i].place)
            if array is not None and not np.isfinite(array).all():
                return Overflow(step=call.step, count=int(np.count_nonzero(~np.isfinite(array))), size=array.size)
    return None


def _with_every_half(program: Program) -> tuple[Program, list[Place]]:
    """The program with more outputs, and which places they are."""
    shapes = {v.place: v.shape for call in program.calls for v in call.args if v.kind == "scratch" and v.dtype == half.HALF}
    numbers = {place: len(program.outputs) + i for i, place in enumerate(shapes)}

    def seen(value: Value) -> Value:
        return replace(value, kind="output", index=numbers[value.place]) if value.place in numbers else value

    calls = tuple(replace(call, args=tuple(map(seen, call.args))) for call in program.calls)
    specs = [TensorSpec(name=f"half_{index}", shape=shape, dtype=half.HALF) for (_, index), shape in shapes.items()]
    return replace(program, calls=calls, outputs=(*program.outputs, *specs)), list(shapes)
