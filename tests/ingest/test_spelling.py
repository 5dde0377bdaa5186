"""Every operator in one spelling: what each opset wrote, as attributes of opset 23, and back."""

import numpy as np
import pytest

from edgevision.errors import UnsupportedOperatorError
from edgevision.ingest import read as ingest
from tests.ingest.nets import attributes, checked, network, operators, random

INT = np.int64


def read(body, border="(float[2,4,6,7] x) => (float[?] y)", opset=17, **weights):
    arrays = {name: value if isinstance(value, np.ndarray) else np.array(value, INT) for name, value in weights.items()}
    return checked(network(f"{border.replace('float[?]', 'float[a,b,c,d]')} {{ {body} }}", opset=opset, **arrays))


# --- one net, all opsets ---


def body_of(opset):
    """Conv, Clip, Slice, Pad, ReduceSum, Squeeze, Unsqueeze, Split, Softmax, Upsample or Resize as each opset
    writes them."""
    clip = "c = Clip<min = 0.0, max = 6.0>(k)" if opset < 11 else "c = Clip(k, low, high)"
    slice_ = (
        "s = Slice<starts = [1, -5], ends = [4, 100], axes = [1, 2]>(c)"
        if opset < 10
        else "s = Slice(c, starts, ends, axes)"
    )
    pad = "p = Pad<pads = [0, 0, 1, 0, 0, 0, 0, 2], value = 1.5>(s)" if opset < 11 else "p = Pad(s, pads, fill)"
    resize = {9: 'r = Upsample<mode = "nearest">(p, scales)', 10: "r = Resize(p, scales)"}
    total = "t = ReduceSum<axes = [-1], keepdims = 0>(z)" if opset < 13 else "t = ReduceSum<keepdims = 0>(z, last)"
    up = "u = Unsqueeze<axes = [0, 3]>(t)" if opset < 13 else "u = Unsqueeze(t, two)"
    down = "q = Squeeze<axes = [0]>(u)" if opset < 13 else "q = Squeeze(u, first)"
    split = "f, g = Split<axis = 1, split = [1, 2]>(q)" if opset < 13 else "f, g = Split<axis = 1>(q, parts)"
    z = resize.get(
        opset, 'r = Resize<coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(p, roi, scales)'
    )
    soft = "y = Softmax<axis = 2>(g)"
    return (
        f'k = Conv<auto_pad = "SAME_UPPER", strides = [1, 2]>(x, w) {clip} {slice_} {pad} {z} z = '
        f"Abs(r) {total} {up} {down} {split} {soft} o = Neg(f)"
    )


@pytest.mark.parametrize("opset", range(9, 24))
def test_every_opset_gives_the_same_graph(opset):
    weights = {
        "roi": np.zeros(0, np.float32),
        "w": random(5, 4, 3, 2),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "fill": np.array(1.5, np.float32),
        "starts": np.array([1, -5]),
        "ends": np.array([4, 100]),
        "axes": np.array([1, 2]),
        "pads": np.array([0, 0, 1, 0, 0, 0, 0, 2]),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "last": np.array([-1]),
        "two": np.array([0, 3]),
        "first": np.array([0]),
        "parts": np.array([1, 2]),
    }
    model = checked(network(f"(float[2,4,6,7] x) => (float y, float o) {{ {body_of(opset)} }}", opset=opset, **weights))
    softmax = ["Reshape", "Softmax", "Reshape"] if opset < 13 else ["Softmax"]
    ops = ["Conv", "Clip", "Slice", "Pad", "Resize", "Abs", "ReduceSum", "Reshape", "Split", *softmax, "Neg"]
    assert sorted(operators(model)) == sorted(ops)
    assert attributes(model, "Conv")["pads"] == [1, 0, 1, 1]
    assert (attributes(model, "Clip")["min"], attributes(model, "Clip")["max"]) == (0.0, 6.0)
    cut = attributes(model, "Slice")
    assert (cut["axes"], cut["starts"], cut["ends"], cut["steps"]) == ([1, 2], [1, 1], [4, 6], [1, 1])
    assert attributes(model, "Pad")["value"] == 1.5
    assert attributes(model, "ReduceSum")["axes"] == [3]
    assert attributes(model, "Split")["split"] == [1, 2]
    resize = attributes(model, "Resize")
    assert (resize["coordinate_transformation_mode"], resize["nearest_mode"]) == (b"asymmetric", b"floor")
    assert resize["sizes"] == [2, 3, 12, 12]


