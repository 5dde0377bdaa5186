"""ONNX's elementwise operators: one element of each operand in, one out.

An operand may be read several times in a formula: `operators.elementwise` hands in a name for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx

from edgevision.lower.compute import functions
from edgevision.lower.compute.scalar import absolute, clip, const, dtype, is_nan, let, maximum

Expr = Any
Attributes = Mapping[str, Any]


def _sign(x: Expr) -> Expr:
    zero, one = const(0, x), const(1, x)
    positive = tirx.Select(x > zero, one, zero)
    if dtype(x).startswith("uint"):
        return positive
    signed = tirx.Select(x < zero, const(-1, x), positive)
    return tirx.Select(is_nan(x), x, signed) if "float" in dtype(x) else signed


def _elu(x: Expr, alpha: float, gamma: float = 1.0) -> Expr:
    negative = const(gamma * alpha, x) * (functions.exp(x) - const(1.0, x))
    return tirx.Select(x < const(0.0, x), negative, x * const(gamma, x) if gamma != 1.0 else x)


def _celu(x: Expr, alpha: float) -> Expr:
    negative = const(alpha, x) * (functions.exp(x / const(alpha, x)) - const(1.0, x))
    return tirx.Select(x < const(0.0, x), negative, x)


def _shrink(x: Expr, bias: float, lambd: float) -> Expr:
    below, above = x < const(-lambd, x), x > const(lambd, x)
    return tirx.Select(below, x + const(bias, x), tirx.Select(above, x - const(bias, x), const(0, x)))


def _is_inf(x: Expr, a: Attributes) -> Expr:
    infinity = const(math.inf, x)
    found = tirx.const(0, "bool")
    if a.get("detect_positive", 1):
        found = tirx.Or(found, x == infinity)
    if a.get("detect_negative", 1):
        found = tirx.Or(found, x == -infinity)
    return found


def _bound(a: Attributes, key: str, x: Expr) -> Expr | None:
    return const(a[key], x) if key in a else None


UNARY: dict[str, Callable[[Expr, Attributes], Expr]] = {
    "Relu": lambda x, a: maximum(x, const(0, x)),
    "Clip": lambda x, a: clip(x, _bound(a, "min", x), _bound(a, "max", x)),
    "LeakyRelu": lambda x, a: tirx.Select(x < const(0, x), x * const(a["alpha"], x), x),
    "Elu": lambda x, a: _elu(x, a["alpha"]),
    "Selu": lambda x, a: _elu(x, a["alpha"], a["gamma"]),
    "Celu": lambda x, a: _celu(x, a["alpha"]),
    "ThresholdedRelu": lambda x, a: tirx.Select(x > const(a["alpha"], x), x, const(0, x)),
    "Shrink": lambda x, a: _shrink(x, a["bias"], a["lambd"]),
    "HardSigmoid": lambda x, a: functions.hard_sigmoid(x, a["alpha"], a["beta"]),
    "HardSwish": lambda x, a: x * functions.hard_sigmoid(x, 1 / 6, 0.5),
    "Gelu": lambda x, a: functions.gelu(x, a.get("approximate", "none")),
    "Mish": lambda x, a: functions.mish(x),
    "Softplus": lambda x, a: functions.softplus(x),
    "Softsign": lambda x, a: x / (const(1.0, x) + tirx.abs(x)),
    "Sigmoid": lambda x, a: functions.sigmoid(x),
    "Swish": lambda x, a: x * functions.sigmoid(x * const(a.get("alpha", 1.0), x)),
    "edgevision::Silu": lambda x, a: functions.silu(x),
    "Tanh": lambda x, a: functions.tanh(x),
    "Erf": lambda x, a: functions.erf(x),
    "Exp": lambda x, a: functions.exp(x),
    "Log": lambda x, a: tirx.log(x),
    "Sqrt": lambda x, a: tirx.sqrt(x),
    "Reciprocal": lambda x, a: const(1.0, x) / x,
    "Neg": lambda x, a: -x,
    "Abs": lambda x, a: absolute(x),
    "Sign": lambda x, a: _sign(x),
    "Floor": lambda x, a: tirx.floor(x),
    "Ceil": lambda x, a: tirx.ceil(x),
    "Round": lambda x, a: tirx.nearbyint(x),
    "Sin": lambda x, a: tirx.sin(x),
    "Cos": lambda x, a: tirx.cos(x),
    "Tan": lambda x, a: tirx.tan(x),
    "Asin": lambda x, a: tirx.asin(x),
    "Acos": lambda x, a: tirx.acos(x),
    "Atan": lambda x, a: tirx.atan(x),
    "Sinh": lambda x, a: functions.sinh(x),
    "Cosh": lambda x, a: functions.cosh(x),
    "Asinh": lambda x, a: tirx.asinh(x),
    "Acosh": lambda x, a: tirx.acosh(x),
    "Atanh": lambda x, a: functions.atanh(x),
    "Not": lambda x, a: tirx.Not(x),
    "IsNaN": lambda x, a: is_nan(x),
    "IsInf": lambda x, a: _is_inf(x, a),
    "BitwiseNot": lambda x, a: tirx.bitwise_not(x),
}
"""ONNX operator -> f(x, attributes)."""


def _integer(x: Expr) -> bool:
    return "int" in dtype(x)


def _divide(a: Expr, b: Expr) -> Expr:
    return tirx.truncdiv(a, b) if _integer(a) else a / b


def _modulo(a: Expr, b: Expr, fmod: int) -> Expr:
    """The sign of the dividend (fmod=1) or of the divisor (fmod=0)."""
    if _integer(a):
        return tirx.truncmod(a, b) if fmod else tirx.floormod(a, b)
    # tirx.fmod has no lowering for LLVM targets.
    rest = tirx.call_pure_extern(dtype(a), "fmod" if dtype(a) == "float64" else "fmodf", a, b)
    if fmod:
        return rest
    zero = const(0, a)

    def corrected(r: Expr) -> Expr:
        wrong_sign = tirx.any(tirx.all(r < zero, b > zero), tirx.all(r > zero, b < zero))
        return tirx.Select(wrong_sign, r + b, r)

    return let(rest, corrected)


def _power(a: Expr, b: Expr) -> Expr:
    """The result has the base's type; with an integer on either side it is computed in float64."""
    if _integer(a) or dtype(a) != dtype(b):
        return tirx.Cast(dtype(a), tirx.power(tirx.Cast("float64", a), tirx.Cast("float64", b)))
    return tirx.power(a, b)


