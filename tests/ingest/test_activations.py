"""Activations written as arithmetic: each spelling becomes one operator, each near miss stays as it is."""

import itertools

import pytest

from edgevision.ingest import read as ingest
from tests.ingest.nets import attributes, checked, counted, fired, network, operators, refused

IMAGE = "(float[1,4,5,5] x) => (float[1,4,5,5] y)"
CONSTANTS = """zero = Constant<value = float {0.0}>() one = Constant<value = float {1.0}>() three =
      Constant<value = float {3.0}>()
  six = Constant<value = float {6.0}>() sixth = Constant<value = float {0.16666667}>() half = Constant<value =
      float {0.5}>()"""


def read(body, opset=17, border=IMAGE):
    return checked(network(f"{border} {{ {CONSTANTS} {body} }}", opset=opset))


# --- hard swish and hard sigmoid ---

GATE = "a = Add(x, three) g = Clip(a, zero, six)"
HARD_SWISHES = {
    "(x g) / 6": f"{GATE} m = Mul(x, g) y = Div(m, six)",
    "(g x) / 6": f"{GATE} m = Mul(g, x) y = Div(m, six)",
    "(x g) * 1/6": f"{GATE} m = Mul(x, g) y = Mul(m, sixth)",
    "1/6 * (x g)": f"{GATE} m = Mul(x, g) y = Mul(sixth, m)",
    "x (g / 6)": f"{GATE} d = Div(g, six) y = Mul(x, d)",
    "(g * 1/6) x": f"{GATE} d = Mul(g, sixth) y = Mul(d, x)",
    "(x / 6) g": f"{GATE} d = Div(x, six) y = Mul(d, g)",
    "3 + x": "a = Add(three, x) g = Clip(a, zero, six) m = Mul(x, g) y = Div(m, six)",
    "x - -3": "n = Constant<value = float {-3.0}>() a = Sub(x, n) g = Clip(a, zero, six) m = Mul(x, g) y = Div(m, six)",
    "min(max())": "a = Add(x, three) l = Max(a, zero) g = Min(l, six) m = Mul(x, g) y = Div(m, six)",
    "max(min())": "a = Add(x, three) l = Min(six, a) g = Max(l, zero) m = Mul(x, g) y = Div(m, six)",
    "min(relu)": "a = Add(x, three) l = Relu(a) g = Min(l, six) m = Mul(x, g) y = Div(m, six)",
    "clip of a sixth": "d = Mul(x, sixth) a = Add(d, half) g = Clip(a, zero, one) y = Mul(x, g)",
    "x HardSigmoid": "g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, g)",
    "HardSigmoid x": "g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(g, x)",
}


@pytest.mark.parametrize("body", HARD_SWISHES.values(), ids=HARD_SWISHES)
def test_hard_swish(body):
    assert operators(read(body)) == ["HardSwish"]


def test_hard_swish_by_itself_is_kept():
    assert operators(read("y = HardSwish(x)")) == ["HardSwish"]


NO_HARD_SWISHES = {
    "another offset": (
        "two = Constant<value = float {2.0}>() a = Add(x, two) g = Clip(a, zero, six) m = Mul(x, g) y = Div(m, six)"
    ),
    "another bottom": "a = Add(x, three) g = Clip(a, one, six) m = Mul(x, g) y = Div(m, six)",
    "another divisor": f"{GATE} m = Mul(x, g) y = Div(m, three)",
    "another top": "a = Add(x, three) g = Clip(a, zero, three) m = Mul(x, g) y = Div(m, three)",
    "no top": "a = Add(x, three) g = Clip(a, zero) m = Mul(x, g) y = Div(m, six)",
    "another top, the right divisor": "a = Add(x, three) g = Clip(a, zero, three) m = Mul(x, g) y = Div(m, six)",
    "another slope": "d = Mul(x, half) a = Add(d, three) g = Clip(a, zero, six) m = Mul(x, g) y = Div(m, six)",
    "another alpha": "g = HardSigmoid<alpha = 0.2, beta = 0.5>(x) y = Mul(x, g)",
    "another beta": "g = HardSigmoid<alpha = 0.16666667, beta = 0.4>(x) y = Mul(x, g)",
    "scaled": "h = Mul(x, half) g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(h, g)",
    "of another tensor": "n = Neg(x) g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(n) y = Mul(x, g)",
    "clip of another tensor": "n = Neg(x) a = Add(n, three) g = Clip(a, zero, six) m = Mul(x, g) y = Div(m, six)",
}


