"""Elementwise functions on scalars of tensor expressions, vectorisable: no library call for float32 exp, tanh, erf and what uses them.

Accuracy against float64, float32 arguments: see tests/lower/test_elementwise.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx

Expr = Any


def const(value: float, like: Expr) -> Expr:
    return tirx.const(value, dtype(like))


def dtype(x: Expr) -> str:
    return str(x.ty.dtype) if hasattr(x, "ty") else str(x.dtype)


def is_nan(x: Expr) -> Expr:
    # x != x is folded to false before LLVM sees it.
    return tirx.isnan(x)


def polynomial(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    """Horner's rule, highest power first."""
    total = const(coefficients[0], x)
    for c in coefficients[1:]:
        total = total * x + const(c, x)
    return total


def lowest(kind: str) -> Expr:
    """What no element is below."""
    return tirx.const(-math.inf, kind) if "float" in kind else tirx.min_value(kind)


def maximum(x: Expr, bound: Expr) -> Expr:
    """max that hands NaN in ``x`` on."""
    return tirx.Select(x < bound, bound, x)


def minimum(x: Expr, bound: Expr) -> Expr:
    return tirx.Select(x > bound, bound, x)


def clip(x: Expr, low: Expr | None, high: Expr | None) -> Expr:
    if low is not None:
        x = maximum(x, low)
    return minimum(x, high) if high is not None else x


def exp(x: Expr) -> Expr:
    """e**x = 2**n * e**r with n = round(x / ln 2), |r| <= ln 2 / 2; degree 6 (Cephes expf), denormals and infinities included."""
    if dtype(x) != "float32":
        return tirx.exp(x)
    bounded = tirx.min(tirx.max(x, const(-104.0, x)), const(89.0, x))
    n = tirx.floor(bounded * const(1.44269504088896341, x) + const(0.5, x))
    r = bounded - n * const(0.693359375, x) - n * const(-2.12194440e-4, x)
    series = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
    value = polynomial(r, series) * r * r + r + const(1.0, x)
    whole = tirx.Cast("int32", n)
    half = whole >> tirx.const(1, "int32")
    scaled = value * _power_of_two(half) * _power_of_two(whole - half)
    return tirx.Select(is_nan(x), x, scaled)


def _power_of_two(n: Expr) -> Expr:
    """2.0**n for an int32 n in [-126, 127]."""
    return tirx.reinterpret("float32", (n + tirx.const(127, "int32")) << tirx.const(23, "int32"))


def sigmoid(x: Expr) -> Expr:
    one = const(1.0, x)
    return one / (one + exp(-x))


def tanh(x: Expr) -> Expr:
    """Cephes tanhf: a polynomial below 0.625, 1 - 2 / (e**2x + 1) above."""
    if dtype(x) != "float32":
        return tirx.tanh(x)
    z = x * x
    series = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
    small = polynomial(z, series) * z * x + x
    size = tirx.Select(x < const(0.0, x), -x, x)
    large = const(1.0, x) - const(2.0, x) / (exp(size + size) + const(1.0, x))
    return tirx.Select(size < const(0.625, x), small, tirx.Select(x < const(0.0, x), -large, large))


def erf(x: Expr) -> Expr:
    """x * P(x*x) / Q(x*x) on [-4, 4] (Eigen's generic_fast_erf_float), 1 beyond."""
    if dtype(x) != "float32":
        return tirx.erf(x)
    bounded = tirx.min(tirx.max(x, const(-4.0, x)), const(4.0, x))
    z = bounded * bounded
    top = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
           -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)  # fmt: skip
    bottom = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
              -1.42647390514189e-02)  # fmt: skip
    value = bounded * polynomial(z, top) / polynomial(z, bottom)
    return tirx.Select(is_nan(x), x, value)


def atanh(x: Expr) -> Expr:
    """log1p(2 x / (1 - x)) / 2: TVM's own log((1 + x) / (1 - x)) loses everything near 0."""
    return const(0.5, x) * tirx.log1p((x + x) / (const(1.0, x) - x))


def softplus(x: Expr) -> Expr:
    """log(1 + e**x) as max(x, 0) + log1p(e**-|x|)."""
    zero = const(0.0, x)
    size = tirx.Select(x < zero, x, -x)
    return maximum(x, zero) + tirx.log1p(exp(size))


def gelu(x: Expr, approximate: str) -> Expr:
    half = const(0.5, x)
    if approximate == "tanh":
        inner = const(math.sqrt(2 / math.pi), x) * (x + const(0.044715, x) * x * x * x)
        return half * x * (const(1.0, x) + tanh(inner))
    return half * x * (const(1.0, x) + erf(x * const(math.sqrt(0.5), x)))


def hard_sigmoid(x: Expr, alpha: float, beta: float) -> Expr:
    return clip(const(alpha, x) * x + const(beta, x), const(0.0, x), const(1.0, x))


def _sign(x: Expr) -> Expr:
    zero, one = const(0, x), const(1, x)
    positive = tirx.Select(x > zero, one, zero)
    if dtype(x).startswith("uint"):
        return positive
    return tirx.Select(is_nan(x), x, tirx.Select(x < zero, const(-1, x), positive)) if "float" in dtype(x) else (
        tirx.Select(x < zero, const(-1, x), positive)
    )  # fmt: skip


