"""Layer and instance normalisation written as arithmetic."""

import numpy as np
import pytest

from tests.ingest.nets import attributes, checked, fired, network, operators, random, refused

IMAGE = "(float[2,6,4,5] x) => (float[2,6,4,5] y)"
CONSTANTS = """eps = Constant<value = float {0.001}>() two = Constant<value = float {2.0}>() m_half =
      Constant<value = float {-0.5}>()
  half = Constant<value = float {0.5}>() m_one = Constant<value = float {-1.0}>()"""


def whitening(axes, square="s = Mul(c, c)", divide="q = Sqrt(w) y = Div(c, q)", keep=1):
    means = f"m = ReduceMean<axes = {axes}, keepdims = {keep}>(x) c = Sub(x, m)"
    return f"{means} {square} v = ReduceMean<axes = {axes}, keepdims = {keep}>(s) w = Add(v, eps) {divide}"


def read(body, border=IMAGE, **weights):
    return checked(network(f"{border} {{ {CONSTANTS} {body} }}", **weights))


SPELLINGS = {
    "multiplied by itself": {},
    "to the power of 2": {"square": "s = Pow(c, two)"},
    "centred twice": {"square": "m2 = ReduceMean<axes = [-1], keepdims = 1>(x) c2 = Sub(x, m2) s = Mul(c2, c2)"},
    "power of a half": {"divide": "q = Pow(w, half) y = Div(c, q)"},
    "power of minus a half": {"divide": "q = Pow(w, m_half) y = Mul(c, q)"},
    "reciprocal": {"divide": "q = Sqrt(w) r = Reciprocal(q) y = Mul(r, c)"},
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_over_the_last_axis(spelling):
    model = read(whitening("[-1]", **spelling))
    assert operators(model) == ["LayerNormalization"]
    assert attributes(model, "LayerNormalization")["axis"] == 3
    assert attributes(model, "LayerNormalization")["epsilon"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("axes", "op"),
    [("[1]", "ChannelLayerNormalization"), ("[2, 3]", "InstanceNormalization"), ("[1, 2, 3]", "LayerNormalization")],
)
def test_over_other_axes(axes, op):
    assert operators(read(whitening(axes))) == [op]


NEAR_MISSES = {
    "axes that are not last": whitening("[1, 3]"),
    "two means": whitening("[3]").replace("v = ReduceMean<axes = [3]", "v = ReduceMean<axes = [2]"),
    "square of another tensor": whitening("[3]", square="s = Mul(x, x)"),
    "product of two": whitening("[3]", square="s = Mul(c, x)"),
    "mean of another tensor": whitening("[3]")
    .replace("keepdims = 1>(x)", "keepdims = 1>(n)")
    .replace("m =", "n = Neg(x) m =", 1),
    "other power": whitening("[3]", divide="q = Pow(w, two) y = Mul(c, q)"),
    "power of minus 1": whitening("[3]", divide="q = Pow(w, m_one) y = Mul(c, q)"),
    "no root": whitening("[3]", divide="y = Div(c, w)"),
    "another numerator": whitening("[3]", divide="q = Sqrt(w) y = Div(x, q)"),
    "epsilon a tensor": whitening("[3]").replace("Add(v, eps)", "Add(v, x)"),
}


@pytest.mark.parametrize("body", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_near_misses(body):
    assert not any("Normalization" in op for op in operators(read(body)))


def test_keepdims_must_hold():
    """Over axis 0 of a square matrix, without keepdims, the mean is broadcast along the other axis."""
    body = whitening("[1]", keep=0)
    model = read(body, border="(float[5,5] x) => (float[5,5] y)")
    assert not any("Normalization" in op for op in operators(model))


def test_an_inner_value_that_is_read_elsewhere_is_refused():
    model = read(f"{whitening('[3]')} z = Neg(v)", border="(float[2,6,4,5] x) => (float[2,6,4,5] y, float[2,6,4,1] z)")
    assert "also read by" in refused(model, "layer-norm")[0]


def test_odd_axes_are_refused_by_name():
    assert "axes [1, 3]" in refused(read(whitening("[1, 3]")), "layer-norm")[0]


PARAMETERS = {
    "[-1]": (5,),
    "[1]": (6, 1, 1),
    "[2, 3]": (6, 1, 1),
    "[1, 2, 3]": (6, 4, 5),
}


@pytest.mark.parametrize(("axes", "shape"), PARAMETERS.items(), ids=PARAMETERS)
def test_scale_and_bias_become_parameters(axes, shape):
    body = whitening(axes).replace("y = ", "h = ") + " i = Mul(h, scale) y = Add(bias, i)"
    model = read(body, scale=random(*shape), bias=random(*shape, seed=1))
    assert len(operators(model)) == 1
    assert fired(model)["norm-parameters"] == 2


def test_parameters_also_join_a_norm_of_the_file():
    body = "h = LayerNormalization<axis = -1>(x, scale, bias) i = Mul(h, gain) y = Add(i, shift)"
    weights = {"scale": random(5), "bias": random(5, seed=1), "gain": random(5, seed=2), "shift": random(1, seed=3)}
    assert operators(read(body, **weights)) == ["LayerNormalization"]


FOREIGN = {
    "along another axis": ("[-1]", (4, 1)),
    "channels of a layer norm": ("[-1]", (6, 1, 1)),
    "pixels": ("[1]", (4, 5)),
    "everything": ("[1]", (6, 4, 5)),
}


@pytest.mark.parametrize(("axes", "shape"), FOREIGN.values(), ids=FOREIGN)
def test_other_constants_stay(axes, shape):
    body = whitening(axes).replace("y = ", "h = ") + " y = Mul(h, scale)"
    model = read(body, scale=random(*shape))
    assert operators(model)[1:] == ["Mul"]
    assert "is no parameter" in refused(model, "norm-parameters")[0]


def test_rows_are_not_channels_where_there_are_as_many():
    body = whitening("[1]").replace("y = ", "h = ") + " y = Mul(h, scale)"
    model = read(body, border="(float[2,6,6,5] x) => (float[2,6,6,5] y)", scale=random(6, 1))
    assert operators(model) == ["ChannelLayerNormalization", "Mul"]


def test_a_norm_without_bias_gets_one():
    body = "h = LayerNormalization<axis = -1>(x, scale) i = Mul(h, gain) y = Add(i, shift)"
    model = read(body, scale=random(5), gain=random(5, seed=2), shift=random(5, seed=3))
    assert operators(model) == ["LayerNormalization"]


def test_a_norm_that_is_read_twice_keeps_its_scale_apart():
    body = whitening("[-1]").replace("y = ", "h = ") + " y = Mul(h, scale) z = Neg(h)"
    model = read(body, border="(float[2,6,4,5] x) => (float[2,6,4,5] y, float[2,6,4,5] z)", scale=random(5))
    assert sorted(operators(model)) == ["LayerNormalization", "Mul", "Neg"]


def test_computed_parameters_stay_apart():
    body = "h = LayerNormalization<axis = -1>(x, scale) y = Mul(h, gain)"
    border = "(float[2,6,4,5] x, float[5] scale) => (float[2,6,4,5] y)"
    assert operators(read(body, border, gain=random(5))) == ["LayerNormalization", "Mul"]


@pytest.mark.parametrize("opset", range(9, 24))
def test_layer_norm_in_every_opset(opset):
    body = whitening("[-1]", square="s = Pow(c, two)")
    if opset >= 18:
        body = body.replace("ReduceMean<axes = [-1], keepdims = 1>(x)", "ReduceMean(x, last)")
        body = body.replace("ReduceMean<axes = [-1], keepdims = 1>(s)", "ReduceMean(s, last)")
    weights = {"last": np.array([-1], np.int64)} if opset >= 18 else {}
    model = checked(network(f"{IMAGE} {{ {CONSTANTS} {body} }}", opset=opset, **weights))
    assert operators(model) == ["LayerNormalization"]
