"""Pools over the image, padding, channel shuffles, and spans with channels last."""

import numpy as np
import pytest

from tests.ingest.nets import attributes, checked, counted, network, operators, random, refused

# --- pools ---

GLOBAL = {
    "mean": ("y = ReduceMean<axes = [2, 3]>(x)", ["GlobalAveragePool"], "1,4,5,6", "1,4,1,1"),
    "mean, negative axes": ("y = ReduceMean<axes = [-1, -2]>(x)", ["GlobalAveragePool"], "1,4,5,6", "1,4,1,1"),
    "mean without keepdims": (
        "y = ReduceMean<axes = [2, 3], keepdims = 0>(x)",
        ["GlobalAveragePool", "Reshape"],
        "1,4,5,6",
        "1,4",
    ),
    "max": ("y = ReduceMax<axes = [2, 3]>(x)", ["GlobalMaxPool"], "1,4,5,6", "1,4,1,1"),
    "window": ("y = AveragePool<kernel_shape = [5, 6]>(x)", ["GlobalAveragePool"], "1,4,5,6", "1,4,1,1"),
    "max window": ("y = MaxPool<kernel_shape = [5, 6], strides = [3, 3]>(x)", ["GlobalMaxPool"], "1,4,5,6", "1,4,1,1"),
}


@pytest.mark.parametrize(("body", "ops", "before", "after"), GLOBAL.values(), ids=GLOBAL)
def test_global_pools(body, ops, before, after):
    assert operators(checked(network(f"(float[{before}] x) => (float[{after}] y) {{ {body} }}"))) == ops


NOT_GLOBAL = {
    "one axis": ("y = ReduceMean<axes = [2]>(x)", "1,4,5,6", "1,4,1,6"),
    "channels too": ("y = ReduceMean<axes = [1, 2, 3]>(x)", "1,4,5,6", "1,1,1,1"),
    "other axes": ("y = ReduceMean<axes = [1, 2]>(x)", "1,4,5,6", "1,1,1,6"),
    "three dimensions": ("y = ReduceMean<axes = [2, 3]>(x)", "1,4,5,6,7", "1,4,1,1,7"),
    "sum": ("y = ReduceSum(x, a)", "1,4,5,6", "1,4,1,1"),
    "smaller window": ("y = AveragePool<kernel_shape = [5, 5], strides = [1, 2]>(x)", "1,4,5,6", "1,4,1,1"),
    "padded window": (
        "y = AveragePool<kernel_shape = [5, 6], pads = [0, 1, 0, 0], strides = [1, 2], count_include_pad = 1>(x)",
        "1,4,5,6",
        "1,4,1,1",
    ),
    "one dimension": ("y = AveragePool<kernel_shape = [5]>(x)", "1,4,5", "1,4,1"),
}


@pytest.mark.parametrize(("body", "before", "after"), NOT_GLOBAL.values(), ids=NOT_GLOBAL)
def test_other_pools_stay(body, before, after):
    weights = {"a": np.array([2, 3], np.int64)} if "a)" in body else {}
    model = checked(network(f"(float[{before}] x) => (float[{after}] y) {{ {body} }}", **weights))
    assert not any(op.startswith("Global") for op in operators(model))


def test_a_window_whose_indices_are_read_stays():
    body = "(float[1,4,5,6] x) => (float[1,4,1,1] y, int64[1,4,1,1] i) { y, i = MaxPool<kernel_shape = [5, 6]>(x) }"
    assert operators(checked(network(body))) == ["MaxPool"]


def test_a_dilated_window_of_two_is_not_the_image():
    """kernel 3x3 spread over 5x5 reads nine of twenty-five."""
    body = (
        "(float[1,4,3,3] x) => (float[1,4,1,1] y) { y = MaxPool<kernel_shape = [3, 3], dilations "
        "= [2, 2], pads = [1, 1, 1, 1]>(x) }"
    )
    assert operators(checked(network(body))) == ["MaxPool"]


# --- padding ---

PADS = np.array([0, 0, 1, 0, 0, 0, 1, 2], np.int64)


def test_zero_padding_goes_into_the_convolution():
    body = "(float[1,4,5,5] x) => (float[1,6,6,6] y) { h = Pad(x, p) y = Conv<pads = [1, 0, 0, 1]>(h, w) }"
    model = checked(network(body, p=PADS, w=random(6, 4, 3, 3)))
    assert operators(model) == ["Conv"]
    assert attributes(model, "Conv")["pads"] == [2, 0, 1, 3]


