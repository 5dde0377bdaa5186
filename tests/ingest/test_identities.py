"""What returns its input goes; pairs become one; borders stay."""

import numpy as np
import pytest

from edgevision.ingest import read as ingest
from tests.ingest.nets import attributes, checked, network, operators, random

IMAGE = "(float[1,4,6,6] x) => (float[1,4,6,6] y)"
INT = np.int64
NOTHING = {
    "Identity": ("h = Identity(x)", {}),
    "Dropout": ("h, m = Dropout(x)", {}),
    "Cast to itself": ("h = Cast<to = 1>(x)", {}),
    "Slice of everything": ("h = Slice(x, s, e, a)", {"s": [0, 0], "e": [9, 6], "a": [2, 3]}),
    "Transpose in order": ("h = Transpose<perm = [0, 1, 2, 3]>(x)", {}),
    "Reshape to itself": ("h = Reshape(x, s)", {"s": [0, 4, -1, 6]}),
    "there and back": ("i = Reshape(x, s) h = Reshape(i, t)", {"s": [4, 36], "t": [1, 4, 6, 6]}),
    "Flatten and back": ("i = Flatten(x) h = Reshape(i, t)", {"t": [1, 4, 6, 6]}),
    "Squeeze and Unsqueeze": ("i = Squeeze(x, a) h = Unsqueeze(i, a)", {"a": [0]}),
    "Pad by nothing": ("h = Pad(x, p)", {"p": [0] * 8}),
    "Expand to itself": ("h = Expand(x, s)", {"s": [1, 1, 6, 6]}),
    "Tile once": ("h = Tile(x, r)", {"r": [1] * 4}),
    "Concat of one": ("h = Concat<axis = 1>(x)", {}),
    "Split in one": ("h = Split<axis = 1>(x)", {}),
    "Sum of one": ("h = Sum(x)", {}),
    "Max of one": ("h = Max(x)", {}),
    "Transpose there and back": ("i = Transpose<perm = [0, 2, 3, 1]>(x) h = Transpose<perm = [0, 3, 1, 2]>(i)", {}),
    "MaxPool of one": ("h = MaxPool<kernel_shape = [1, 1]>(x)", {}),
    "AveragePool of one": ("h = AveragePool<kernel_shape = [1, 1]>(x)", {}),
    "Resize by 1": ('h = Resize<mode = "linear">(x, , f)', {"f": np.ones(4, np.float32)}),
    "times 1": ("h = Mul(x, c)", {"c": np.ones((1, 4, 1, 1), np.float32)}),
    "divided by 1": ("h = Div(x, c)", {"c": np.ones(1, np.float32)}),
    "plus 0": ("h = Add(c, x)", {"c": np.zeros((), np.float32)}),
    "minus 0": ("h = Sub(x, c)", {"c": np.zeros(6, np.float32)}),
    "to the power of 1": ("h = Pow(x, c)", {"c": np.ones((), np.float32)}),
    "Clip without bounds": ("h = Clip(x)", {}),
}


def read(body, weights, border=IMAGE, opset=17):
    arrays = {name: value if isinstance(value, np.ndarray) else np.array(value, INT) for name, value in weights.items()}
    return checked(network(f"{border} {{ {body} }}", opset=opset, **arrays))


@pytest.mark.parametrize(("body", "weights"), NOTHING.values(), ids=NOTHING)
def test_what_does_nothing_goes(body, weights):
    assert operators(read(f"{body} y = Neg(h)", weights)) == ["Neg"]


@pytest.mark.parametrize(("body", "weights"), NOTHING.values(), ids=NOTHING)
def test_an_input_still_goes_out_through_identity(body, weights):
    assert operators(read(body.replace("h =", "y =").replace("h, m =", "y, m ="), weights)) == ["Identity"]


SOMETHING = {
    "Cast": ("h = Cast<to = 11>(x) y = Cast<to = 1>(h)", {}, "Cast"),
    "reversing Slice": ("y = Slice(x, s, e, a, t)", {"s": [-1], "e": [-9], "a": [3], "t": [-1]}, "Slice"),
    "Transpose": ("y = Transpose<perm = [0, 1, 3, 2]>(x)", {}, "Transpose"),
    "Reshape": ("h = Reshape(x, s) y = Neg(h)", {"s": [0, 4, 6, 6]}, "Neg"),
    "MaxPool": ("y = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)", {}, "MaxPool"),
    "times nearly 1": ("y = Mul(x, c)", {"c": np.array([1, 1, 1, 1, 1, 1.0001], np.float32)}, "Mul"),
    "plus nearly 0": ("y = Add(x, c)", {"c": np.array([0, 0, 0, 0, 0, 1e-4], np.float32)}, "Add"),
    "crop and resize": (
        'y = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize">(x, r, f)',
        {"r": np.array([0, 0, 0, 0, 1, 1, 0.5, 0.5], np.float32), "f": np.array([1, 1, 2, 2], np.float32)},
        "Resize",
    ),
}


