"""Runs a model in this process: ingest, lower, schedule and TVM's own compiler, without a linker.

What the linked artifact adds (driver, arena, threads) has tests of its own; this one costs about 0.1 s a graph.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TVM_FFI_DISABLE_TORCH_C_DLPACK", "1")

import numpy as np
import onnx
import onnxruntime
import tvm
from onnx.reference import ReferenceEvaluator

from edgevision import ingest, target
from edgevision.errors import ShapeError
from edgevision.link.codegen import BUILD_OPTIONS, llvm_target
from edgevision.lower.phases import lower
from edgevision.model import Model
from edgevision.program import Program, Value
from edgevision.schedule.apply import schedule

Array = np.ndarray[Any, Any]


@cache
def native() -> target.Target:
    return target.load("native")


def compiled(source: Any, *, simplify: bool = False, for_target: target.Target | None = None) -> tuple[Model, Program]:
    """The model of ``source`` and its program, scheduled for this machine, or for what it can run."""
    model = ingest.read(source, simplify=simplify)
    return model, schedule(lower(model), for_target or native())


def run(source: Any, inputs: Sequence[Array], *, simplify: bool = False) -> list[Array]:
    """Outputs of ``source`` (an .onnx path or ModelProto) for ``inputs``."""
    _, program = compiled(source, simplify=simplify)
    return execute(program, inputs)


def execute(program: Program, inputs: Sequence[Array]) -> list[Array]:
    """Run every call once. Memory that nothing wrote holds 0xFF bytes: NaN, -1 or neither true nor false."""
    with tvm.transform.PassContext(config=dict(BUILD_OPTIONS)):
        library = tvm.compile(program.module, target=llvm_target(native()))
    for spec, array in zip(program.inputs, inputs, strict=True):
        if array.shape != spec.shape:
            raise ShapeError(f"{spec.name!r} takes {spec.shape}, not {array.shape}")
    memory: dict[tuple[str, int], Any] = {}

    def place(value: Value) -> Any:
        key = (value.kind, value.index)
        if key not in memory:
            memory[key] = tvm.runtime.tensor(_initial(value, program, inputs))
        buffer = memory[key]
        return buffer if tuple(buffer.shape) == value.shape else buffer._create_view(value.shape)

    for call in program.calls:
        library[call.function](*(place(value) for value in call.args))
    return [memory["output", i].numpy().reshape(spec.shape) for i, spec in enumerate(program.outputs)]


def _initial(value: Value, program: Program, inputs: Sequence[Array]) -> Array:
    if value.kind == "input":
        return np.ascontiguousarray(inputs[value.index]).reshape(value.shape)
    if value.kind == "weight":
        return program.weights[value.index].reshape(value.shape)
    dirty = np.full(np.dtype(value.dtype).itemsize * int(np.prod(value.shape)), 0xFF, np.uint8)
    return dirty.view(value.dtype).reshape(value.shape)


def onnxruntime_outputs(source: onnx.ModelProto | Path, inputs: Sequence[Array]) -> list[Array]:
    """What onnxruntime answers, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    file = str(source) if isinstance(source, Path) else source.SerializeToString()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    # Initializers that may be overridden are not among get_inputs().
    return session.run(None, dict(zip([value.name for value in session.get_inputs()], inputs, strict=True)))


def reference_outputs(source: onnx.ModelProto, inputs: Sequence[Array]) -> list[Array]:
    """What onnx.reference answers."""
    names = [value.name for value in source.graph.input]
    return ReferenceEvaluator(source).run(None, dict(zip(names, inputs, strict=True)))


def checked(source: onnx.ModelProto, for_target: target.Target | None = None) -> Program:
    """Compiled; on random inputs it computes what onnxruntime does, to 1e-5 of each output's largest."""
    model, program = compiled(source, for_target=for_target)
    rng = np.random.default_rng(5)
    inputs = [rng.standard_normal(s.shape).astype(s.dtype) for s in model.inputs]
    for actual, right in zip(execute(program, inputs), onnxruntime_outputs(source, inputs), strict=True):
        assert np.abs(actual - right).max() <= 1e-5 * np.abs(right).max()
    return program
