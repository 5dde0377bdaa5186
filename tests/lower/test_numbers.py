"""Integers, booleans and conversions between types, against what numpy and onnxruntime answer."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tests import executor
from tests.lower.programs import agreeing, assert_near, images, network

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")


def onnx_type(dtype: str) -> str:
    return {"float32": "float", "float64": "double"}.get(dtype, dtype)


def binary(op: str, dtype: str, size: int, result: str = "", attributes: str = "", opset: int = 18) -> onnx.ModelProto:
    kind, out = onnx_type(dtype), onnx_type(result or dtype)
    body = f"({kind}[{size}] a, {kind}[{size}] b) => ({out}[{size}] y) {{ y = {op}{attributes}(a, b) }}"
    return network(body, opset=opset)


def operands(dtype: str, *, nonzero: bool) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of small numbers of both signs; the extremes of the type over 1, 2 and 3."""
    small = np.arange(-7 if np.dtype(dtype).kind == "i" else 0, 8).astype(dtype)
    limits = np.iinfo(dtype)
    a, b = (grid.ravel() for grid in np.meshgrid(small, small[small != 0] if nonzero else small))
    far = np.array([limits.min, limits.max, limits.max - 1, limits.min + 1] * 3, dtype)
    return np.concatenate([a, far]), np.concatenate([b, np.repeat(np.array([1, 2, 3], dtype), 4)])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_division_truncates(dtype: str) -> None:
    a, b = operands(dtype, nonzero=True)
    (found,) = executor.run(binary("Div", dtype, a.size), [a, b])
    exact = [int(abs(int(x)) // abs(int(y))) * (1 if (x < 0) == (y < 0) else -1) for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(found, np.array(exact, dtype))


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_modulo_takes_the_sign_of_divisor_or_dividend(dtype: str, fmod: int) -> None:
    a, b = operands(dtype, nonzero=True)
    (found,) = executor.run(binary("Mod", dtype, a.size, attributes=f"<fmod = {fmod}>"), [a, b])
    np.testing.assert_array_equal(found, (np.fmod if fmod else np.mod)(a, b))


@pytest.mark.parametrize("dtype", FLOATS)
def test_float_modulo_takes_the_sign_of_the_dividend(dtype: str) -> None:
    a = np.array([5.3, -5.3, 5.3, -5.3, 1e30, 0.0, np.inf, 1.0, np.nan, -7.0], dtype)
    b = np.array([2.1, 2.1, -2.1, -2.1, 3.7, 2.0, 2.0, np.inf, 1.0, 7.0], dtype)
    (found,) = executor.run(binary("Mod", dtype, a.size, attributes="<fmod = 1>"), [a, b])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found, np.fmod(a, b))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_arithmetic_wraps(op: str, dtype: str) -> None:
    a, b = operands(dtype, nonzero=False)
    (found,) = executor.run(binary(op, dtype, a.size), [a, b])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[op](a, b))


COMPARISONS = {"Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater,
               "GreaterOrEqual": np.greater_equal}  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
@pytest.mark.parametrize("op", COMPARISONS)
def test_comparisons(op: str, dtype: str) -> None:
    if dtype == "float32":
        values = np.array([0.0, -0.0, 1.5, np.nan, np.inf, -np.inf], np.float32)
        a, b = (grid.ravel() for grid in np.meshgrid(values, values))
    else:
        a, b = operands(dtype, nonzero=False)
    (found,) = executor.run(binary(op, dtype, a.size, "bool"), [a, b])
    np.testing.assert_array_equal(found, COMPARISONS[op](a, b))


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Equal"])
def test_logic(op: str) -> None:
    a, b = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    (found,) = executor.run(binary(op, "bool", 4), [a, b])
    wanted = {"And": a & b, "Or": a | b, "Xor": a ^ b, "Equal": a == b}[op]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("op", ["Max", "Min"])
@pytest.mark.parametrize("constant", [False, True], ids=["computed", "constant"])
def test_extremes_hand_nan_on(op: str, constant: bool) -> None:
    values = np.array([0.0, 1.0, -1.0, np.nan, np.inf, -np.inf], np.float32)
    a, b = (grid.ravel().copy() for grid in np.meshgrid(values, values))
    if constant:
        proto = network(f"(float[{a.size}] a) => (float[{a.size}] y) {{ y = {op}(a, b) }}", b=b)
    else:
        proto = binary(op, "float32", a.size)
    (found,) = executor.run(proto, [a] if constant else [a, b])
    np.testing.assert_array_equal(found, {"Max": np.maximum, "Min": np.minimum}[op](a, b))


@pytest.mark.parametrize("nodes", ["y = Relu(x)", "y = Clip(x, low, high)", "y = LeakyRelu(x)", "y = PRelu(x, slope)"])
def test_bounds_hand_nan_and_infinities_on_as_onnxruntime_does(nodes: str) -> None:
    x = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 7.0, -7.0, 1e-42]], np.float32)
    weights = {"low": np.float32(-1.5), "high": np.float32(6), "slope": np.full((8,), 0.25, np.float32)}
    used = {name: np.asarray(value) for name, value in weights.items() if name in nodes}
    agreeing(f"(float[1,8] x) => (float[1,8] y) {{ {nodes} }}", x, **used)