def _elu(x: Expr, alpha: float, gamma: float = 1.0) -> Expr:
    negative = const(gamma * alpha, x) * (exp(x) - const(1.0, x))
    return tirx.Select(x < const(0.0, x), negative, x * const(gamma, x) if gamma != 1.0 else x)


def _celu(x: Expr, alpha: float) -> Expr:
    zero = const(0.0, x)
    negative = const(alpha, x) * (exp(x / const(alpha, x)) - const(1.0, x))
    return tirx.Select(x < zero, negative, x)


def _shrink(x: Expr, bias: float, lambd: float) -> Expr:
    below, above = x < const(-lambd, x), x > const(lambd, x)
    return tirx.Select(below, x + const(bias, x), tirx.Select(above, x - const(bias, x), const(0, x)))


def absolute(x: Expr) -> Expr:
    return x if dtype(x).startswith("uint") else tirx.abs(x)


Attributes = Mapping[str, Any]

UNARY: dict[str, Callable[[Expr, Attributes], Expr]] = {
    "Relu": lambda x, a: maximum(x, const(0, x)),
    "Clip": lambda x, a: clip(
        x, const(a["min"], x) if "min" in a else None, const(a["max"], x) if "max" in a else None
    ),
    "LeakyRelu": lambda x, a: tirx.Select(x < const(0, x), x * const(a["alpha"], x), x),
    "Elu": lambda x, a: _elu(x, a["alpha"]),
    "Selu": lambda x, a: _elu(x, a["alpha"], a["gamma"]),
    "Celu": lambda x, a: _celu(x, a["alpha"]),
    "ThresholdedRelu": lambda x, a: tirx.Select(x > const(a["alpha"], x), x, const(0, x)),
    "Shrink": lambda x, a: _shrink(x, a["bias"], a["lambd"]),
    "HardSigmoid": lambda x, a: hard_sigmoid(x, a["alpha"], a["beta"]),
    "HardSwish": lambda x, a: x * hard_sigmoid(x, 1 / 6, 0.5),
    "Gelu": lambda x, a: gelu(x, a.get("approximate", "none")),
    "Mish": lambda x, a: x * tanh(softplus(x)),
    "Softplus": lambda x, a: softplus(x),
    "Softsign": lambda x, a: x / (const(1.0, x) + tirx.abs(x)),
    "Sigmoid": lambda x, a: sigmoid(x),
    "Swish": lambda x, a: x * sigmoid(x * const(a.get("alpha", 1.0), x)),
    "edgevision::Silu": lambda x, a: x * sigmoid(x),
    "Tanh": lambda x, a: tanh(x),
    "Erf": lambda x, a: erf(x),
    "Exp": lambda x, a: exp(x),
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
    "Sinh": lambda x, a: tirx.sinh(x),
    "Cosh": lambda x, a: tirx.cosh(x),
    "Asinh": lambda x, a: tirx.asinh(x),
    "Acosh": lambda x, a: tirx.acosh(x),
    "Atanh": lambda x, a: atanh(x),
    "Not": lambda x, a: tirx.Not(x),
    "IsNaN": lambda x, a: is_nan(x),
    "IsInf": lambda x, a: _is_inf(x, a),
    "BitwiseNot": lambda x, a: tirx.bitwise_not(x),
}
"""ONNX operator -> f(x, attributes), one element in, one out."""


def _is_inf(x: Expr, a: Attributes) -> Expr:
    infinity = const(math.inf, x)
    found = tirx.const(False, "bool")  # noqa: FBT003
    if a.get("detect_positive", 1):
        found = tirx.Or(found, x == infinity)
    if a.get("detect_negative", 1):
        found = tirx.Or(found, x == -infinity)
    return found


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
    wrong_sign = tirx.any(tirx.all(rest < zero, b > zero), tirx.all(rest > zero, b < zero))
    return tirx.Select(wrong_sign, rest + b, rest)


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


def _largest(a: Expr, b: Expr) -> Expr:
    """max with NaN from either side."""
    return tirx.max(a, b) if _integer(a) else tirx.Select(is_nan(a), a, tirx.Select(a > b, a, b))


def _smallest(a: Expr, b: Expr) -> Expr:
    return tirx.min(a, b) if _integer(a) else tirx.Select(is_nan(a), a, tirx.Select(a < b, a, b))


BINARY: dict[str, Callable[[Expr, Expr, Attributes], Expr]] = {
    "Add": lambda a, b, _: a + b,
    "Sub": lambda a, b, _: a - b,
    "Mul": lambda a, b, _: a * b,
    "Div": lambda a, b, _: _divide(a, b),
    "Pow": lambda a, b, _: _power(a, b),
    "Mod": lambda a, b, at: _modulo(a, b, at.get("fmod", 0)),
    "Max": lambda a, b, _: _largest(a, b),
    "Min": lambda a, b, _: _smallest(a, b),
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


def cast(x: Expr, to: str) -> Expr:
    """ONNX Cast: floats truncate towards zero, anything but zero (NaN too) is true.

    A float beyond a narrow integer's range wraps, as it does in C on x86 and so in onnxruntime: it is truncated to 32 (64) bits first.
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
