"""Chains of Shape, Gather, Concat and their kin vanish, with and without onnxsim; what does not depend on
shapes alone stays."""

import numpy as np
import pytest

from edgevision.errors import UnsupportedOperatorError
from edgevision.ingest import fold, read
from tests.ingest.nets import checked, counted, network, operators, random

CHAINS = {
    "view(batch, -1)": """s = Shape(x) zero = Constant<value = int64 {0}>() n = Gather(s, zero) ax =
      Constant<value = int64[1] {0}>()
      u = Unsqueeze(n, ax) m = Constant<value = int64[1] {-1}>() t = Concat<axis = 0>(u, m) y = Reshape(x, t)""",
    "size arithmetic": """s = Shape(x) h = Gather(s, i2) two = Constant<value = int64 {2}>() d = Div(h, two) f
      = Cast<to = 1>(d) c = Ceil(f)
      g = Cast<to = 7>(c) ax = Constant<value = int64[1] {0}>() e = Unsqueeze(g, ax) b = Constant<value =
      int64[1] {0}>() y = Slice(x, b, e, a2)""",
    "expand by ones": """s = Shape(x) o = ConstantOfShape<value = float[1] {1.0}>(s) y = Add(x, o)""",
    "range": """n = Constant<value = int64 {7}>() zero = Constant<value = int64 {0}>() one = Constant<value =
      int64 {1}>() r = Range(zero, n, one)
      f = Cast<to = 1>(r) y = Add(x, f)""",
    "size of a weight": """z = Constant<value = int64 {0}>() n = Size(seven) o = Constant<value = int64 {1}>()
      r = Range(z, n, o) f = Cast<to = 1>(r) y = Mul(x, f)""",
    "where": """s = Shape(x) m = Constant<value = int64[4] {-1, -1, -1, -1}>() q = Equal(s, m) w = Where(q, s,
      s) y = Expand(x, w)""",
    "part of a shape": (
        "s = Shape<start = 1, end = -1>(x) p = ReduceProd<keepdims = 0>(s) f = Cast<to = 1>(p) y = Div(x, f)"
    ),
    "size": "n = Size(x) f = Cast<to = 1>(n) y = Div(x, f)",
    "resize to twice": """s = Shape(x) hw = Slice(s, i2s, i4s) two = Constant<value = int64[1] {2}>() d =
      Mul(hw, two) nc = Slice(s, i0s, i2s)
      t = Concat<axis = 0>(nc, d) y = Resize(x, , , t)""",
}
INDICES = {
    "i2": np.array(2),
    "a2": np.array([2]),
    "seven": np.ones(7),
    "i0s": np.array([0]),
    "i2s": np.array([2]),
    "i4s": np.array([4]),
}
SHAPE_ARITHMETIC = {"Shape", "Size", "Gather", "Concat", "Range", "ConstantOfShape", "Where", "Cast", "Equal"}


@pytest.mark.parametrize("body", CHAINS.values(), ids=CHAINS)
def test_shape_arithmetic_vanishes(body):
    model = checked(
        network(f"(float[N,4,6,7] x) => (float y) {{ {body} }}", **INDICES), input_shapes={"": (2, 4, 6, 7)}
    )
    assert len(operators(model)) == 1
    assert not SHAPE_ARITHMETIC & set(operators(model))


def test_weights_that_are_computed_from_weights_are_computed_once():
    body = (
        "(float[1,4] x) => (float[1,5] y) { t = Transpose(w) a = Abs(t) n = ReduceSum<keepdims = "
        "0>(a) v = Div(t, n) y = MatMul(x, v) }"
    )
    assert operators(checked(network(body, w=random(5, 4)))) == ["Gemm"]


def test_random_numbers_are_not_constant():
    body = "(float[4] x) => (float[4] y) { r = RandomNormal<shape = [4]>() y = Add(x, r) }"
    assert counted(read(network(body), simplify=False))["RandomNormal"] == 1


