"""Tensors stored in half precision and computed with in float32: half the memory and half the traffic.

Every kernel of a scheduled program widens what it reads and narrows what it writes; sums, products and functions in between are
the same as before. The caller's inputs and outputs stay float32: the first and the last kernels convert.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import ir, tirx

from edgevision.program import Place, Program

WIDE, HALF = "float32", "float16"
LARGEST = float(np.finfo(np.float16).max)
"""65504."""
ROUNDING = 2.0**-11
"""Of a weight, relative to its tensor's largest: what a half's 11 bits lose at most, where it does not underflow."""


def tensors(program: Program) -> frozenset[Place]:
    """Where the network's own activations are, before scheduling adds others."""
    return frozenset(v.place for call in program.calls for v in call.args if v.kind == "scratch")


def store(program: Program, activations: Collection[Place]) -> Program:
    """The scheduled ``program`` with its weights and ``activations`` in half precision.

    What stays in float32: partial results between the kernels of one workload, a tensor that a kernel adds to in memory, and a
    weight that half precision would lose more of than its rounding.
    """
    narrow = set(activations) - _accumulated(program)
    weights = [_narrowed(array) for array in program.weights]
    narrow |= {("weight", i) for i, array in enumerate(weights) if array.dtype == HALF}
    functions: dict[str, tirx.PrimFunc] = {}
    names: dict[tuple[str, tuple[int, ...]], str] = {}
    calls = []
    for call in program.calls:
        args = tuple(replace(v, dtype=HALF) if v.dtype == WIDE and v.place in narrow else v for v in call.args)
        halves = tuple(i for i, v in enumerate(args) if v.dtype == HALF and call.args[i].dtype == WIDE)
        name = _name(names, call.function, halves)
        if name not in functions:
            functions[name] = widen(program.module[call.function], halves).with_attr("global_symbol", name)
        calls.append(replace(call, function=name, args=args))
    return replace(program, module=tvm.IRModule(functions), calls=tuple(calls), weights=tuple(weights), dtype=HALF)


def _name(names: dict[tuple[str, tuple[int, ...]], str], function: str, halves: tuple[int, ...]) -> str:
    """A function of its own for each set of parameters that are stored in half precision, the first under the old name."""
    versions = sum(known == function for known, _ in names)
    return names.setdefault((function, halves), f"{function}_stored{versions}" if versions else function)


def _narrowed(array: np.ndarray) -> np.ndarray:
    """In half precision where that keeps it: no overflow, no underflow of all of it."""
    if array.dtype != WIDE:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        half = array.astype(HALF)
        lost = np.abs(half.astype(WIDE) - array).max(initial=0.0)
    largest = np.abs(array).max(initial=0.0)
    return half if lost <= ROUNDING * largest else array


def _accumulated(program: Program) -> set[Place]:
    """Places that a kernel reads while it writes them: running sums and updates."""
    back = {name.name_hint: _read(func) & written(func) for name, func in program.module.functions.items()}
    return {call.args[i].place for call in program.calls for i in back[call.function]}


def written(func: tirx.PrimFunc) -> frozenset[int]:
    """Numbers of the parameters that the kernel writes."""
    found: list[Any] = []
    tvm_ffi.structural_walk(func.body, (tirx.BufferStore, lambda store: found.append(store.buffer)))
    return frozenset(i for i, p in enumerate(func.params) if any(p.same_as(b) for b in found))


def _read(func: tirx.PrimFunc) -> frozenset[int]:
    found: list[Any] = []
    tvm_ffi.structural_walk(func.body, (ir.TensorLoad, lambda load: found.append(load.source)))
    return frozenset(i for i, p in enumerate(func.params) if any(p.same_as(b) for b in found))


def widen(func: tirx.PrimFunc, halves: Sequence[int]) -> tirx.PrimFunc:
    """``func`` with the parameters ``halves`` stored in half precision: every element read is cast to float32, every element
    written from it."""
    if not halves:
        return func
    places = {func.params[i]: tirx.decl_buffer(func.params[i].shape, HALF, func.params[i].name, layout=None) for i in halves}

    def read(load: Any) -> Any:
        if load.source not in places:
            return load
        value = places[load.source][tuple(load.indices)]
        return tirx.Cast(load.ty, value)

    def write(statement: Any) -> Any:
        if statement.buffer not in places:
            return statement
        kind = tvm.DataType(str(statement.value.ty.dtype))
        narrow = HALF if kind.lanes == 1 else f"{HALF}x{kind.lanes}"
        return tirx.BufferStore(places[statement.buffer], tirx.Cast(narrow, statement.value), statement.indices)

    body = tvm_ffi.structural_map(func.body, [(ir.TensorLoad, read), (tirx.BufferStore, write)], order="post")
    params = [places.get(p, p) for p in func.params]
    return tirx.PrimFunc(params, body, func.ret_type, func.attrs)
