"""The ONNX backend's own node tests: whatever the operator, rank or type, nothing fails and no value changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.backend.test.case.node import collect_testcases
from onnx.reference import ReferenceEvaluator

from edgevision.rewrite.reparam import reparameterize
from tests.rewrite.nets import EAGER, Net


def without_shapes(proto: onnx.ModelProto) -> None:
    """Inputs of unknown rank."""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        value.type.tensor_type.ClearField("shape")


def with_open_extents(proto: onnx.ModelProto) -> None:
    for value in proto.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            dim.dim_param = f"{value.name}{axis}"
    for value in (*proto.graph.output, *proto.graph.value_info):
        value.type.tensor_type.ClearField("shape")


def as_they_are(proto: onnx.ModelProto) -> None:
    """Nothing."""


@pytest.mark.parametrize("change", [as_they_are, without_shapes, with_open_extents])
def test_every_node_test_of_the_onnx_backend(change: Callable[[onnx.ModelProto], None]) -> None:
    changed = tried = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [case for case in collect_testcases(None) if case.model is not None]
    for case in cases:
        if any(value.type.WhichOneof("value") != "tensor_type" for value in case.model.graph.input):
            continue
        proto = onnx.ModelProto()
        proto.CopyFrom(case.model)
        change(proto)
        result = reparameterize(proto, cost=EAGER, prove=False)
        tried += 1
        if result.changed:
            changed += 1
            for given, expected in case.data_sets:
                feeds = {value.name: array for value, array in zip(proto.graph.input, given, strict=False)}
                found = ReferenceEvaluator(result.proto).run(None, feeds)
                for a, b in zip(found, expected, strict=True):
                    np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-4, atol=1e-5)
    assert tried > 1500
    assert (changed > 0) is (change is not without_shapes)


CONSTANT_RANKS = [(), (1,), (3,), (1, 3), (2, 1), (2, 3), (1, 1, 1), (1, 2, 3)]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("rank", range(4))
def test_arithmetic_of_every_rank(op: str, rank: int) -> None:
    for shape in CONSTANT_RANKS:
        for first in (True, False):
            net = Net()
            x = net.input([2, 2, 3][3 - rank :] if rank else [])
            value = net.constant(net.random.uniform(1, 2, shape))
            inputs = (value, x) if first else (x, value)
            try:
                proto = net.model(net.node("Mul", net.node(op, *inputs), net.constant(2.0)))
            except onnx.shape_inference.InferenceError:
                continue
            feeds = {"x": net.random.standard_normal([2, 2, 3][3 - rank :] if rank else [])}
            try:
                before = ReferenceEvaluator(proto).run(None, feeds)
            except ValueError:  # these do not broadcast
                continue
            after = ReferenceEvaluator(reparameterize(proto, cost=EAGER, prove=False).proto).run(None, feeds)
            np.testing.assert_allclose(after[0], before[0], rtol=1e-12)
            assert np.shape(after[0]) == np.shape(before[0])


def test_tensors_of_unknown_rank_behind_a_custom_operator() -> None:
    """Nothing is known of what comes out of it; a convolution behind it knows its channels all the same."""
    net = Net(dtype=np.float32)
    x = net.input([1, 3, 8, 8])
    net.nodes.append(helper.make_node("Anything", [x], ["unknown"], domain="of.others"))
    y = net.norm(net.conv("unknown", 3, 4, 3), 4)
    z = net.node("Add", net.node("Mul", "unknown", net.normal(3, 1, 1)), net.node("Identity", "unknown"))
    values = [helper.make_tensor_value_info(name, net.element, None) for name in (y, z)]
    graph = helper.make_graph(net.nodes, "g", net.inputs, values, net.initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("of.others", 1)])
    result = reparameterize(proto, prove=False)
    assert [node.op_type for node in result.proto.graph.node][:2] == ["Anything", "Conv"] or not result.changed