@pytest.mark.parametrize("body", NO_HARD_SWISHES.values(), ids=NO_HARD_SWISHES)
def test_no_hard_swish(body):
    assert "HardSwish" not in operators(read(body))


SHARED = {
    "the gate": (f"{GATE} m = Mul(x, g) y = Div(m, six) z = Neg(g)", "also read by"),
    "the product": (f"{GATE} m = Mul(x, g) y = Div(m, six) z = Neg(m)", None),
    "an output": ("a = Add(x, three) z = Clip(a, zero, six) m = Mul(x, z) y = Div(m, six)", "an output of the model"),
}


@pytest.mark.parametrize(("body", "reason"), SHARED.values(), ids=SHARED)
def test_a_pattern_that_is_read_elsewhere_is_refused(body, reason):
    model = read(body, border="(float[1,4,5,5] x) => (float[1,4,5,5] y, float[1,4,5,5] z)")
    assert "HardSwish" not in operators(model)
    assert reason is None or reason in refused(model, "hard-swish")[0]


HARD_SIGMOIDS = {
    "g / 6": (f"{GATE} y = Div(g, six)", 1 / 6, 0.5),
    "g * 1/6": (f"{GATE} y = Mul(sixth, g)", 1 / 6, 0.5),
    "clip(x / 5 + 1/2, 0, 1)": (
        "f = Constant<value = float {5.0}>() d = Div(x, f) a = Add(d, half) y = Clip(a, zero, one)",
        0.2,
        0.5,
    ),
    "clip(x, 0, 6) / 6": ("g = Clip(x, zero, six) y = Div(g, six)", 1 / 6, 0.0),
    "clip(3 - x)": (
        "n = Constant<value = float {-1.0}>() m = Mul(x, n) a = Add(m, three) g = Clip(a, zero, six) y = Div(g, six)",
        -1 / 6,
        0.5,
    ),
}


@pytest.mark.parametrize(("body", "alpha", "beta"), HARD_SIGMOIDS.values(), ids=HARD_SIGMOIDS)
def test_hard_sigmoid(body, alpha, beta):
    model = read(body)
    assert operators(model) == ["HardSigmoid"]
    found = attributes(model, "HardSigmoid")
    assert (found["alpha"], found["beta"]) == pytest.approx((alpha, beta))


NO_HARD_SIGMOIDS = {
    "a product with a bare clip": "n = Neg(x) g = Clip(x, zero, one) y = Mul(n, g)",
    "a constant gated": (
        f"c = Constant<value = float[4,1,1] {{1.0, 2.0, 3.0, 3.0}}>() {GATE} m = Mul(g, c) y = Div(m, six)"
    ),
    "crossed bounds": "n = Constant<value = float {-1.0}>() a = Add(x, three) g = Clip(a, zero, n) y = Mul(g, n)",
    "a bare clip": "y = Clip(x, zero, one)",
    "another divisor": f"{GATE} y = Div(g, three)",
    "another bottom": "a = Add(x, three) g = Clip(a, one, six) y = Div(g, six)",
    "one value a channel": (
        "c = Constant<value = float[4,1,1] {1.0, 2.0, 3.0, 3.0}>() a = Add(x, c) g = Clip(a, zero, one) y = Neg(g)"
    ),
}


@pytest.mark.parametrize("body", NO_HARD_SIGMOIDS.values(), ids=NO_HARD_SIGMOIDS)
def test_no_hard_sigmoid(body):
    assert "HardSigmoid" not in operators(read(body))