def test_a_maximum_of_infinities_is_infinite() -> None:
    x = np.full((1, 2, 4, 4), -np.inf, np.float32)
    x[0, 1] = np.inf
    nodes = "y = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x) z = ReduceMax<axes = [3]>(x) w = ReduceMin<axes = [2]>(x)"
    body = f"(float[1,2,4,4] x) => (float[1,2,4,4] y, float[1,2,4,1] z, float[1,2,1,4] w) {{ {nodes} }}"
    for found in executor.run(network(body, opset=17), [x]):
        assert (found[0, 0] == -np.inf).all() and (found[0, 1] == np.inf).all()


@pytest.mark.parametrize("exponent", ["int32", "float32", "int64"])
@pytest.mark.parametrize("base", ["int32", "float32", "int64"])
def test_powers_have_the_type_of_the_base(base: str, exponent: str) -> None:
    a, b = np.array([0, 1, 2, 3, 9, -2], base), np.array([0, 5, 3, 2, 0.5, 3], exponent)
    body = f"({onnx_type(base)}[6] a, {onnx_type(exponent)}[6] b) => ({onnx_type(base)}[6] y) {{ y = Pow(a, b) }}"
    (found,) = executor.run(network(body), [a, b])
    wanted = np.power(a.astype(np.float64), b.astype(np.float64)).astype(base)
    assert_near(found, wanted, 1e-6)
    assert base != "int32" or exponent != "float32" or found[4] == 3


WIDTHS = {"LEFT": np.left_shift, "RIGHT": np.right_shift}


@pytest.mark.parametrize("direction", WIDTHS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_shifts(dtype: str, direction: str) -> None:
    bits = np.iinfo(dtype).bits
    a = np.array([1, 5, np.iinfo(dtype).max, 128], dtype).repeat(bits)
    b = np.tile(np.arange(bits), 4).astype(dtype)
    (found,) = executor.run(binary("BitShift", dtype, a.size, attributes=f'<direction = "{direction}">'), [a, b])
    np.testing.assert_array_equal(found, WIDTHS[direction](a, b))


def casting(source: str, to: str, size: int) -> onnx.ModelProto:
    number = helper.np_dtype_to_tensor_dtype(np.dtype(to))
    return network(f"({onnx_type(source)}[{size}] x) => ({onnx_type(to)}[{size}] y) {{ y = Cast<to = {number}>(x) }}")


TYPES = (*INTEGERS, *FLOATS, "bool")


@pytest.mark.parametrize("source", TYPES)
def test_casts_of_values_that_both_types_hold(source: str) -> None:
    x = np.array([0, 1, 2, 3, 100, 127], source)
    signed = np.dtype(source).kind in "if"
    for to in TYPES:
        values = np.concatenate([x, np.array([-1, -2, -128], source)]) if signed and np.dtype(to).kind in "ifb" else x
        (found,) = executor.run(casting(source, to, values.size), [values]) if to != source else [values]
        np.testing.assert_array_equal(found, values.astype(to))


def test_floats_truncate_towards_zero() -> None:
    x = np.array([0.5, -0.5, 1.999, -1.999, 127.9, -128.9, 2.5e9, -2.5e9], np.float32)
    for to, count in (("int8", 6), ("int16", 6), ("int32", 6), ("int64", 8)):
        (found,) = executor.run(casting("float32", to, count), [x[:count]])
        np.testing.assert_array_equal(found, np.trunc(x[:count]).astype(to))


def test_a_float_beyond_a_narrow_integer_wraps_as_in_onnxruntime() -> None:
    x = np.array([300.0, -1.0, -129.5, 65_536.0, 40_000.0, 2.0**31 - 128], np.float32)
    for to in ("int8", "uint8", "int16", "uint16"):
        proto = casting("float32", to, x.size)
        np.testing.assert_array_equal(executor.run(proto, [x])[0], executor.onnxruntime_outputs(proto, [x])[0])


def test_anything_but_zero_is_true() -> None:
    x = np.array([0.0, -0.0, np.nan, np.inf, 1e-45, 0.5, -3.0], np.float32)
    (found,) = executor.run(casting("float32", "bool", x.size), [x])
    np.testing.assert_array_equal(found, [False, False, True, True, True, True, True])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "float64", "bool"])
def test_other_types_pass_through_movement(dtype: str) -> None:
    x = images(1, 4, 3, 5, dtype=dtype)
    nodes = """
        a, b = Split<axis = 1, num_outputs = 2>(x) c = Concat<axis = 1>(b, a) d = Transpose<perm = [0, 2, 3, 1]>(c)
        e = Reshape(d, shape) f = Slice(e, starts, ends, axes, steps) y = Pad(f, pads)
    """
    kind = onnx_type(dtype)
    body = f"({kind}[1,4,3,5] x) => ({kind}[1,4,7,3] y) {{ {nodes} }}"
    constants = {"shape": [1, 3, 5, 4], "starts": [3], "ends": [-6], "axes": [3], "steps": [-2], "pads": [0, 0, 1, 0, 0, 1, 1, 1]}
    proto = network(body, opset=18, **{name: np.array(value, np.int64) for name, value in constants.items()})
    np.testing.assert_array_equal(executor.run(proto, [x])[0], executor.reference_outputs(proto, [x])[0])
