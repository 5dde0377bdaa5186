"""The reference: inputs from a seed, onnxruntime on the original, and originals that prove nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from edgevision.errors import UnresponsiveReferenceError, UnsupportedError
from edgevision.measure.reference import SCALES, Reference, constant_outputs, inputs_for
from edgevision.model import Camera, Model
from edgevision.tensor import TensorSpec

X = TensorSpec(name="x", shape=(1, 3, 4, 4))
Y = TensorSpec(name="y", shape=(1, 3, 4, 4))


def graph(body: str, outputs: str = "float[1,3,4,4] y") -> onnx.ModelProto:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,4,4] x) => ({outputs}) {{ {body} }}'
    return onnx.parser.parse_model(text)


def reference(body: str, outputs: tuple[TensorSpec, ...] = (Y,), text: str = "float[1,3,4,4] y") -> Reference:
    proto = graph(body, text)
    constant = constant_outputs(proto.graph)
    return Reference(proto.SerializeToString(), (X,), outputs, constant=constant)


def test_inputs_depend_on_seed_and_number_alone() -> None:
    one, many = inputs_for((X, Y), 7, 1), inputs_for((X, Y), 7, 3)
    np.testing.assert_array_equal(one[0][0], many[0][0])
    different = [many[0][0], many[1][0], many[0][1], inputs_for((X, Y), 8, 1)[0][0]]
    assert len({array.tobytes() for array in different}) == 4


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint8", 0, 255), ("int8", -128, 127), ("int64", 0, 3), ("int32", 0, 3), ("uint16", 0, 3), ("bool", 0, 1)],
)
def test_integer_inputs_cover_their_range(dtype: str, low: int, high: int) -> None:
    [[array]] = inputs_for([TensorSpec(name="x", shape=(100, 100), dtype=dtype)], 0, 1)
    assert (array.dtype, array.min(), array.max()) == (np.dtype(dtype), low, high)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_inputs_are_normal(dtype: str) -> None:
    [[array]] = inputs_for([TensorSpec(name="x", shape=(200, 100), dtype=dtype)], 0, 1, scale=8)
    assert array.dtype == np.dtype(dtype) and array.shape == (200, 100)
    assert abs(float(array.mean(dtype=np.float64))) < 0.3 and 7.8 < float(array.std(dtype=np.float64)) < 8.2


def test_onnxruntime_answers(tmp_path: Path) -> None:
    onnx.save(graph("y = Relu(x)"), tmp_path / "m.onnx")
    relu = Reference(tmp_path / "m.onnx", (X,), (Y,), seed=3)
    cases = relu.cases(2)
    for case in cases:
        np.testing.assert_array_equal(case.expected[0], np.maximum(case.inputs[0], 0))
    assert relu.name.startswith("onnxruntime 1.")


def test_each_case_runs_once_and_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    relu, runs = reference("y = Relu(x)"), []
    run = relu._case
    monkeypatch.setattr(relu, "_case", lambda inputs: runs.append(1) or run(inputs))
    first = relu.cases(1)[0]
    assert relu.cases(5)[0] is first and len(relu.cases(5)) == 5
    assert len(runs) == 5


IGNORES = {
    "times zero": "zero = Constant <value_float = 0.0> () z = Mul(x, zero) y = Relu(z)",
    "saturated": "big = Constant <value_float = 1000000.0> () z = Add(x, big) y = Sigmoid(z)",
    "all NaN": "zero = Constant <value_float = 0.0> () n = Div(zero, zero) y = Add(x, n)",
    "moves less than the allowed error": "k = Constant <value_float = 0.0000001> () z = Mul(x, k)"
    " one = Constant <value_float = 1.0> () y = Add(z, one)",
}


@pytest.mark.parametrize("body", IGNORES.values(), ids=IGNORES)
def test_a_reference_that_ignores_its_input_is_rejected(body: str) -> None:
    with pytest.raises(
        UnresponsiveReferenceError, match="output 'y' does not change between 3 random inputs"
    ) as raised:
        reference(body).cases(1)
    assert raised.value.exit_code == 5


def test_larger_inputs_wake_an_output_that_a_bias_drowns() -> None:
    biased = reference("k = Constant <value_float = 20000.0> () y = Add(x, k)")
    np.testing.assert_array_equal(biased.cases(1)[0].inputs[0], inputs_for((X,), 0, 1, scale=8)[0][0])
    assert biased.scale == SCALES[1]
    assert reference("y = Relu(x)").scale == SCALES[0]


SHAPE = TensorSpec(name="s", shape=(4,), dtype="int64")


def test_outputs_that_depend_on_no_input_are_excused() -> None:
    both = reference("y = Relu(x) s = Shape(x)", (Y, SHAPE), "float[1,3,4,4] y, int64[4] s")
    assert both.cases(1)[0].expected[1].tolist() == [1, 3, 4, 4]


def test_a_class_that_never_changes_is_excused_beside_scores_that_do() -> None:
    best = TensorSpec(name="c", shape=(1, 1), dtype="int64")
    body = "k = Constant <value = float[1,3] {0.0, 90.0, 0.0}> () a = Constant <value_ints = [2, 3]> ()"
    body += " m = ReduceMean <axes = [2, 3], keepdims = 0> (x) z = Add(m, k) c = ArgMax <axis = 1> (z) y = Relu(x)"
    with_scores = reference(body, (Y, best), "float[1,3,4,4] y, int64[1,1] c")
    assert with_scores.cases(1)[0].expected[1].item() == 1
    with pytest.raises(UnresponsiveReferenceError, match="'c'"):
        reference(body, (best,), "int64[1,1] c").cases(1)


def test_constant_outputs_are_found_through_subgraphs() -> None:
    branch = "b = Constant <value = bool {1}> () y = If (b) <then_branch = t () => (o) { o = Relu(x) },"
    branch += " else_branch = e () => (o) { o = Neg(x) }> s = Shape(x) c = Cast <to = 1> (s)"
    proto = graph(branch, "float[1,3,4,4] y, float[4] c, int64[4] s")
    assert constant_outputs(proto.graph) == {"s", "c"}


def test_what_onnxruntime_refuses_is_named() -> None:
    proto = graph("y = Relu(x)")
    proto.graph.node[0].op_type = "NoSuchOperator"
    broken = Reference(proto.SerializeToString(), (X,), (Y,))
    with pytest.raises(UnsupportedError, match="cannot load the model.*NoSuchOperator.*--no-verify"):
        broken.cases(1)
    wrong = Reference(graph("y = Relu(x)").SerializeToString(), (TensorSpec(name="x", shape=(1, 3, 4)),), (Y,))
    with pytest.raises(UnsupportedError, match="cannot run the model"):
        wrong.cases(1)


def test_a_folded_camera_feeds_the_original_what_it_expects() -> None:
    proto = graph("y = Relu(x)")
    pixels = TensorSpec(name="x", shape=(1, 4, 4, 3), dtype="uint8", layout="NHWC")
    camera = Camera(input="x", layout="NHWC", dtype="uint8", mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    model = Model(
        name="m",
        proto=proto,
        inputs=(pixels,),
        outputs=(Y,),
        opset=17,
        sha256="",
        original=proto.SerializeToString(),
        original_inputs=(X,),
        camera=camera,
    )
    case = Reference.of(model).cases(1)[0]
    assert case.inputs[0].shape == (1, 4, 4, 3) and case.inputs[0].dtype == np.uint8
    by_hand = (case.inputs[0].astype(np.float32) - [1, 2, 3]) / [2, 4, 8]
    np.testing.assert_allclose(case.expected[0], np.maximum(by_hand, 0).transpose(0, 3, 1, 2), rtol=1e-6)
