"""BatchNormalization and channel arithmetic behind a linear operator go into its weights."""

import numpy as np
import pytest

from edgevision.ingest import read as ingest
from tests.ingest.nets import checked, counted, network, operators, random, refused

LINEARS = {
    "conv": ("h = Conv<pads = [1, 1, 1, 1]>(x, w)", {"w": random(6, 4, 3, 3)}),
    "conv with bias": ("h = Conv<pads = [1, 1, 1, 1]>(x, w, b)", {"w": random(6, 4, 3, 3), "b": random(6)}),
    "group conv": ("h = Conv<pads = [1, 1, 1, 1], group = 2>(x, w)", {"w": random(6, 2, 3, 3)}),
    "transposed": ("h = ConvTranspose<pads = [1, 1, 1, 1]>(x, w, b)", {"w": random(4, 6, 3, 3), "b": random(6)}),
    "transposed, groups": ("h = ConvTranspose<pads = [1, 1, 1, 1], group = 2>(x, w)", {"w": random(4, 3, 3, 3)}),
}
NORM = {
    "scale": random(6, seed=2),
    "bias": random(6, seed=3),
    "mean": random(6, seed=4),
    "var": np.abs(random(6, seed=5)) + np.float32(0.5),
}
IMAGE = "(float[1,4,5,5] x) => (float[1,6,5,5] y)"


@pytest.mark.parametrize(("linear", "weights"), LINEARS.values(), ids=LINEARS)
def test_batch_norm_goes_into_what_is_before(linear, weights):
    model = checked(
        network(f"{IMAGE} {{ {linear} y = BatchNormalization(h, scale, bias, mean, var) }}", **weights, **NORM)
    )
    assert len(operators(model)) == 1
    assert model.proto.graph.node[0].op_type in ("Conv", "ConvTranspose")


def test_batch_norm_goes_into_gemm():
    body = (
        "(float[3,4] x) => (float[3,6] y) { h = Gemm<transB = 1>(x, w, b) y = "
        "BatchNormalization<epsilon = 0.1>(h, scale, bias, mean, var) }"
    )
    assert operators(checked(network(body, w=random(6, 4), b=random(6), **NORM))) == ["Gemm"]


def test_the_new_weights_are_rounded_once():
    """In float64, then rounded: the weights are the nearest float32 to the exact ones."""
    weights = {"w": random(6, 4, 1, 1)}
    body = f"{IMAGE} {{ h = Conv(x, w) y = BatchNormalization(h, scale, bias, mean, var) }}"
    model = ingest(network(body, **weights, **NORM), simplify=False)
    exact = {name: value.astype(np.float64) for name, value in {**weights, **NORM}.items()}
    factor = exact["scale"] / np.sqrt(exact["var"] + np.float64(np.float32(1e-5)))
    made = {tuple(t.dims): t for t in model.proto.graph.initializer}
    from onnx.numpy_helper import to_array

    np.testing.assert_array_equal(
        to_array(made[6, 4, 1, 1]), (exact["w"] * factor[:, None, None, None]).astype(np.float32)
    )
    np.testing.assert_array_equal(to_array(made[(6,)]), (exact["bias"] - factor * exact["mean"]).astype(np.float32))


ARITHMETIC = {
    "times": "y = Mul(h, c)",
    "times, constant first": "y = Mul(c, h)",
    "plus": "y = Add(h, c)",
    "minus": "y = Sub(h, c)",
    "divided by": "y = Div(h, c)",
    "times and plus": "i = Mul(h, c) y = Add(i, c)",
}


@pytest.mark.parametrize("shape", [(1, 6, 1, 1), (6, 1, 1), (1,), ()], ids=str)
@pytest.mark.parametrize("after", ARITHMETIC.values(), ids=ARITHMETIC)
def test_channel_arithmetic(after, shape):
    model = checked(
        network(f"{IMAGE} {{ h = Conv(x, w, b) {after} }}", w=random(6, 4, 1, 1), b=random(6), c=random(*shape, seed=7))
    )
    assert operators(model) == ["Conv"]


def test_channel_arithmetic_of_gemm():
    body = "(float[3,4] x) => (float[3,6] y) { h = MatMul(x, w) i = Add(h, c) y = Mul(i, c) }"
    assert operators(checked(network(body, w=random(4, 6), c=random(6)))) == ["Gemm"]


def test_arithmetic_after_a_bare_batch_norm_becomes_its_parameters():
    body = (
        "(float[1,6,5,5] x) => (float[1,6,5,5] y) { h = BatchNormalization(x, scale, bias, mean, "
        "var) i = Mul(h, c) y = Add(i, d) }"
    )
    model = checked(network(body, **NORM, c=random(1, 6, 1, 1), d=random(1, 6, 1, 1, seed=9)))
    assert operators(model) == ["BatchNormalization"]