@pytest.mark.parametrize(("body", "weights", "op"), SOMETHING.values(), ids=SOMETHING)
def test_what_does_something_stays(body, weights, op):
    assert op in operators(read(body, weights))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_a_strided_window_of_one_stays(op):
    body = f"(float[1,4,6,6] x) => (float[1,4,3,6] y) {{ y = {op}<kernel_shape = [1, 1], strides = [2, 1]>(x) }}"
    assert operators(checked(network(body))) == [op]


def test_one_that_broadcasts_stays():
    body = "(float[1,4,6,1] x) => (float[1,4,6,6] y) { h = Mul(x, c) y = Neg(h) }"
    model = checked(network(body, c=np.ones((1, 4, 6, 6), np.float32)))
    assert operators(model) == ["Mul", "Neg"]


def test_two_outputs_of_one_tensor_keep_an_identity():
    body = "(float[1,4] x) => (float[1,4] y, float[1,4] z) { y = Neg(x) z = Identity(y) }"
    assert operators(checked(network(body))) == ["Neg", "Identity"]


def test_an_identity_at_the_end_gives_its_name_away():
    body = "(float[1,4] x) => (float[1,4] y, float[1,4] z) { h = Neg(x) y = Identity(h) z = Exp(h) }"
    model = checked(network(body))
    assert operators(model) == ["Neg", "Exp"]
    assert model.proto.graph.node[0].output[0] == "y"


def test_a_constant_output_goes_through_identity():
    body = (
        "(float[1,4] x) => (float[1,4] y, float[2] z) { y = Neg(x) two = Constant<value = "
        "float[2] {1.0, 2.0}>() z = Neg(two) }"
    )
    assert sorted(operators(checked(network(body)))) == ["Identity", "Neg"]


CLIPS = {
    "relu, min 6": ("h = Relu(x) y = Clip(h, , six)", 0.0, 6.0),
    "clip, clip": ("h = Clip(x, m, six) y = Clip(h, zero, four)", 0.0, 4.0),
    "clip, relu": ("h = Clip(x, m, six) y = Relu(h)", 0.0, 6.0),
    "apart": ("h = Clip(x, four, six) y = Clip(h, m, zero)", 0.0, 0.0),
    "apart, the other way": ("h = Clip(x, m, zero) y = Clip(h, four, six)", 4.0, 4.0),
    "max, min": ("h = Max(x, zero) y = Min(six, h)", 0.0, 6.0),
}
BOUNDS = {"zero": 0.0, "four": 4.0, "six": 6.0, "m": -1.0}


@pytest.mark.parametrize(("body", "low", "high"), CLIPS.values(), ids=CLIPS)
def test_bounds_become_one_clip(body, low, high):
    weights = {name: np.array(value, np.float32) for name, value in BOUNDS.items()}
    model = checked(network(f"(float[8,8] x) => (float[8,8] z) {{ {body} z = Min(x, y) }}", **weights))
    found = attributes(model, "Clip")
    assert (found["min"], found["max"]) == (low, high)


def test_relu_of_relu_is_relu():
    assert operators(read("h = Relu(x) y = Relu(h)", {})) == ["Relu"]


def test_max_with_zero_is_relu():
    assert operators(read("y = Max(x, c)", {"c": np.zeros((), np.float32)})) == ["Relu"]


@pytest.mark.parametrize("outer", [("four", "six"), ("six", "four"), ("m", "zero"), ("zero", "m")])
@pytest.mark.parametrize("inner", [("four", "six"), ("six", "four"), ("m", "zero"), ("zero", "m")])
def test_bounds_that_cross_compose_too(inner, outer):
    """min(max(x, a), b) is b everywhere when a > b."""
    body = (
        f"(float[8,8] x) => (float[8,8] z) {{ h = Clip(x, {', '.join(inner)}) y = Clip(h, "
        f"{', '.join(outer)}) z = Min(x, y) }}"
    )
    weights = {name: np.array(value, np.float32) for name, value in BOUNDS.items()}
    assert operators(checked(network(body, **weights))) == ["Clip", "Min"]