# --- windows ---

WINDOWS = {
    "Conv SAME_UPPER": ('y = Conv<auto_pad = "SAME_UPPER", strides = [2, 3]>(x, w)', {"w": random(5, 4, 3, 2)}),
    "Conv SAME_LOWER": ('y = Conv<auto_pad = "SAME_LOWER", strides = [1, 2]>(x, w)', {"w": random(5, 4, 4, 2)}),
    "Conv VALID": ('y = Conv<auto_pad = "VALID">(x, w)', {"w": random(5, 4, 3, 2)}),
    "MaxPool SAME": ('y = MaxPool<auto_pad = "SAME_UPPER", kernel_shape = [3, 2], strides = [2, 2]>(x)', {}),
    "MaxPool SAME_LOWER": ('y = MaxPool<auto_pad = "SAME_LOWER", kernel_shape = [2, 2], strides = [2, 2]>(x)', {}),
    "AveragePool SAME": ('y = AveragePool<auto_pad = "SAME_UPPER", kernel_shape = [3, 2], strides = [2, 2]>(x)', {}),
    "AveragePool VALID": ('y = AveragePool<auto_pad = "VALID", kernel_shape = [3, 2]>(x)', {}),
    "AveragePool ceil": ("y = AveragePool<kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>(x)", {}),
    "ConvTranspose": (
        "y = ConvTranspose<strides = [2, 2], output_padding = [1, 0], pads = [1, 0, 0, 1]>(x, w)",
        {"w": random(4, 5, 3, 3)},
    ),
    "ConvTranspose SAME_UPPER": (
        'y = ConvTranspose<strides = [2, 2], auto_pad = "SAME_UPPER">(x, w)',
        {"w": random(4, 5, 3, 3)},
    ),
    "ConvTranspose SAME_LOWER": (
        'y = ConvTranspose<strides = [2, 2], auto_pad = "SAME_LOWER">(x, w)',
        {"w": random(4, 5, 3, 3)},
    ),
    "ConvTranspose VALID": ('y = ConvTranspose<strides = [2, 2], auto_pad = "VALID">(x, w)', {"w": random(4, 5, 3, 3)}),
    "ConvTranspose output_shape": (
        "y = ConvTranspose<strides = [2, 2], output_shape = [12, 14]>(x, w)",
        {"w": random(4, 5, 3, 3)},
    ),
    "ConvTranspose larger": (
        "y = ConvTranspose<strides = [3, 3], output_shape = [18, 21]>(x, w)",
        {"w": random(4, 5, 2, 2)},
    ),
}


@pytest.mark.parametrize(("body", "weights"), WINDOWS.values(), ids=WINDOWS)
def test_windows_are_written_out(body, weights):
    model = read(body, **weights)
    (node,) = model.proto.graph.node
    names = {attribute.name for attribute in node.attribute}
    assert {"kernel_shape", "strides", "pads", "dilations"} <= names
    assert not {"auto_pad", "output_shape"} & names


# --- axes, indices, shapes ---

