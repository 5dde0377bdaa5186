"""MACs and parameters by hand-computed figures, and what may not be counted."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.counting import Counts, count


def _model(nodes, inputs, output_shape, weights, opset=17):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def _ones(*shape):
    return np.ones(shape, np.float32)


def _conv(**attributes):
    return helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **attributes)


CASES = {
    "dense, border taps counted": (_conv(pads=[1] * 4), {"x": [1, 3, 8, 8]}, [1, 4, 8, 8], _ones(4, 3, 3, 3), 6912),
    "batch of two, strided": (_conv(strides=[2, 2]), {"x": [2, 3, 9, 9]}, [2, 4, 4, 4], _ones(4, 3, 3, 3), 3456),
    "depthwise": (_conv(group=6, pads=[1] * 4), {"x": [1, 6, 5, 5]}, [1, 6, 5, 5], _ones(6, 1, 3, 3), 1350),
    "transposed": (
        helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]),
        {"x": [1, 3, 4, 4]},
        [1, 5, 8, 8],
        _ones(3, 5, 2, 2),
        960,
    ),
    "gemm": (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), {"x": [2, 7]}, [2, 5], _ones(5, 7), 70),
    "gemm of a transposed input": (
        helper.make_node("Gemm", ["x", "w"], ["y"], transA=1),
        {"x": [7, 2]},
        [2, 5],
        _ones(7, 5),
        70,
    ),
    "matmul over leading axes": (
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        {"x": [2, 3, 7]},
        [2, 3, 5],
        _ones(7, 5),
        210,
    ),
}


@pytest.mark.parametrize(("node", "inputs", "output", "weight", "macs"), CASES.values(), ids=CASES)
def test_macs_of_one_node(node, inputs, output, weight, macs):
    counts = count(_model([node], inputs, output, {"w": weight}))
    assert (counts.macs, counts.parameters, counts.weight_bytes) == (macs, weight.size, 4 * weight.size)
    assert counts.macs_of(node.op_type) == macs and counts.macs_of("Add") == 0
    assert counts.per_node[0].output_shape == tuple(output) and not counts.uncounted


def test_shapes_between_nodes_are_inferred_and_the_model_is_left_alone():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="first"),
        helper.make_node("Conv", ["h", "v"], ["y"], name="second"),
    ]
    model = _model(nodes, {"x": [1, 3, 8, 8]}, [1, 2, 4, 4], {"w": _ones(8, 3, 3, 3), "v": _ones(2, 8, 3, 3)})
    before = model.SerializeToString(deterministic=True)
    counts = count(model)
    assert [node.macs for node in counts.per_node] == [8 * 36 * 27, 2 * 16 * 72]
    assert counts.macs == 8 * 36 * 27 + 2 * 16 * 72
    assert model.SerializeToString(deterministic=True) == before


def test_statistics_scales_and_scalars_are_no_parameters():
    names = ("gamma", "beta", "mean", "var")
    nodes = [
        helper.make_node("BatchNormalization", ["x", *names], ["a"]),
        helper.make_node("Resize", ["a", "", "scales"], ["b"], mode="nearest"),
        helper.make_node("Mul", ["b", "half"], ["y"]),
    ]
    weights = {name: _ones(3) for name in names}
    weights |= {"scales": np.array([1, 1, 2, 2], np.float32), "half": np.float32(0.5).reshape(())}
    counts = count(_model(nodes, {"x": [1, 3, 4, 4]}, [1, 3, 8, 8], weights))
    assert (counts.parameters, counts.macs) == (6, 0)


def test_a_shared_weight_counts_once_and_a_constant_node_counts():
    shared = [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Conv", ["h", "w"], ["y"])]
    counts = count(_model(shared, {"x": [1, 3, 4, 4]}, [1, 3, 4, 4], {"w": _ones(3, 3, 1, 1)}))
    assert (counts.parameters, counts.macs) == (9, 2 * 9 * 16)
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(_ones(3, 3, 1, 1)))
    counts = count(_model([constant, _conv()], {"x": [1, 3, 4, 4]}, [1, 3, 4, 4], {}))
    assert (counts.parameters, counts.macs) == (9, 9 * 16)


def test_an_open_shape_is_named_not_guessed():
    counts = count(_model([_conv()], {"x": ["n", 3, 4, 4]}, ["n", 3, 4, 4], {"w": _ones(3, 3, 1, 1)}))
    assert counts.uncounted == ("conv",)
    assert (counts.macs, counts.parameters, counts.per_node[0].macs) == (0, 9, None)


def test_a_body_counts_once():
    def branch(name):
        node = helper.make_node("Conv", ["x", "w"], [name], name=f"in {name}")
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4])
        return helper.make_graph([node], name, [], [value])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"))
    model = _model([node], {"x": [1, 3, 4, 4]}, [1, 3, 4, 4], {"w": _ones(3, 3, 1, 1)})
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    counts = count(model)
    assert (counts.macs, counts.parameters) == (2 * 9 * 16, 9)


def test_a_local_function_is_counted_inside():
    body = helper.make_node("Conv", ["a", "b"], ["c"])
    function = helper.make_function("mine", "Block", ["a", "b"], ["c"], [body], [helper.make_opsetid("", 17)])
    model = _model(
        [helper.make_node("Block", ["x", "w"], ["y"], domain="mine")],
        {"x": [1, 3, 4, 4]},
        [1, 3, 4, 4],
        {"w": _ones(3, 3, 1, 1)},
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    assert count(model).macs == 9 * 16


def test_quantized_weights_count_in_their_own_size():
    graph = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"]), _conv()]
    weights = {"q": np.ones((4, 3, 3, 3), np.int8), "s": np.float32(0.1).reshape(())}
    counts = count(_model(graph, {"x": [1, 3, 5, 5]}, [1, 4, 3, 3], weights))
    assert (counts.parameters, counts.weight_bytes, counts.macs) == (108, 108, 9 * 4 * 27)


def test_an_empty_graph_counts_nothing():
    assert count(onnx.ModelProto()) == Counts(macs=0, parameters=0, weight_bytes=0, per_node=())
