"""Maxima and minima that hand NaN on, by the instruction that a processor has for them.

    x < bound ? bound : x   ->   llvm.maximum(x, bound)
    x > bound ? bound : x   ->   llvm.minimum(x, bound)

AArch64 compares and selects in two or three instructions on the ports that multiply; `fmax` and `fmin` are one, and hand NaN
on too (Arm Architecture Reference Manual for A-profile, C7.2.95). Equal but for max(-0, 0), which is 0 then. x86 needs nothing:
its `maxps` is the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan

import tvm_ffi
from tvm import tirx

from edgevision.schedule.workload import Buffer, Expr, Workload, rebuild
from edgevision.target import Target


def as_instructions(workload: Workload, target: Target) -> Workload:
    """``workload`` with the two as calls, where ``target`` has instructions for them."""
    if target.arch != "aarch64":
        return workload
    return replace(workload, stages=tuple(replace(s, value=rebuild(s.value, {}, _load, _select)) for s in workload.stages))


def _load(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
    return buffer[tuple(indices)]


def _select(condition: Expr, value: Expr, other: Expr) -> Expr:
    """TVM writes x > bound as bound < x. A bound that may be NaN would not be handed on by the comparison."""
    same = tvm_ffi.structural_equal
    bounded = type(condition).__name__ == "LT" and isinstance(value, tirx.FloatImm) and not isnan(value.value)
    if bounded and str(other.ty.dtype) == "float32":
        if same(condition.a, other) and same(condition.b, value):
            return tirx.call_llvm_pure_intrin("float32", "llvm.maximum", other, value)
        if same(condition.a, value) and same(condition.b, other):
            return tirx.call_llvm_pure_intrin("float32", "llvm.minimum", other, value)
    return tirx.Select(condition, value, other)