NEAR_PADS = {
    "with ones": ("h = Pad(x, p, one) y = Conv(h, w)", PADS, "does not pad with zeros"),
    "with edges": ('h = Pad<mode = "edge">(x, p) y = Conv(h, w)', PADS, "does not pad with zeros"),
    "channels": (
        "h = Pad(x, p) y = Conv(h, w)",
        np.array([0, 1, 1, 0, 0, 0, 1, 2], np.int64),
        "pads batch or channels",
    ),
    "read twice": (
        "h = Pad(x, p) g = Conv(h, w) m = ReduceMax<axes = [1, 2, 3]>(h) y = Add(g, m)",
        PADS,
        "also read by",
    ),
}


@pytest.mark.parametrize(("body", "pads", "reason"), NEAR_PADS.values(), ids=NEAR_PADS)
def test_other_padding_stays(body, pads, reason):
    channels = 5 if pads[1] else 4
    weights = {"p": pads, "w": random(6, channels, 3, 3), **({"one": np.array(1, np.float32)} if "one" in body else {})}
    model = checked(network(f"(float[1,4,5,5] x) => (float[1,6,5,5] y) {{ {body} }}", **weights))
    assert counted(model)["Pad"] == 1
    assert reason in refused(model, "pad-into-conv")[0]


# --- channel shuffle ---


def shuffle(
    middle=(1, 2, 3, 4, 5),
    perm=(0, 2, 1, 3, 4),
    after=(1, 6, 4, 5),
    more="",
    border="(float[1,6,4,5] x) => (float[1,6,4,5] y)",
):
    body = f"{border} {{ a = Reshape(x, m) b = Transpose<perm = {list(perm)}>(a) c = Reshape(b, e) y = Neg(c) {more} }}"
    return checked(network(body, m=np.array(middle, np.int64), e=np.array(after, np.int64)))


@pytest.mark.parametrize(
    ("middle", "perm"),
    [((1, 2, 3, 4, 5), (0, 2, 1, 3, 4)), ((1, 2, 3, 20), (0, 2, 1, 3)), ((0, 3, -1, 4, 5), (0, 2, 1, 3, 4))],
)
def test_channel_shuffle(middle, perm):
    model = shuffle(middle, perm)
    assert operators(model) == ["ChannelShuffle", "Neg"]
    assert attributes(model, "ChannelShuffle")["groups"] == middle[1]


NO_SHUFFLES = {
    "another transpose": {"perm": (0, 2, 1, 4, 3), "middle": (1, 2, 3, 4, 5)},
    "channels with pixels": {"middle": (1, 3, 4, 2, 5)},
    "another shape after": {"after": (1, 3, 8, 5), "border": "(float[1,6,4,5] x) => (float[1,3,8,5] y)"},
    "groups only": {"middle": (1, 2, 60), "perm": (0, 2, 1)},
    "batch too": {"middle": (3, 2, 1, 4, 5)},
    "batch and pixels": {
        "middle": (1, 2, 3, 8, 5),
        "after": (2, 6, 4, 5),
        "border": "(float[2,6,4,5] x) => (float[2,6,4,5] y)",
    },
    "five dimensions": {
        "middle": (1, 2, 3, 2, 2, 5),
        "perm": (0, 2, 1, 3, 4, 5),
        "after": (1, 6, 2, 2, 5),
        "border": "(float[1,6,2,2,5] x) => (float[1,6,2,2,5] y)",
    },
}


@pytest.mark.parametrize("change", NO_SHUFFLES.values(), ids=NO_SHUFFLES)
def test_no_channel_shuffle(change):
    assert "ChannelShuffle" not in operators(shuffle(**change))


def test_a_shuffle_that_is_read_inside_is_refused():
    model = shuffle(more="z = Exp(b)", border="(float[1,6,4,5] x) => (float[1,6,4,5] y, float[1,3,2,4,5] z)")
    assert "ChannelShuffle" not in operators(model)
    assert "also read by" in refused(model, "channel-shuffle")[0]


# --- channels last ---

LAST, FIRST = "[0, 2, 3, 1]", "[0, 3, 1, 2]"


def span(inside, border="(float[1,4,5,6] x) => (float[1,4,5,6] y)", opset=17, **weights):
    body = f"{border} {{ t = Transpose<perm = {LAST}>(x) {inside} y = Transpose<perm = {FIRST}>(u) }}"
    return checked(network(body, opset=opset, **weights))