def test_what_onnxruntime_lacks_is_left_and_the_rest_is_folded():
    """onnxruntime has no bfloat16 Tan."""
    body = """(float[4] x) => (float[4] y) { b = Cast<to = 16>(c) t = Tan(b) f = Cast<to = 1>(t) k = Neg(c) g =
      Add(x, k) y = Add(g, f) }"""
    proto = network(body, opset=22, c=random(4))
    fold.fold(proto, "net")
    assert [node.op_type for node in proto.graph.node] == ["Cast", "Tan", "Cast", "Add", "Add"]


def test_a_constant_that_would_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(fold, "CONSTANT_LIMIT_BYTES", 1000)
    body = (
        "(float[4] x) => (float y) { s = Constant<value = int64[2] {100, 4}>() o = ConstantOfShape(s) y = Add(x, o) }"
    )
    with pytest.raises(UnsupportedOperatorError, match="ConstantOfShape .* folds to a constant of"):
        read(network(body), simplify=False)


def test_a_large_weight_may_be_rearranged(monkeypatch):
    monkeypatch.setattr(fold, "CONSTANT_LIMIT_BYTES", 1000)
    body = "(float[1,40] x) => (float y) { t = Transpose(w) y = MatMul(x, t) }"
    assert operators(read(network(body, w=random(40, 40)), simplify=False)) == ["Gemm"]


def test_dead_nodes_and_weights_go():
    body = "(float[1,4] x) => (float[1,4] y) { d = Exp(x) e = MatMul(d, w) y = Neg(x) }"
    model = checked(network(body, w=random(4, 4)))
    assert operators(model) == ["Neg"]
    assert not model.proto.graph.initializer


def test_inputs_that_nothing_reads_stay():
    assert [
        s.name for s in checked(network("(float[4] x, float[4] unread) => (float[4] y) { y = Neg(x) }")).inputs
    ] == ["x", "unread"]


def test_constants_of_every_kind():
    body = """(float[4] x) => (float[4] y) { a = Constant<value_float = 2.5>() b = Constant<value_floats =
      [1.0, 2.0, 3.0, 4.0]>()
      c = Constant<value_ints = [4]>() p = Mul(x, a) q = Add(p, b) r = Reshape(q, c) i = Constant<value_int =
      3>() f = Cast<to = 1>(i) y = Div(r, f) }"""
    assert operators(checked(network(body))) == ["Mul", "Add", "Div"]


def test_a_local_function_is_written_out():
    from onnx import parser

    proto = parser.parse_model("""<ir_version: 8, opset_import: ["": 17, "acme": 1]> net (float[4] x) =>
      (float[4] y) { y = acme.Twice(x) }
      <domain: "acme", opset_import: ["": 17]> Twice (a) => (b) { t = Add(a, a) b = Neg(t) }""")
    assert operators(checked(proto)) == ["Add", "Neg"]


def test_the_domain_ai_onnx_is_the_default():
    proto = network("(float[4] x) => (float[4] y) { y = Neg(x) }")
    proto.opset_import[0].domain = "ai.onnx"
    proto.graph.node[0].domain = "ai.onnx"
    assert operators(read(proto, simplify=False)) == ["Neg"]


def test_the_same_input_gives_the_same_bytes():
    proto = network(f"(float[N,4,6,7] x) => (float y) {{ {CHAINS['resize to twice']} }}", **INDICES)
    options = {"input_shapes": {"": (2, 4, 6, 7)}, "simplify": False}
    first, second = (read(proto, **options).proto.SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_nodes_without_names_get_them_and_twins_are_told_apart():
    proto = network("(float[4] x) => (float[4] y) { a = Neg(x) b = Abs(a) y = Exp(b) }")
    for node in proto.graph.node[1:]:
        node.name = "twin"
    names = [node.name for node in read(proto, simplify=False).proto.graph.node]
    assert names == ["Neg_0", "twin", "twin_2"]


def test_sizes_are_clamped_in_slices_of_shapes():
    body = (
        "(float[2,4,6,7] x) => (float y) { b = Constant<value = int64[1] {-1000}>() e = "
        "Constant<value = int64[1] {9223372036854775807}>() y = Slice(x, b, e) }"
    )
    assert operators(checked(network(body))) == ["Identity"]