SPELLED = {
    "Softmax of old, last": ("y = Softmax<axis = 3>(x)", 11, {}, ["Softmax"]),
    "Softmax of old, default": ("y = Softmax(x)", 11, {}, ["Reshape", "Softmax", "Reshape"]),
    "LogSoftmax of old": ("y = LogSoftmax<axis = -2>(x)", 12, {}, ["Reshape", "LogSoftmax", "Reshape"]),
    "Softmax of old, all": ("y = Softmax<axis = 0>(x)", 12, {}, ["Reshape", "Softmax", "Reshape"]),
    "Softmax": ("y = Softmax<axis = 1>(x)", 13, {}, ["Softmax"]),
    "ReduceMean of everything": ("r = ReduceMean(x) y = Mul(x, r)", 17, {}, ["ReduceMean", "Mul"]),
    "ReduceSum of nothing": ("y = ReduceSum<noop_with_empty_axes = 1>(x)", 13, {}, ["Identity"]),
    "ReduceL2 of nothing": ("y = ReduceL2<noop_with_empty_axes = 1>(x, a)", 18, {"a": np.zeros(0, INT)}, ["Abs"]),
    "ReduceSumSquare of nothing": (
        ("y = ReduceSumSquare<noop_with_empty_axes = 1>(x, a)"),
        18,
        {"a": np.zeros(0, INT)},
        ["Mul"],
    ),
    "ReduceSum of empty axes": ("y = ReduceSum(x, a)", 13, {"a": np.zeros(0, INT)}, ["ReduceSum"]),
    "ArgMax": ("i = ArgMax<axis = -1>(x) y = Cast<to = 1>(i)", 13, {}, ["ArgMax", "Cast"]),
    "Slice backwards": (
        "y = Slice(x, s, e, a, t)",
        13,
        {"s": [-1, 0], "e": [-100, 9], "a": [-1, 0], "t": [-2, 1]},
        ["Slice"],
    ),
    "Slice without axes": ("y = Slice(x, s, e)", 13, {"s": [0, 1, 2, 3], "e": [1, 2, 3, 4]}, ["Slice"]),
    "Pad with axes": ("y = Pad(x, p, , a)", 18, {"p": [1, 2], "a": [-1]}, ["Pad"]),
    "Pad reflect": ('y = Pad<mode = "reflect">(x, p)', 13, {"p": [0, 0, 1, 2, 0, 0, 3, 0]}, ["Pad"]),
    "Pad negative": ("y = Pad(x, p)", 13, {"p": [0, 0, -1, 2, 0, 0, 1, -3]}, ["Slice", "Pad"]),
    "Split in equal parts": ("y, z = Split<axis = -2>(x)", 11, {}, ["Split"]),
    "Split num_outputs": ("y, z = Split<axis = 3, num_outputs = 2>(x)", 18, {}, ["Split"]),
    "Gather from the end": ("y = Gather<axis = 1>(x, i)", 13, {"i": [[-1, 0], [1, -2]]}, ["Gather"]),
    "GatherElements": ("y = GatherElements<axis = 3>(x, i)", 13, {"i": np.full((2, 4, 6, 2), -1)}, ["GatherElements"]),
    "GatherND": ("y = GatherND(x, i)", 13, {"i": [[-1, -1], [0, 1]]}, ["GatherND"]),
    "Scatter of old": (
        ("y = Scatter<axis = 3>(x, i, u)"),
        10,
        {"i": np.full((2, 4, 6, 1), 2), "u": random(2, 4, 6, 1)},
        ["ScatterElements"],
    ),
    "Flatten": ("y = Flatten<axis = 2>(x)", 13, {}, ["Reshape"]),
    "Reshape with 0 and -1": ("y = Reshape(x, s)", 13, {"s": [0, -1, 7]}, ["Reshape"]),
    "Reshape by another shape": ("t = Shape(x) y = Reshape(x, t)", 13, {}, ["Identity"]),
    "Transpose without perm": ("y = Transpose(x)", 13, {}, ["Transpose"]),
    "Expand": ("y = Expand(x, s)", 13, {"s": [3, 1, 1, 1, 1]}, ["Expand"]),
    "Tile": ("y = Tile(x, r)", 13, {"r": [1, 2, 1, 3]}, ["Tile"]),
    "TopK": ("y, i = TopK<axis = -1>(x, k)", 11, {"k": [3]}, ["TopK"]),
    "TopK of old": ("y, i = TopK(x, k)", 10, {"k": [3]}, ["TopK"]),
    "CumSum": ("y = CumSum(x, a)", 14, {"a": np.array(-1)}, ["CumSum"]),
    "Trilu": ("y = Trilu<upper = 0>(x, k)", 14, {"k": np.array(1)}, ["Trilu"]),
    "CastLike": ("y = CastLike(x, d)", 15, {"d": np.zeros(1)}, ["Cast"]),
    "DepthToSpace": ("y = DepthToSpace<blocksize = 2>(x)", 11, {}, ["DepthToSpace"]),
    "Mean": ("n = Abs(x) m = Exp(n) y = Mean(x, n, m)", 13, {}, ["Abs", "Exp", "Add", "Add", "Div"]),
    "Sum of three": ("n = Abs(x) y = Sum(x, n, x)", 13, {}, ["Abs", "Add", "Add"]),
    "Min of three, narrow": ("y = Min(x, c, d)", 13, {"c": random(4, 1, 1), "d": random(7)}, ["Min", "Min"]),
    "square": ("y = Pow(x, two)", 13, {"two": np.array(2, np.float32)}, ["Mul"]),
    "root": ("n = Abs(x) y = Pow(n, half)", 13, {"half": np.array(0.5, np.float32)}, ["Abs", "Sqrt"]),
    "cube": ("y = Pow(x, three)", 13, {"three": np.array(3, np.float32)}, ["Pow"]),
    "power of a constant": ("y = Pow(two, x)", 13, {"two": np.array([[2]], np.float32)}, ["Pow"]),
    "a square that broadcasts": ("y = Pow(x, two)", 13, {"two": np.full((3, 1, 1, 1, 1), 2, np.float32)}, ["Pow"]),
    "GroupNormalization 21": (
        ("y = GroupNormalization<num_groups = 2>(x, s, b)"),
        21,
        {"s": random(4), "b": random(4, seed=1)},
        ["GroupNormalization"],
    ),
    "GridSample 16": ('y = GridSample<mode = "bilinear">(x, g)', 16, {"g": random(2, 3, 3, 2)}, ["GridSample"]),
    "Clip of integers": (
        ("i = Cast<to = 7>(x) c = Clip(i, , m) y = Cast<to = 1>(c)"),
        13,
        {"m": np.array(2)},
        ["Cast", "Clip", "Cast"],
    ),
    "Clip at nothing": ("c = Clip(x, m) y = Neg(c)", 13, {"m": np.array(-np.inf, np.float32)}, ["Neg"]),
    "Clip by a computed bound": (
        ("m = ReduceMax<axes = [0, 1, 2, 3], keepdims = 0>(x) h = Neg(m) y = Clip(x, h, s)"),
        17,
        {"s": np.array(1, np.float32)},
        ["ReduceMax", "Neg", "Max", "Clip"],
    ),
    "PRelu": ("y = PRelu(x, s)", 13, {"s": random(1, 4, 1, 1)}, ["PRelu"]),
}