def test_a_convnext_block_is_convolutions():
    """LayerNorm, 4 C, GELU, C, layer scale, with channels last: nothing is left but NCHW operators."""
    inside = (
        "n = LayerNormalization<axis = -1>(t, g, b) h = MatMul(n, w) i = Add(h, c) a = Gelu(i) "
        "j = MatMul(a, v) u = Mul(j, s)"
    )
    weights = {
        "g": random(4),
        "b": random(4, seed=1),
        "w": random(4, 8, seed=2),
        "c": random(8, seed=3),
        "v": random(8, 4, seed=4),
    }
    model = span(inside, opset=20, **weights, s=random(4, seed=5))
    assert operators(model) == ["ChannelLayerNormalization", "Conv", "Gelu", "Conv"]


INSIDES = {
    "unary": ("u = Sigmoid(t)", {}, ["Sigmoid"]),
    "domain edgevision": ("s = Sigmoid(t) u = Mul(t, s)", {}, ["Silu"]),
    "constant in front": ("u = Sub(c, t)", {"c": random(4)}, ["Sub"]),
    "constant of pixels": ("u = Mul(t, c)", {"c": random(5, 1, 4)}, ["Mul"]),
    "two tensors": ("n = Abs(x) v = Transpose<perm = [0, 2, 3, 1]>(n) u = Add(t, v)", {}, ["Abs", "Add"]),
    "norm without bias": ("u = LayerNormalization<axis = 3>(t, g)", {"g": random(4)}, ["ChannelLayerNormalization"]),
}


@pytest.mark.parametrize(("inside", "weights", "ops"), INSIDES.values(), ids=INSIDES)
def test_what_sinks(inside, weights, ops):
    assert operators(span(inside, **weights)) == ops


FLOATING = {
    "computed matrix": ("u = MatMul(t, w)", "(float[1,4,5,6] x, float[4,4] w) => (float[1,4,5,6] y)", {}),
    "batched matrix": ("u = MatMul(t, w)", "(float[1,4,5,6] x) => (float[1,4,5,6] y)", {"w": random(5, 4, 4)}),
    "norm over more": (
        "u = LayerNormalization<axis = 2>(t, g)",
        "(float[1,4,5,6] x) => (float[1,4,5,6] y)",
        {"g": random(6, 4)},
    ),
    "computed parameters": (
        "u = LayerNormalization<axis = 3>(t, g)",
        "(float[1,4,5,6] x, float[4] g) => (float[1,4,5,6] y)",
        {},
    ),
    "a tensor of NHWC": ("u = Add(t, z)", "(float[1,4,5,6] x, float[1,5,6,4] z) => (float[1,4,5,6] y)", {}),
    "a tensor that is narrower": (
        "v = Transpose<perm = [0, 2, 3, 1]>(z) u = Add(t, v)",
        "(float[1,4,5,6] x, float[1,1,5,6] z) => (float[1,4,5,6] y)",
        {},
    ),
}


@pytest.mark.parametrize(("inside", "border", "weights"), FLOATING.values(), ids=FLOATING)
def test_what_does_not_sink_is_refused_or_kept_right(inside, border, weights):
    model = span(inside, border, **weights)
    assert "Transpose" in operators(model)
    assert refused(model, "channels-last")


def test_a_norm_whose_mean_is_read_does_not_sink():
    border = "(float[1,4,5,6] x) => (float[1,4,5,6] y, float[1,5,6,1] m)"
    model = span("u, m = LayerNormalization<axis = 3>(t, g)", border, g=random(4))
    assert "ChannelLayerNormalization" not in operators(model)


def test_operators_without_a_transpose_are_not_talked_about():
    model = checked(network("(float[1,4,5,6] x) => (float[1,4,5,6] y) { n = Exp(x) y = Add(x, n) }"))
    assert refused(model, "channels-last") == ()


def test_another_transpose_does_not_sink():
    body = "(float[1,4,5,6] x) => (float[1,6,4,5] y) { t = Transpose<perm = [0, 3, 1, 2]>(x) y = Sigmoid(t) }"
    assert operators(checked(network(body))) == ["Transpose", "Sigmoid"]


def test_a_transpose_with_two_readers_does_not_sink():
    body = (
        f"(float[1,4,5,6] x) => (float[1,5,6,4] y, float[1,5,6,4] z) {{ t = Transpose<perm = "
        f"{LAST}>(x) y = Sigmoid(t) z = Neg(t) }}"
    )
    assert counted(checked(network(body)))["Transpose"] == 1
