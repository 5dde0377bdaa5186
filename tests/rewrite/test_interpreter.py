"""The interpreter of the proof agrees with those who wrote ONNX: the backend's node tests of what it computes itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import erf, sqrt
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from edgevision.rewrite.reparam.interpreter import _FAST, MANY_TAPS, Interpreter

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    CASES = {case.name: case for case in collect_testcases(None)
             if case.model is not None and {node.op_type for node in case.model.graph.node} <= set(_FAST)}  # fmt: skip


def test_there_are_cases_of_every_operator() -> None:
    assert {node.op_type for case in CASES.values() for node in case.model.graph.node} == set(_FAST)
    assert len(CASES) > 60


@pytest.mark.parametrize("name", CASES)
def test_the_interpreter_gives_what_the_backend_test_expects(name: str) -> None:
    case = CASES[name]
    for given, expected in case.data_sets:
        feeds: dict[str, Any] = {value.name: array for value, array in zip(case.model.graph.input, given, strict=True)}
        found = Interpreter(case.model, np.float64).final(feeds)
        for value, array in zip(case.model.graph.output, expected, strict=True):
            assert found[value.name].shape == array.shape
            np.testing.assert_allclose(found[value.name], array, rtol=1e-3, atol=1e-5)


def test_padding_does_not_count_in_a_pool_of_integers() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    values = [helper.make_tensor_value_info(name, TensorProto.INT8, [1, 1, 3, 3]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]))
    found = Interpreter(model, np.float64).final({"x": np.full((1, 1, 3, 3), -7, np.int8)})
    assert (found["y"] == -7).all()


def evaluated(node: NodeProto, x: np.ndarray, **constants: np.ndarray) -> np.ndarray:
    """``node`` of x, in float64."""
    shapes = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in "xy"]
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([node], "g", shapes[:1], shapes[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return Interpreter(model, np.float64).final({"x": x})["y"]


@pytest.mark.parametrize(("op", "exact"), [("Erf", erf), ("Gelu", lambda x: x / 2 * (1 + erf(x / sqrt(2))))])
def test_the_error_function_has_more_than_float32(op: str, exact: Callable[[float], float]) -> None:
    x = np.linspace(-5, 5, 201)
    found = evaluated(helper.make_node(op, ["x"], ["y"]), x)
    np.testing.assert_allclose(found, [exact(value) for value in x], rtol=1e-13, atol=1e-15)


LARGE = {
    "square": ((9, 9), {"pads": [4, 4, 4, 4]}),
    "strip": ((25, 3), {"pads": [12, 1, 12, 1]}),
    "strided, dilated, asymmetric": ((7, 8), {"pads": [3, 1, 4, 5], "strides": [2, 3], "dilations": [1, 2]}),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("infinite", [False, True])
def test_a_large_depthwise_kernel_is_the_sum_over_its_taps(name: str, infinite: bool) -> None:
    kernel, more = LARGE[name]
    assert np.prod(kernel) >= MANY_TAPS
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((2, 3, 26, 23)), random.standard_normal((3, 1, *kernel))
    if infinite:
        x[0, 0, 13, 11] = np.inf
    found = evaluated(helper.make_node("Conv", ["x", "w"], ["y"], group=3, **more), x, w=weight)
    apart = [  # one channel at a time is no depthwise convolution
        evaluated(helper.make_node("Conv", ["x", "w"], ["y"], **more), np.repeat(x[:, c : c + 1], 2, 1),
                  w=np.concatenate([weight[c : c + 1], np.zeros_like(weight[:1])], 1))
        for c in range(3)
    ]  # fmt: skip
    expected = np.concatenate(apart, 1)
    assert np.isfinite(found).sum() >= np.isfinite(expected).sum()
    both = np.isfinite(expected)
    np.testing.assert_allclose(found[both], expected[both], rtol=0, atol=1e-12)
    assert infinite == bool((~np.isfinite(found)).any())