@pytest.mark.parametrize(("body", "opset", "weights", "ops"), SPELLED.values(), ids=SPELLED)
def test_spellings(body, opset, weights, ops):
    arrays = {name: value if isinstance(value, np.ndarray) else np.array(value, INT) for name, value in weights.items()}
    dtype = "double" if "CastLike" in body else "float"
    model = checked(network(f"(float[2,4,6,7] x) => ({dtype} y) {{ {body} }}", opset=opset, **arrays))
    assert operators(model) == ops


def test_one_hot():
    body = "(int64[3] x) => (float y) { y = OneHot<axis = -1>(x, d, v) }"
    model = checked(network(body, d=np.array([4]), v=np.array([0.5, 2], np.float32)))
    assert attributes(model, "OneHot") == {"axis": 1, "depth": 4}


RESIZES = {
    "scales": ('y = Resize<mode = "linear">(x, , f)', 13, {"f": np.array([1, 1, 2, 1.5], np.float32)}),
    "scales that do not divide": (
        'y = Resize<mode = "linear">(x, , f)',
        13,
        {"f": np.array([1, 1, 1.3, 0.6], np.float32)},
    ),
    "sizes": ('y = Resize<mode = "cubic">(x, , , s)', 13, {"s": [2, 4, 9, 5]}),
    "sizes of some axes": ('y = Resize<mode = "linear", axes = [2, 3]>(x, , , s)', 18, {"s": [9, 5]}),
    "not larger": (
        'y = Resize<mode = "linear", axes = [2, 3], keep_aspect_ratio_policy = "not_larger">(x, , , s)',
        18,
        {"s": [12, 20]},
    ),
    "align corners": (
        'y = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">(x, , , s)',
        13,
        {"s": [2, 4, 12, 14]},
    ),
    "crop": (
        (
            'y = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize", '
            "extrapolation_value = 2.0>(x, r, , s)"
        ),
        13,
        {"r": np.array([0, 0, 0.1, -0.2, 1, 1, 0.7, 1.2], np.float32), "s": [2, 4, 5, 5]},
    ),
    "Resize of opset 10": ('y = Resize<mode = "linear">(x, f)', 10, {"f": np.array([1, 1, 2, 3], np.float32)}),
    "Upsample": ('y = Upsample<mode = "linear">(x, f)', 9, {"f": np.array([1, 1, 2, 2], np.float32)}),
}


