"""Arithmetic on one element of a tensor expression: what the operators' formulas are written with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import tirx

Expr = Any


def const(value: float, like: Expr) -> Expr:
    return tirx.const(value, dtype(like))


def dtype(x: Expr) -> str:
    return str(x.ty.dtype) if hasattr(x, "ty") else str(x.dtype)


def let(value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    """body(value), computed once however often the body reads it: an expression is a tree, in which copies of copies multiply.

    The result itself may stand in one place only: TVM wants one definition of a name.
    """
    name = tirx.Var("v", dtype(value))
    return tirx.Let(name, value, body(name))


def is_nan(x: Expr) -> Expr:
    # x != x is folded to false before LLVM sees it.
    return tirx.isnan(x)


def lowest(kind: str) -> Expr:
    """What no element is below."""
    return tirx.const(-math.inf, kind) if "float" in kind else tirx.min_value(kind)


def maximum(x: Expr, bound: Expr) -> Expr:
    """max that hands NaN in ``x`` on."""
    return tirx.Select(x < bound, bound, x)


def minimum(x: Expr, bound: Expr) -> Expr:
    return tirx.Select(x > bound, bound, x)


def clip(x: Expr, low: Expr | None, high: Expr | None) -> Expr:
    if low is None:
        return x if high is None else minimum(x, high)
    return maximum(x, low) if high is None else let(maximum(x, low), lambda v: minimum(v, high))


def absolute(x: Expr) -> Expr:
    return x if dtype(x).startswith("uint") else tirx.abs(x)


def cast(x: Expr, to: str) -> Expr:
    """ONNX Cast: floats truncate towards zero, anything but zero (NaN too) is true.

    A float beyond a narrow integer's range wraps, as in C on x86 and so in onnxruntime: it goes through 32 (64) bits.
    """
    if dtype(x) == to:
        return x
    if to == "bool":
        return tirx.Or(is_nan(x), x != const(0, x)) if "float" in dtype(x) else x != const(0, x)
    if dtype(x) == "bool":
        return tirx.Select(x, tirx.const(1, to), tirx.const(0, to))
    if "float" in dtype(x) and to in _WIDER:
        return tirx.Cast(to, tirx.Cast(_WIDER[to], x))
    return tirx.Cast(to, x)


_WIDER = {"int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64"}
