"""The accuracy of elementwise functions against float64, in plain loops and in the vectors of a fused convolution."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests import executor
from tests.lower.programs import network

EPSILON = 2.0**-23  # spacing of float32 at 1
LEAST_NORMAL = 2.0**-126

POINTS = np.concatenate(
    [
        np.linspace(-20, 20, 4001),
        np.linspace(-1, 1, 2001),
        [sign * 10.0**e for e in range(-44, 39) for sign in (-1, 1)],
        [-104.0, -103.9, -103.0, -88.8, -88.7, -88.0, -87.3, 87.9, 88.0, 88.5, 88.7, 88.8, 89.0, 90.0],
        [0.624, 0.625, 0.626, 3.99, 4.0, 4.01, math.log(2) / 2, 2.0**-149, -(2.0**-149)],
        [0.0, -0.0, np.nan, np.inf, -np.inf],
    ]
).astype(np.float32)

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _selu(x: np.ndarray) -> np.ndarray:
    return 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * np.expm1(np.minimum(x, 0)), x)


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# Name -> (nodes from t to y, the function in float64, bounds in units of EPSILON: of the result, the argument and 1).
Function = tuple[str, Callable[[np.ndarray], np.ndarray], tuple[float, float, float]]
FUNCTIONS: dict[str, Function] = {
    "exp": ("y = Exp(t)", np.exp, (1, 0, 0)),
    "log": ("y = Log(t)", np.log, (1, 0, 0)),
    "sigmoid": ("y = Sigmoid(t)", _sigmoid, (2, 0, 0)),
    "silu": ("s = Sigmoid(t) y = Mul(t, s)", lambda x: x * _sigmoid(x), (2, 0, 0)),
    "tanh": ("y = Tanh(t)", np.tanh, (1, 0, 0)),
    "sinh": ("y = Sinh(t)", np.sinh, (3, 0, 0)),
    "cosh": ("y = Cosh(t)", np.cosh, (3, 0, 0)),
    "erf": ("y = Erf(t)", _erf, (4, 0, 0)),
    "softplus": ("y = Softplus(t)", _softplus, (1, 0, 0)),
    "mish": ("y = Mish(t)", lambda x: x * np.tanh(_softplus(x)), (3, 0, 0)),
    "gelu": ("y = Gelu(t)", lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))), (2, 2, 0)),
    "gelu-tanh": ('y = Gelu<approximate = "tanh">(t)', _gelu_tanh, (2, 2, 0)),
    "hard-swish": ("y = HardSwish(t)", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), (1, 1, 0)),
    "elu": ("y = Elu(t)", lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x), (1, 0, 1)),
    "selu": ("y = Selu(t)", _selu, (2, 0, 2)),
    "celu": ("y = Celu<alpha = 0.5>(t)", lambda x: np.where(x < 0, np.expm1(np.minimum(2 * x, 0)) / 2, x), (1, 0, 1)),
    "softsign": ("y = Softsign(t)", lambda x: x / (1 + np.abs(x)), (2, 0, 0)),
    "asinh": ("y = Asinh(t)", np.arcsinh, (2, 0, 0)),
    "atanh": ("y = Atanh(t)", np.arctanh, (3, 0, 0)),
    "atan": ("y = Atan(t)", np.arctan, (1, 0, 0)),
    "sin": ("y = Sin(t)", np.sin, (1, 0, 0)),
    "cos": ("y = Cos(t)", np.cos, (1, 0, 0)),
}
CHANNELS = 16
IMAGE = np.resize(POINTS, (1, CHANNELS, -(-POINTS.size // CHANNELS), 1))
SHAPE = ",".join(map(str, IMAGE.shape))
LOOP = "(float[{shape}] t) => (float[{shape}] y) {{ {nodes} }}"
TAIL = "(float[{shape}] x) => (float[{shape}] y) {{ t = Conv<group = 16>(x, w) {nodes} }}"


@pytest.mark.parametrize("path", [LOOP, TAIL], ids=["loop", "vector"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_accurate(name: str, path: str) -> None:
    nodes, function, bounds = FUNCTIONS[name]
    weights = {"w": np.ones((CHANNELS, 1, 1, 1), np.float32)} if path is TAIL else {}
    (found,) = executor.run(network(path.format(shape=SHAPE, nodes=nodes), opset=20, **weights), [IMAGE])
    with np.errstate(all="ignore"):
        wanted = function(IMAGE.astype(np.float64))
    assert_within(found, wanted, bounds)


def assert_within(found: np.ndarray, wanted: np.ndarray, bounds: tuple[float, float, float]) -> None:
    """NaN and infinities where ``wanted`` rounds to them; factors below the smallest normal number may be
    0."""
    with np.errstate(over="ignore"):
        rounded = wanted.astype(np.float32)
    finite = np.isfinite(rounded)
    argument = np.abs(np.where(np.isfinite(IMAGE), IMAGE, 0).astype(np.float64))
    np.testing.assert_array_equal(np.where(finite, 0, found), np.where(finite, 0, rounded))
    of_result, of_argument, of_one = bounds
    sizes = of_result * np.abs(wanted) + of_argument * argument + of_one
    allowed = EPSILON * sizes[finite] + LEAST_NORMAL * np.maximum(argument[finite], 1)
    error = np.abs(found[finite].astype(np.float64) - wanted[finite])
    worst = np.argmax(error / allowed)
    assert error[worst] <= allowed[worst], (IMAGE[finite][worst], found[finite][worst], wanted[finite][worst])


WRONG = {
    "slightly off": lambda y: y * np.float32(1 + 8 * EPSILON),
    "NaN lost": lambda y: np.nan_to_num(y, nan=0.0, posinf=np.inf, neginf=-np.inf),
    "infinity lost": lambda y: np.nan_to_num(y, nan=np.nan, posinf=3e38),
    "zero": lambda y: np.where(np.isfinite(y), 0, y),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_the_comparison_sees_what_is_wrong(change: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.errstate(over="ignore"):
        wanted = np.exp(IMAGE.astype(np.float64))
        right = wanted.astype(np.float32)
    assert_within(right, wanted, (1, 0, 0))
    with pytest.raises(AssertionError):
        assert_within(change(right).astype(np.float32), wanted, (1, 0, 0))


def test_sums_of_many_terms_stay_accurate() -> None:
    """One running sum over 20,000 equal terms would be off by 1e-4."""
    row = np.full((1, 20_000), 0.1, np.float32)
    body = "(float[1,20000] x) => (float[1] y) { y = ReduceMean<axes = [1], keepdims = 0>(x) }"
    (found,) = executor.run(network(body), [row])
    np.testing.assert_allclose(found, [0.1], rtol=2e-5)
