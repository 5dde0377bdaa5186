"""Runs scheduled programs' CUDA kernels on the CPU from Python, without a driver: many programs in one library."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevision import target
from edgevision.ingest import read
from edgevision.link.cuda_source import HALF, device_source
from edgevision.link.device_source import Launch
from edgevision.lower.phases import lower
from edgevision.program import Program, Value
from edgevision.schedule.gpu import half
from edgevision.schedule.gpu.apply import schedule
from edgevision.tensor import TensorSpec
from tests.cuda import stand_in

Array = np.ndarray[Any, Any]
TARGET = target.load("cuda-sm87")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A program and its kernels, whose names begin with ``mark``."""

    program: Program
    text: str
    launches: dict[str, Launch]
    mark: str


def prepare(source: Any, mark: str = "", on: target.Target = TARGET, dtype: str = "float32") -> Prepared:
    lowered = lower(read(source, simplify=False))
    program = schedule(lowered, on)
    return of_program(half.store(program, half.tensors(lowered)) if dtype == half.HALF else program, mark, on)


def of_program(program: Program, mark: str = "", on: target.Target = TARGET) -> Prepared:
    text, launches = device_source(program, on.compute_capability)
    return Prepared(program=program, text=re.sub(r"\b(\w+_kernel)\(", rf"{mark}\1(", text), launches=launches, mark=mark)


def build(programs: Sequence[Prepared], folder: Path) -> ctypes.CDLL:
    """One library of the kernels of all ``programs``."""
    starts = [max(p.text.find('extern "C"'), 0) for p in programs]
    preamble = max((p.text[:start].replace(HALF, "") for p, start in zip(programs, starts, strict=True)), key=len)
    kernels = (p.text[start:] for p, start in zip(programs, starts, strict=True))
    return ctypes.CDLL(str(stand_in.build(preamble + "".join(kernels), folder)))


def run(prepared: Prepared, library: ctypes.CDLL, inputs: Sequence[Array]) -> list[Array]:
    """The outputs for ``inputs``. Memory that nothing wrote holds 0xFF bytes: NaN, -1 or neither true nor false."""
    program = prepared.program
    memory: dict[tuple[str, int], Array] = {}
    for call in program.calls:
        for value in call.args:
            memory.setdefault((value.kind, value.index), _initial(value, program, inputs))
    for call in program.calls:
        launch = prepared.launches[call.function]
        buffers = [memory[call.args[i].kind, call.args[i].index] for i in launch.arguments]
        pointers = (ctypes.c_void_p * len(buffers))(*(b.ctypes.data for b in buffers))
        library[f"{prepared.mark}{launch.kernel}_on_cpu"](launch.groups, launch.group_size, pointers)
    return [_read(memory.get(("output", i)), spec) for i, spec in enumerate(program.outputs)]


def _read(memory: Array | None, spec: TensorSpec) -> Array:
    if memory is None or spec.nbytes == 0:
        return np.empty(spec.shape, spec.dtype)
    return memory[: spec.nbytes].view(spec.dtype).reshape(spec.shape)


def _initial(value: Value, program: Program, inputs: Sequence[Array]) -> Array:
    """Bytes at a multiple of 512, as on the device; views of one place share the largest."""
    known = {"input": inputs, "weight": program.weights}.get(value.kind)
    same = [v for call in program.calls for v in call.args if (v.kind, v.index) == (value.kind, value.index)]
    nbytes = max(np.dtype(v.dtype).itemsize * int(np.prod(v.shape)) for v in same)
    raw = np.full(nbytes + 512, 0xFF, np.uint8)
    place = raw[-raw.ctypes.data % 512 :][: max(nbytes, 1)]
    if known is not None and nbytes:
        place[:nbytes] = np.ascontiguousarray(known[value.index]).reshape(-1).view(np.uint8)
    return place