@pytest.mark.parametrize(("body", "opset", "weights"), RESIZES.values(), ids=RESIZES)
def test_resize(body, opset, weights):
    arrays = {name: value if isinstance(value, np.ndarray) else np.array(value, INT) for name, value in weights.items()}
    model = checked(network(f"(float[2,4,6,7] x) => (float y) {{ {body} }}", opset=opset, **arrays))
    found = attributes(model, "Resize")
    assert len(found["scales"]) == len(found["sizes"]) == 4
    assert not {"axes", "keep_aspect_ratio_policy"} & set(found)


# --- products ---

GEMMS = {
    "plain": ("y = Gemm(x, w, c)", (4, 5), (5,), ["Gemm"]),
    "transposed B": ("y = Gemm<transB = 1>(x, w, c)", (5, 4), (1, 5), ["Gemm"]),
    "scaled": ("y = Gemm<alpha = 0.3, beta = 0.7>(x, w, c)", (4, 5), (), ["Gemm"]),
    "without C": ("y = Gemm(x, w)", (4, 5), None, ["Gemm"]),
    "C a column": ("y = Gemm<beta = 0.5>(x, w, c)", (4, 5), (3, 1), ["Gemm", "Add"]),
    "C full": ("y = Gemm(x, w, c)", (4, 5), (3, 5), ["Gemm", "Add"]),
    "C computed": (
        "n = ReduceSum<keepdims = 0>(x) y = Gemm<beta = 0.5>(x, w, n)",
        (4, 5),
        None,
        ["ReduceSum", "Mul", "Gemm", "Add"],
    ),
    "MatMul": ("y = MatMul(x, w)", (4, 5), None, ["Gemm"]),
    "MatMul by a vector": ("y = MatMul(x, w)", (4,), None, ["MatMul"]),
    "MatMul of three": ("y = MatMul(x, w)", (2, 4, 5), None, ["MatMul"]),
}


@pytest.mark.parametrize(("body", "w", "c", "ops"), GEMMS.values(), ids=GEMMS)
def test_products_with_constants(body, w, c, ops):
    weights = {"w": random(*w), **({} if c is None else {"c": random(*c, seed=1)})}
    model = checked(network(f"(float[3,4] x) => (float y) {{ {body} }}", **weights))
    assert sorted(operators(model)) == sorted(ops)


def test_gemm_of_a_transposed_a():
    model = checked(network("(float[4,3] x) => (float y) { y = Gemm<transA = 1>(x, w) }", w=random(4, 5)))
    assert operators(model) == ["Transpose", "Gemm"]


def test_gemm_of_two_computed_operands_is_kept():
    model = checked(
        network(
            "(float[4,3] x, float[5,4] w, float[5] c) => (float y) { y = Gemm<transA = 1, transB = "
            "1, alpha = 0.5>(x, w, c) }"
        )
    )
    found = attributes(model, "Gemm")
    assert (found["alpha"], found["transA"], found["transB"]) == (0.5, 1, 1)