def test_batch_norm_of_batch_norm_is_one():
    body = """(float[1,6,5,5] x) => (float[1,6,5,5] y) {
      h = BatchNormalization(x, scale, bias, mean, var) y = BatchNormalization(h, bias, scale, var, var) }"""
    assert operators(checked(network(body, **NORM))) == ["BatchNormalization"]


NEAR_MISSES = {
    "read twice": ("h = Conv(x, w) y = BatchNormalization(h, scale, bias, mean, var) z = Neg(h)", "also read by"),
    "an output": ("z = Conv(x, w) y = BatchNormalization(z, scale, bias, mean, var)", "an output of the model"),
}


@pytest.mark.parametrize(("body", "reason"), NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_shared_convolution_keeps_its_batch_norm(body, reason):
    border = "(float[1,4,5,5] x) => (float[1,6,5,5] y, float[1,6,5,5] z)"
    model = checked(network(f"{border} {{ {body} }}", w=random(6, 4, 1, 1), **NORM))
    assert counted(model)["BatchNormalization"] == 1
    assert reason in refused(model, "fold-batch-norm")[0]


def test_a_shared_batch_norm_keeps_what_follows():
    body = "h = BatchNormalization(x, scale, bias, mean, var) y = Mul(h, c) z = Neg(h)"
    border = "(float[1,6,5,5] x) => (float[1,6,5,5] y, float[1,6,5,5] z)"
    model = checked(network(f"{border} {{ {body} }}", c=random(6, 1, 1), **NORM))
    assert counted(model)["Mul"] == 1
    assert "also read by" in refused(model, "fold-channel-arithmetic")[0]


def test_computed_weights_are_refused():
    body = (
        "(float[1,4,5,5] x, float[6,4,1,1] w) => (float[1,6,5,5] y) { h = Conv(x, w) y = "
        "BatchNormalization(h, scale, bias, mean, var) }"
    )
    model = checked(network(body, **NORM))
    assert operators(model) == ["Conv", "BatchNormalization"]
    assert "computed weights" in refused(model, "fold-batch-norm")[0]


def test_a_computed_gemm_is_refused():
    body = "(float[3,4] x, float[4,6] w) => (float[3,6] y) { h = Gemm(x, w) y = Mul(h, c) }"
    model = checked(network(body, c=random(6)))
    assert operators(model) == ["Gemm", "Mul"]
    assert "computed weights" in refused(model, "fold-channel-arithmetic")[0]


@pytest.mark.parametrize("shape", [(5,), (5, 1), (6, 5, 5), (1, 6, 1, 5)], ids=str)
def test_a_constant_that_varies_within_a_channel_stays(shape):
    model = checked(network(f"{IMAGE} {{ h = Conv(x, w) y = Mul(h, c) }}", w=random(6, 4, 1, 1), c=random(*shape)))
    assert operators(model) == ["Conv", "Mul"]
    assert "varies within a channel" in refused(model, "fold-channel-arithmetic")[0]


def test_division_by_zero_stays():
    model = ingest(
        network(f"{IMAGE} {{ h = Conv(x, w) y = Div(h, c) }}", w=random(6, 4, 1, 1), c=np.zeros((6, 1, 1), np.float32)),
        simplify=False,
    )
    assert operators(model) == ["Conv", "Div"]
    assert "divides by zero" in refused(model, "fold-channel-arithmetic")[0]


@pytest.mark.parametrize("op", ["Sub", "Div"])
def test_a_constant_in_front_stays(op):
    model = checked(
        network(
            f"{IMAGE} {{ h = Conv(x, w, b) y = {op}(c, h) }}", w=random(6, 4, 1, 1), b=random(6) + 30, c=random(6, 1, 1)
        )
    )
    assert operators(model) == ["Conv", op]


def test_a_constant_that_widens_the_result_stays():
    body = "(float[1,4,1,1] x) => (float[1,6,1,5] y) { h = Conv(x, w) y = Mul(h, c) }"
    assert operators(checked(network(body, w=random(6, 4, 1, 1), c=random(5)))) == ["Conv", "Mul"]


def test_weights_that_two_convolutions_share_stay_right():
    body = (
        "(float[1,4,5,5] x) => (float[1,6,5,5] y) { h = Conv(x, w) i = Mul(h, c) n = Neg(x) k = "
        "Conv(n, w) y = Add(i, k) }"
    )
    assert counted(checked(network(body, w=random(6, 4, 1, 1), c=random(6, 1, 1))))["Conv"] == 2
