"""The interpreter of the proof agrees with those who wrote ONNX: the backend's node tests of what it computes itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.backend.test.case.node import collect_testcases

from edgevision.rewrite.reparam.interpreter import _FAST, Interpreter

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