def test_a_shared_sum_stays_in_front():
    model = read(
        f"{GATE} y = Div(g, six) z = Neg(a)", border="(float[1,4,5,5] x) => (float[1,4,5,5] y, float[1,4,5,5] z)"
    )
    assert sorted(operators(model)) == ["Add", "HardSigmoid", "Neg"]
    assert attributes(model, "HardSigmoid")["beta"] == 0


@pytest.mark.parametrize(
    "body", [("d = Div(x, zero) g = Clip(d, zero, six) y = Div(g, six)"), f"{GATE} y = Div(g, zero)"]
)
def test_divisions_by_zero_are_left_to_run_time(body):
    assert "Div" in operators(ingest(network(f"{IMAGE} {{ {CONSTANTS} {body} }}"), simplify=False))


def test_constants_that_widen_the_result_make_no_activation():
    border = "(float[5] x) => (float[1,5] y)"
    threes = "threes = Constant<value = float[1,5] {3.0, 3.0, 3.0, 3.0, 3.0}>()"
    swish = f"{threes} {GATE.replace('three', 'threes')} m = Mul(x, g) y = Div(m, six)"
    assert "HardSwish" not in operators(read(swish, border=border))
    ones = (
        "n = Neg(x) e = Exp(n) d = Add(e, one) ones = Constant<value = float[1,5] {1.0, 1.0, 1.0, "
        "1.0, 1.0}>() y = Div(ones, d)"
    )
    assert "Sigmoid" not in operators(read(ones, border=border))


def test_a_polynomial_of_exponential_size_is_given_up():
    doubled = " ".join(f"t{i + 1} = Add(t{i}, t{i})" for i in range(60))
    scaled = "c = Constant<value = float {8.6736e-19}>() d = Mul(x, c)"
    body = f"{scaled} {doubled.replace('t0', 'd')} g = Clip(t60, zero, six) m = Mul(x, g) y = Div(m, six)"
    assert "HardSwish" not in operators(read(body))


def test_a_shared_clip_keeps_the_division():
    model = read(
        f"{GATE} y = Div(g, six) z = Neg(g)", border="(float[1,4,5,5] x) => (float[1,4,5,5] y, float[1,4,5,5] z)"
    )
    assert counted(model)["Clip"] == 1
    assert "also read by" in refused(model, "hard-sigmoid")[0]


def test_the_gate_of_squeeze_and_excitation():
    """y clip(x + 3, 0, 6) / 6 with the division after the product: the gate is still a hard sigmoid."""
    body = "p = GlobalAveragePool(x) a = Add(p, three) g = Clip(a, zero, six) m = Mul(x, g) y = Div(m, six)"
    model = read(body)
    assert operators(model) == ["GlobalAveragePool", "HardSigmoid", "Mul"]
    assert fired(model) == {"hard-sigmoid-gate": 1}


def test_a_shared_gate_is_refused():
    body = "p = GlobalAveragePool(x) a = Add(p, three) g = Clip(a, zero, six) m = Mul(x, g) y = Div(m, six) z = Neg(g)"
    model = read(body, border="(float[1,4,5,5] x) => (float[1,4,5,5] y, float[1,4,1,1] z)")
    assert "HardSigmoid" not in operators(model)
    assert "also read by" in refused(model, "hard-sigmoid-gate")[0]


# --- sigmoid, SiLU, softplus, Mish ---