def _equal(a: Expr, b: Expr) -> Expr:
    """LLVM has no comparison of TVM's bool: it is spelled out."""
    if dtype(a) != "bool":
        return a == b
    return tirx.Or(tirx.And(a, b), tirx.And(tirx.Not(a), tirx.Not(b)))


def largest(a: Expr, b: Expr) -> Expr:
    """max with NaN from either side."""
    return tirx.max(a, b) if _integer(a) else tirx.Select(is_nan(a), a, tirx.Select(a > b, a, b))


def smallest(a: Expr, b: Expr) -> Expr:
    return tirx.min(a, b) if _integer(a) else tirx.Select(is_nan(a), a, tirx.Select(a < b, a, b))


BINARY: dict[str, Callable[[Expr, Expr, Attributes], Expr]] = {
    "Add": lambda a, b, _: a + b,
    "Sub": lambda a, b, _: a - b,
    "Mul": lambda a, b, _: a * b,
    "Div": lambda a, b, _: _divide(a, b),
    "Pow": lambda a, b, _: _power(a, b),
    "Mod": lambda a, b, at: _modulo(a, b, at.get("fmod", 0)),
    "Max": lambda a, b, _: largest(a, b),
    "Min": lambda a, b, _: smallest(a, b),
    "PRelu": lambda a, b, _: tirx.Select(a < const(0, a), a * b, a),
    "And": lambda a, b, _: tirx.And(a, b),
    "Or": lambda a, b, _: tirx.Or(a, b),
    "Xor": lambda a, b, _: tirx.Not(_equal(a, b)),
    "Equal": lambda a, b, _: _equal(a, b),
    "Less": lambda a, b, _: a < b,
    "LessOrEqual": lambda a, b, _: a <= b,
    "Greater": lambda a, b, _: a > b,
    "GreaterOrEqual": lambda a, b, _: a >= b,
    "BitwiseAnd": lambda a, b, _: tirx.bitwise_and(a, b),
    "BitwiseOr": lambda a, b, _: tirx.bitwise_or(a, b),
    "BitwiseXor": lambda a, b, _: tirx.bitwise_xor(a, b),
    "BitShift": lambda a, b, at: a << b if at["direction"] == "LEFT" else a >> b,
}
"""ONNX operator -> f(a, b, attributes) after broadcasting."""
