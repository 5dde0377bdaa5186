"""Exponentials and what is made of them, in float32 without a library call, so that loops over them become vectors.

Other types call the C library. Accuracy against float64: tests/lower/test_functions.py.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx

from edgevision.lower.compute.scalar import clip, const, dtype, is_nan, let, maximum, minimum

Expr = Any


def polynomial(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    """Horner's rule, highest power first."""
    total = const(coefficients[0], x)
    for c in coefficients[1:]:
        total = total * x + const(c, x)
    return total


def exp(x: Expr) -> Expr:
    """e**x = 2**n * e**r, n = round(x / ln 2), |r| <= ln 2 / 2; degree 6 (Cephes expf); denormals, infinities, NaN."""
    return let(x, _exp) if dtype(x) == "float32" else tirx.exp(x)


def _exp(x: Expr) -> Expr:
    def scaled(value: Expr, n: Expr) -> Expr:
        return let(n >> tirx.const(1, "int32"), lambda half: value * _power_of_two(half) * _power_of_two(n - half))

    def series(bounded: Expr, n: Expr) -> Expr:
        rest = bounded - n * const(0.693359375, x) - n * const(-2.12194440e-4, x)
        terms = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
        return let(rest, lambda r: polynomial(r, terms) * r * r + r + const(1.0, x))

    def whole(bounded: Expr) -> Expr:
        nearest = tirx.floor(bounded * const(1.44269504088896341, x) + const(0.5, x))
        return let(nearest, lambda n: let(tirx.Cast("int32", n), lambda i: scaled(series(bounded, n), i)))

    limited = tirx.min(tirx.max(x, const(-104.0, x)), const(89.0, x))
    return tirx.Select(is_nan(x), x, let(limited, whole))


def _power_of_two(n: Expr) -> Expr:
    """2.0**n for an int32 n in [-126, 127]."""
    return tirx.reinterpret("float32", (n + tirx.const(127, "int32")) << tirx.const(23, "int32"))


def sigmoid(x: Expr) -> Expr:
    one = const(1.0, x)
    return one / (one + exp(-x))


def silu(x: Expr) -> Expr:
    return let(x, lambda v: v * sigmoid(v))


def tanh(x: Expr) -> Expr:
    """Cephes tanhf: a polynomial below 0.625, 1 - 2 / (e**2x + 1) above."""
    return let(x, _tanh) if dtype(x) == "float32" else tirx.tanh(x)


def _tanh(x: Expr) -> Expr:
    zero, one, two = (const(v, x) for v in (0.0, 1.0, 2.0))
    series = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
    small = let(x * x, lambda z: polynomial(z, series) * z * x + x)

    def branch(size: Expr) -> Expr:
        large = let(one - two / (exp(size + size) + one), lambda v: tirx.Select(x < zero, -v, v))
        return tirx.Select(size < const(0.625, x), small, large)

    return let(tirx.Select(x < zero, -x, x), branch)


def erf(x: Expr) -> Expr:
    """x * P(x*x) / Q(x*x) on [-4, 4] (Eigen's generic_fast_erf_float), 1 beyond."""
    return let(x, _erf) if dtype(x) == "float32" else tirx.erf(x)


def _erf(x: Expr) -> Expr:
    top = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
           -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)  # fmt: skip
    bottom = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
              -1.42647390514189e-02)  # fmt: skip

    def ratio(v: Expr) -> Expr:
        return let(v * v, lambda z: v * polynomial(z, top) / polynomial(z, bottom))

    bounded = tirx.min(tirx.max(x, const(-4.0, x)), const(4.0, x))
    return tirx.Select(is_nan(x), x, let(bounded, ratio))


def cosh(x: Expr) -> Expr:
    """(e**|x| + e**-|x|) / 2."""
    if dtype(x) != "float32":
        return tirx.cosh(x)
    return let(_half_exp(tirx.abs(x)), lambda h: h + const(0.25, x) / h)


def sinh(x: Expr) -> Expr:
    """(e**|x| - e**-|x|) / 2 with the sign of x, below 1 as x + x**3 P(x**2) (Cephes sinhf)."""
    if dtype(x) != "float32":
        return tirx.sinh(x)
    series = (2.03721912945e-4, 8.33028376239e-3, 1.66667160211e-1)

    def branch(v: Expr) -> Expr:
        small = let(v * v, lambda z: polynomial(z, series) * z * v + v)
        large = let(_half_exp(tirx.abs(v)), lambda h: h - const(0.25, x) / h)
        signed = let(large, lambda size: tirx.Select(v < const(0.0, x), -size, size))
        return tirx.Select(tirx.abs(v) < const(1.0, x), small, signed)

    return let(x, branch)


def _half_exp(x: Expr) -> Expr:
    """e**x / 2, finite as long as it can be: e**x itself is not from x = 88.7 on."""
    return let(exp(x * const(0.5, x)), lambda root: const(0.5, x) * root * root)


def atanh(x: Expr) -> Expr:
    """log((1 + x) / (1 - x)) / 2, below 0.5 as x + x**3 P(x**2) (Cephes atanhf): the quotient rounds a small x away."""
    if dtype(x) != "float32":
        return tirx.atanh(x)
    half, one = const(0.5, x), const(1.0, x)
    series = (1.81740078349e-1, 8.24370301058e-2, 1.46691431730e-1, 1.99782164500e-1, 3.33337300303e-1)

    def branch(v: Expr) -> Expr:
        small = let(v * v, lambda z: polynomial(z, series) * z * v + v)
        large = half * tirx.log((one + v) / (one - v))
        return tirx.Select(tirx.abs(v) < half, small, large)

    return let(x, branch)


def softplus(x: Expr) -> Expr:
    """log(1 + e**x) as max(x, 0) + log1p(e**-|x|)."""
    zero = const(0.0, x)
    return let(x, lambda v: maximum(v, zero) + tirx.log1p(exp(tirx.Select(v < zero, v, -v))))


def mish(x: Expr) -> Expr:
    """x tanh(log(1 + e**x)) = x n / (n + 2) with n = e**x (e**x + 2); the quotient is 1 from x = 20 on."""
    two = const(2.0, x)

    def gated(v: Expr) -> Expr:
        return let(exp(minimum(v, const(20.0, v))), lambda p: let(p * (p + two), lambda n: v * (n / (n + two))))

    return let(x, gated)


def gelu(x: Expr, approximate: str) -> Expr:
    half, one = const(0.5, x), const(1.0, x)

    def by_tanh(v: Expr) -> Expr:
        inner = const(math.sqrt(2 / math.pi), v) * (v + const(0.044715, v) * v * v * v)
        return half * v * (one + tanh(inner))

    def by_erf(v: Expr) -> Expr:
        return half * v * (one + erf(v * const(math.sqrt(0.5), v)))

    return let(x, by_tanh if approximate == "tanh" else by_erf)


def hard_sigmoid(x: Expr, alpha: float, beta: float) -> Expr:
    return clip(const(alpha, x) * x + const(beta, x), const(0.0, x), const(1.0, x))