def test_batch_norm_with_computed_parameters_is_arithmetic():
    body = """(float[2,4,3,3] x, float[4] s, float[4] m) => (float y) {
      v = Abs(m) y = BatchNormalization<epsilon = 0.5>(x, s, b, m, v) }"""
    model = checked(network(body, b=random(4)))
    assert "BatchNormalization" not in operators(model)
    assert "BatchNormalization" not in operators(
        checked(network(body.replace("v = Abs(m)", "").replace("m, v)", "m, w)"), b=random(4), w=np.abs(random(4))))
    )


def test_constants_come_second_and_narrow():
    model = checked(network("(float[2,4,3,3] x) => (float y) { y = Add(c, x) }", c=random(1, 4, 1, 1)))
    (node,) = model.proto.graph.node
    (constant,) = model.proto.graph.initializer
    assert node.input[1] == constant.name
    assert list(constant.dims) == [4, 1, 1]


def test_a_constant_that_gives_the_rank_keeps_it():
    model = checked(network("(float[3] x) => (float[1,1,3] y) { y = Add(x, c) }", c=random(1, 1, 1)))
    assert list(model.proto.graph.initializer[0].dims) == [1, 1, 1]


# --- refusals ---

COMPUTED = {
    "Pad": (
        "(float[8] x, float[1] v) => (float[10] y) { z = ReduceMax<keepdims = 0>(v) y = Pad(x, one_one, z) }",
        "value",
    ),
    "Trilu": ("(float[8,8] x, int64[1] s) => (float[8,8] y) { k = ReduceMax<keepdims = 0>(s) y = Trilu(x, k) }", "k"),
    "CumSum": (
        "(float[8,8] x, int64[1] s) => (float[8,8] y) { k = ReduceMax<keepdims = 0>(s) y = CumSum(x, k) }",
        "axis",
    ),
}


@pytest.mark.parametrize(("body", "what"), COMPUTED.values(), ids=COMPUTED)
def test_an_operand_that_must_be_constant_is_named(body, what):
    with pytest.raises(UnsupportedOperatorError, match=f"its {what} is computed at run time"):
        ingest(network(body, two=np.array([2]), one_one=np.array([1, 1])), simplify=False)


REFUSED = {
    "Dropout in training": ("(float[8] x) => (float[8] y) { y = Dropout(x, r, t) }", "Dropout", "training mode"),
    "Dropout with a computed mode": (
        ("(float[8] x, bool m) => (float[8] y) { y = Dropout(x, r, m) }"),
        "Dropout",
        "training mode",
    ),
    "a mask that is used": (
        ("(float[8] x) => (float[8] y, bool[8] z) { y, m = Dropout(x) z = Not(m) }"),
        "Dropout",
        "mask",
    ),
    "negative reflection": ('(float[8] x) => (float[n] y) { y = Pad<mode = "reflect">(x, p) }', "Pad", "negative"),
    "rounded sizes": (
        (
            "(float[1,1,6,7] x) => (float y) { y = Resize<axes = [2, 3], "
            'keep_aspect_ratio_policy = "not_larger">(x, , , s) }'
        ),
        "Resize",
        "not_larger",
    ),
}


@pytest.mark.parametrize(("body", "op", "reason"), REFUSED.values(), ids=REFUSED)
def test_refusals(body, op, reason):
    weights = {"r": np.array(0.5, np.float32), "t": np.array(True), "p": np.array([-1, 2]), "s": np.array([9, 20])}
    with pytest.raises(UnsupportedOperatorError, match=reason) as caught:
        ingest(network(body, opset=18 if "Resize" in body else 13, **weights), simplify=False)
    assert caught.value.op == op


def test_dropout_with_a_constant_false_mode_goes():
    body = "(float[8] x) => (float[8] y) { h = Dropout(x, r, t) y = Neg(h) }"
    model = checked(network(body, r=np.array(0.5, np.float32), t=np.array(False)))
    assert operators(model) == ["Neg"]