SMOOTH = {
    "x sigmoid(x)": ("s = Sigmoid(x) y = Mul(x, s)", "Silu"),
    "sigmoid(x) x": ("s = Sigmoid(x) y = Mul(s, x)", "Silu"),
    "x / (1 + exp(-x))": ("n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(x, d)", "Silu"),
    "x / (exp(-1 x) + 1)": (
        "m = Constant<value = float {-1.0}>() n = Mul(x, m) e = Exp(n) d = Add(one, e) y = Div(x, d)",
        "Silu",
    ),
    "1 / (1 + exp(-x))": ("n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(one, d)", "Sigmoid"),
    "reciprocal": ("n = Neg(x) e = Exp(n) d = Add(e, one) y = Reciprocal(d)", "Sigmoid"),
    "x reciprocal": ("n = Neg(x) e = Exp(n) d = Add(e, one) s = Reciprocal(d) y = Mul(x, s)", "Silu"),
    "log(1 + exp(x))": ("e = Exp(x) a = Add(e, one) y = Log(a)", "Softplus"),
    "x tanh(softplus(x))": ("s = Softplus(x) t = Tanh(s) y = Mul(x, t)", "Mish"),
    "x tanh(log(1 + exp(x)))": ("e = Exp(x) a = Add(one, e) s = Log(a) t = Tanh(s) y = Mul(t, x)", "Mish"),
}


@pytest.mark.parametrize(("body", "op"), SMOOTH.values(), ids=SMOOTH)
def test_smooth_activations(body, op):
    assert operators(read(body)) == [op]


NOT_SMOOTH = {
    "sigmoid of another tensor": ("n = Neg(x) s = Sigmoid(n) y = Mul(x, s)", "Silu"),
    "no minus": ("e = Exp(x) d = Add(e, one) y = Div(x, d)", "Silu"),
    "twice the exponent": (
        "m = Constant<value = float {-2.0}>() n = Mul(x, m) e = Exp(n) d = Add(e, one) y = Div(x, d)",
        "Silu",
    ),
    "half plus exp": ("n = Neg(x) e = Exp(n) d = Add(e, half) y = Div(x, d)", "Silu"),
    "another numerator": ("n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(three, d)", "Sigmoid"),
    "log(1/2 + exp(x))": ("e = Exp(x) a = Add(e, half) y = Log(a)", "Softplus"),
    "tanh of another softplus": ("n = Neg(x) s = Softplus(n) t = Tanh(s) y = Mul(x, t)", "Mish"),
    "sigmoid for tanh": ("s = Softplus(x) t = Sigmoid(s) y = Mul(x, t)", "Mish"),
}


@pytest.mark.parametrize(("body", "op"), NOT_SMOOTH.values(), ids=NOT_SMOOTH)
def test_near_misses_of_smooth_activations(body, op):
    assert op not in operators(read(body))


SHARED_SMOOTH = {
    "silu": "s = Sigmoid(x) y = Mul(x, s) z = Neg(s)",
    "sigmoid": "n = Neg(x) e = Exp(n) d = Add(e, one) y = Div(one, d) z = Neg(e)",
    "softplus": "e = Exp(x) a = Add(e, one) y = Log(a) z = Neg(e)",
    "mish": "s = Softplus(x) t = Tanh(s) y = Mul(x, t) z = Neg(s)",
    "gelu": (
        "r = Constant<value = float {1.4142135}>() d = Div(x, r) e = Erf(d) a = Add(e, one) m = "
        "Mul(x, a) y = Mul(m, half) z = Neg(e)"
    ),
}


@pytest.mark.parametrize("rule", SHARED_SMOOTH)
def test_what_is_read_elsewhere_keeps_a_smooth_activation_apart(rule):
    model = read(SHARED_SMOOTH[rule], border="(float[1,4,5,5] x) => (float[1,4,5,5] y, float[1,4,5,5] z)")
    assert rule not in fired(model)
    assert "also read by" in refused(model, rule)[0]


# --- GELU ---

ERF = "r = Constant<value = float {1.4142135}>() d = Div(x, r) e = Erf(d) a = Add(e, one)"
TANH = """k = Constant<value = float {0.044715}>() s = Constant<value = float {0.7978846}>()
  p = Constant<value = float {3.0}>()
  q = Pow(x, p) c = Mul(q, k) i = Add(x, c) j = Mul(i, s) t = Tanh(j) a = Add(one, t)"""