def test_a_window_of_one_whose_indices_are_read_stays():
    body = "(float[1,4,5,6] x) => (float[1,4,5,6] y, int64[1,4,5,6] i) { y, i = MaxPool<kernel_shape = [1, 1]>(x) }"
    assert operators(checked(network(body))) == ["MaxPool"]


def test_a_clip_that_is_read_twice_stays():
    body = "(float[8,8] x) => (float[8,8] y, float[8,8] z) { h = Relu(x) y = Clip(h, , six) z = Neg(h) }"
    assert sorted(operators(checked(network(body, six=np.array(6, np.float32))))) == ["Clip", "Neg", "Relu"]


EXTREMA = {
    "one bound a column": random(8),
    "infinite": np.array(np.inf, np.float32),
    "wider than x": np.ones((2, 1, 1), np.float32),
}


@pytest.mark.parametrize("bound", EXTREMA.values(), ids=EXTREMA)
def test_a_minimum_that_is_no_clip_stays(bound):
    shape = "2,8,8" if bound.ndim == 3 else "8,8"
    model = checked(network(f"(float[8,8] x) => (float[{shape}] y) {{ y = Min(x, c) }}", c=bound))
    assert operators(model) == ["Min"]


def test_an_integer_maximum_stays_one():
    body = "(int64[8] x) => (int64[8] y) { y = Max(x, c) }"
    assert operators(checked(network(body, c=np.array(1, np.int64)))) == ["Max"]


def test_transposes_compose():
    body = (
        "(float[2,3,4,5] x) => (float[3,2,5,4] y) { h = Transpose<perm = [3, 2, 1, 0]>(x) y = "
        "Transpose<perm = [2, 3, 0, 1]>(h) }"
    )
    model = checked(network(body))
    assert operators(model) == ["Transpose"]
    assert attributes(model, "Transpose")["perm"] == [1, 0, 3, 2]


def test_a_transpose_that_moves_nothing_is_a_reshape():
    body = "(float[1,4,1,5] x) => (float[4,1,5,1] y) { y = Transpose<perm = [1, 0, 3, 2]>(x) }"
    assert operators(checked(network(body))) == ["Reshape"]


def test_a_transpose_that_swaps_longer_axes_stays():
    body = "(float[1,4,1,5] x) => (float[5,1,4,1] y) { y = Transpose<perm = [3, 0, 1, 2]>(x) }"
    assert operators(checked(network(body))) == ["Transpose"]


@pytest.mark.parametrize("divisor", [0.5, 4.0, -2.0, 2.0**100])
def test_division_by_a_power_of_two_is_a_product(divisor):
    assert operators(read("y = Div(x, c)", {"c": np.array([divisor], np.float32)})) == ["Mul"]


DIVISORS = {
    "six": np.array(6, np.float32),
    "one of them six": np.array([2, 2, 2, 2, 2, 6], np.float32),
    "an inverse that is subnormal": np.array(2.0**127, np.float32),
    "an inverse that overflows": np.array(2.0**-140, np.float32),
}


@pytest.mark.parametrize("divisor", DIVISORS.values(), ids=DIVISORS)
def test_other_divisions_stay(divisor):
    assert operators(ingest(network(f"{IMAGE} {{ y = Div(x, c) }}", c=divisor), simplify=False)) == ["Div"]


def test_division_before_erf_is_a_product():
    assert operators(read("d = Div(x, c) y = Erf(d)", {"c": np.array(2**0.5, np.float32)})) == ["Mul", "Erf"]


SEEN_ROUNDINGS = ["d = Div(x, c) e = Erf(d) y = Add(d, e)", "d = Div(x, c) y = Floor(d)", "d = Div(c, x) y = Erf(d)"]


@pytest.mark.parametrize("body", SEEN_ROUNDINGS)
def test_a_division_whose_rounding_others_see_stays(body):
    assert "Div" in operators(read(body, {"c": np.array(2**0.5, np.float32)}))


def test_a_division_that_leaves_the_graph_stays():
    body = "(float[1,4,5,5] x) => (float[1,4,5,5] d, float[1,4,5,5] y) { d = Div(x, c) y = Erf(d) }"
    assert operators(checked(network(body, c=np.array(2**0.5, np.float32)))) == ["Div", "Erf"]


def test_integer_division_stays():
    body = "(int64[8] x) => (int64[8] y) { y = Div(x, c) }"
    assert operators(checked(network(body, c=np.array(2, np.int64)))) == ["Div"]