PRODUCTS = {
    "(x a) / 2": "m = Mul(x, a) y = Mul(m, half)",
    "(x / 2) a": "m = Mul(half, x) y = Mul(m, a)",
    "x (a / 2)": "m = Mul(a, half) y = Mul(m, x)",
    "(x a) / 2 as a division": "two = Constant<value = float {2.0}>() m = Mul(x, a) y = Div(m, two)",
}
CURVES = {
    "erf": (ERF, b"none"),
    "erf(x * 0.7071)": (ERF.replace("1.4142135", "0.70710677").replace("Div", "Mul"), b"none"),
    "tanh": (TANH, b"tanh"),
    "tanh, x x x": (TANH.replace("q = Pow(x, p)", "w = Mul(x, x) q = Mul(w, x)"), b"tanh"),
    "tanh, x (1 + k x^2)": (
        TANH.replace(
            "q = Pow(x, p) c = Mul(q, k) i = Add(x, c)", "w = Mul(x, x) c = Mul(k, w) o = Add(c, one) i = Mul(x, o)"
        ),
        b"tanh",
    ),
    "tanh, scaled first": (
        TANH.replace("i = Add(x, c) j = Mul(i, s)", "u = Mul(x, s) v = Mul(c, s) j = Add(u, v)"),
        b"tanh",
    ),
}


@pytest.mark.parametrize(("curve", "order"), list(itertools.product(CURVES, PRODUCTS)))
def test_gelu(curve, order):
    body, approximate = CURVES[curve]
    model = read(f"{body} {PRODUCTS[order]}")
    assert operators(model) == ["Gelu"]
    assert attributes(model, "Gelu")["approximate"] == approximate


NO_GELUS = {
    "another divisor": f"{ERF.replace('1.4142135', '1.5')} {PRODUCTS['(x a) / 2']}",
    "not halved": f"{ERF} y = Mul(x, a)",
    "half and erf": f"{ERF.replace('Add(e, one)', 'Add(e, half)')} {PRODUCTS['(x a) / 2']}",
    "zero and erf": f"{ERF.replace('Add(e, one)', 'Add(e, zero)')} {PRODUCTS['(x a) / 2']}",
    "another cube": f"{TANH.replace('0.044715', '0.05')} {PRODUCTS['(x a) / 2']}",
    "a square": f"{TANH.replace('float {3.0}', 'float {2.0}')} {PRODUCTS['(x a) / 2']}",
    "tanh for erf": f"{ERF.replace('Erf', 'Tanh')} {PRODUCTS['(x a) / 2']}",
    "an odd exponent": f"{TANH.replace('float {3.0}', 'float {3.5}')} {PRODUCTS['(x a) / 2']}",
    "divided by a sum": f"{ERF.replace('d = Div(x, r)', 'k = Add(x, r) d = Div(x, k)')} {PRODUCTS['(x a) / 2']}",
    "plus another tensor": (
        "k = Constant<value = float {0.35355339}>() p = Mul(x, k) h = Sin(x) d = Add(p, h) e = Erf(d) a = Add(e, one) "
        f"{PRODUCTS['(x a) / 2']}"
    ),
    "of another tensor": f"n = Neg(x) {ERF} m = Mul(n, a) y = Mul(m, half)",
}


@pytest.mark.parametrize("body", NO_GELUS.values(), ids=NO_GELUS)
def test_no_gelu(body):
    assert "Gelu" not in operators(read(body))


# --- the same nets in every opset ---


@pytest.mark.parametrize("opset", range(9, 24))
def test_hard_swish_in_every_opset(opset):
    clip = "g = Clip<min = 0.0, max = 6.0>(a)" if opset < 11 else "g = Clip(a, zero, six)"
    assert operators(read(f"a = Add(x, three) {clip} m = Mul(x, g) y = Div(m, six)", opset)) == ["HardSwish"]


@pytest.mark.parametrize("opset", range(9, 24))
def test_gelu_in_every_opset(opset):
    assert operators(read(f"{ERF} m = Mul(x, a) y = Mul(m, half)", opset)) == ["Gelu"]
