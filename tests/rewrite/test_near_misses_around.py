"""Near misses of matrices, of what channels pass, and of the graph around: left alone, and still the same function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.rewrite.reparam import reparameterize
from tests.rewrite.nets import EAGER, Net, ops, rewritten, said

SAME = [1, 1, 1, 1]


# --- Gemm and MatMul -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attributes", "term"), [({"transA": 1}, (4,)), ({}, (3, 4)), ({}, (3, 1))],
                         ids=["transposed", "term a row", "term a row and one column"])  # fmt: skip
def test_another_gemm_stays(attributes: dict[str, int], term: tuple[int, ...]) -> None:
    net = Net()
    x = net.input([3, 3])
    y = net.node("Gemm", x, net.normal(3, 4), net.normal(*term), **attributes)
    assert not rewritten(net.model(net.node("Gemm", y, net.normal(4, 2))), EAGER).changed


@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5, "beta": 2.0, "transB": 1}], ids=["plain", "scaled"])
@pytest.mark.parametrize("term", [(4,), (1, 4), (1,), ()])
def test_gemms_in_a_row_are_one(attributes: dict[str, float], term: tuple[int, ...]) -> None:
    net = Net()
    weight = net.normal(4, 3) if attributes else net.normal(3, 4)
    y = net.node("Gemm", net.input(["n", 3]), weight, net.normal(*term), **attributes)
    assert ops(rewritten(net.model(net.node("MatMul", y, net.normal(4, 2))), EAGER, n=3).proto) == {"Gemm": 1}


def test_a_matrix_that_is_computed_stays() -> None:
    net = Net()
    x = net.input([1, 5, 4])
    y = net.node("MatMul", x, net.node("Softmax", net.node("Transpose", x, perm=[0, 2, 1])))
    proto = net.model(net.node("Mul", y, net.normal(5)))
    assert ops(rewritten(proto, EAGER).proto) == {"Transpose": 1, "Softmax": 1, "MatMul": 1, "Mul": 1}


def test_a_matrix_on_the_left_stays() -> None:
    net = Net()
    y = net.node("MatMul", net.normal(3, 4), net.input([4, 5]))
    assert not rewritten(net.model(net.node("Mul", y, net.normal(5))), EAGER).changed


# --- what channels pass ----------------------------------------------------------------------------------------------

WIRES: dict[str, Callable[[Net, str], str]] = {
    "mean over channels": lambda net, x: net.node("ReduceMean", x, axes=[1, 2, 3]),
    "mean over rows": lambda net, x: net.node("ReduceMean", x, axes=[2]),
    "largest": lambda net, x: net.node("GlobalMaxPool", x),
    "flattened pixels": lambda net, x: net.node("Flatten", x),
    "rows and columns": lambda net, x: net.node("Transpose", x, perm=[0, 1, 3, 2]),
    "channels and rows": lambda net, x: net.node("Transpose", x, perm=[0, 2, 1, 3]),
    "concatenated rows": lambda net, x: net.node("Concat", x, x, axis=2),
    "split rows": lambda net, x: net.node("Split", x, outputs=2, axis=2)[0],
    "shuffled otherwise": lambda net, x: net.node(
        "Reshape",
        net.node("Transpose", net.node("Reshape", x, net.constant([1, 2, 2, 4, 4])), perm=[0, 2, 1, 4, 3]),
        net.constant([1, 4, 4, 4])),
    "shuffled and cut": lambda net, x: net.node(
        "Reshape",
        net.node("Transpose", net.node("Reshape", x, net.constant([1, 2, 2, 4, 4])), perm=[0, 2, 1, 3, 4]),
        net.constant([1, 2, 2, 16])),
    "split into batch": lambda net, x: net.node(
        "Reshape",
        net.node("Transpose", net.node("Reshape", x, net.constant([1, 2, 4, 2, 4])), perm=[0, 2, 1, 3, 4]),
        net.constant([1, 4, 4, 4])),
}  # fmt: skip


@pytest.mark.parametrize("build", WIRES.values(), ids=WIRES)
def test_a_norm_does_not_pass_what_mixes_positions(build: Callable[[Net, str], str]) -> None:
    net = Net()
    y = build(net, net.norm(net.node("Relu", net.input([1, 4, 4, 4])), 4))
    result = rewritten(net.model(net.node("Relu", y)), EAGER)
    assert ops(result.proto)["BatchNormalization"] == 1


@pytest.mark.parametrize("pads", [SAME, [0] * 4], ids=["padded", "unpadded"])
def test_a_pool_swaps_only_where_it_pads_nothing(pads: list[int]) -> None:
    net = Net()
    x = net.conv(net.input([1, 8, 8, 8]), 8, 16, 1, bias=True)
    y = net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], pads=pads, count_include_pad=1)
    result = rewritten(net.model(y))
    assert (result.proto.graph.node[0].op_type == "AveragePool") is (pads != SAME) or ops(result.proto) == {"Conv": 1}


# --- the graph around ------------------------------------------------------------------------------------------------


def test_what_leaves_the_graph_stays() -> None:
    """The convolution's own output is wanted too: a second convolution would cost more than the norm."""
    net = Net()
    convolved = net.conv(net.input([1, 16, 12, 12]), 16, 16)
    result = rewritten(net.model(convolved, net.norm(convolved, 16)))
    assert not result.changed
    assert "needed by others" in said(result)


def test_what_another_branch_reads_stays() -> None:
    net = Net()
    convolved = net.conv(net.input([1, 16, 12, 12]), 16, 16)
    result = rewritten(net.model(net.node("Relu", convolved), net.node("Tanh", net.norm(convolved, 16))))
    assert ops(result.proto)["BatchNormalization"] == 1
    assert "needed by others" in said(result)


def test_what_the_body_of_an_if_reads_stays() -> None:
    net = Net()
    x = net.input([1, 4, 5, 5])
    kept = net.node("Identity", net.node("Relu", x))
    y = net.norm(net.conv(kept, 4, 4), 4)
    value = helper.make_tensor_value_info("inner", net.element, None)
    body = helper.make_graph([helper.make_node("Tanh", [kept], ["inner"])], "body", [], [value])
    chosen = net.node("If", net.constant(np.array(True)), then_branch=body, else_branch=body)
    result = rewritten(net.model(y, chosen))
    assert ops(result.proto) == {"Relu": 1, "Identity": 1, "Conv": 1, "If": 1}


def test_a_sum_of_two_inputs_before_a_convolution_stays_one_convolution() -> None:
    """Its stride makes two convolutions and a small sum cheaper in the model, but nobody wants more convolutions."""
    net = Net()
    total = net.node("Add", net.input([1, 4, 64, 64]), net.input([1, 4, 64, 64], "y"))
    y = net.conv(total, 4, 4, 1, group=4, strides=[4, 4])
    assert not rewritten(net.model(y)).changed


@pytest.mark.parametrize("opset", [8, 24])
def test_other_opsets_come_back_with_the_reason(opset: int) -> None:
    net = Net(opset=opset)
    proto = net.model(net.norm(net.conv(net.input([1, 3, 5, 5]), 3, 4), 4))
    result = reparameterize(proto)
    assert result.proto is proto
    assert f"opset {opset}" in said(result)


def test_custom_operators_are_left_alone() -> None:
    net = Net()
    y = net.conv(net.input([1, 3, 5, 5]), 3, 4)
    net.nodes.append(helper.make_node("BatchNormalization", [y, *[net.normal(4) for _ in "abcd"]], ["out"], domain="of.others"))
    graph = helper.make_graph(net.nodes, "g", net.inputs, [helper.make_tensor_value_info("out", net.element, None)],
                              net.initializers)  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("of.others", 1)])
    assert reparameterize(proto, prove=False).proto is proto


def test_a_convolution_whose_pads_are_negative_stays() -> None:
    net = Net()
    proto = net.model(net.conv(net.input([1, 3, 5, 5]), 3, 4))
    proto.graph.node[0].attribute.append(helper.make_attribute("pads", [-1, 0, 0, 0]))
    result = reparameterize(proto, prove=False)
    assert "negative" in said(result)


@pytest.mark.parametrize("attributes", [{"auto_pad": "SAME_UPPER"}, {"output_shape": [8, 8]}], ids=["auto_pad", "shape"])
def test_a_transposed_convolution_with_an_implied_padding_stays(attributes: dict[str, Any]) -> None:
    net = Net()
    y = net.node("ConvTranspose", net.input([1, 2, 4, 4]), net.normal(2, 3, 3, 3), strides=[2, 2], **attributes)
    result = reparameterize(net.model(net.norm(y, 3)), prove=False)
    assert not result.changed
    assert "output shape" in said(result)


def test_bfloat16_weights_are_read_and_written() -> None:
    net = Net(dtype=np.float32)
    proto = net.model(net.norm(net.conv(net.input([1, 3, 5, 5]), 3, 4), 4))
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.BFLOAT16, array.shape, array.reshape(-1).tolist()))
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    result = reparameterize(proto, prove=False)
    assert ops(result.proto) == {"Conv": 1}
    assert {t.data_type for t in result.proto.graph.initializer} == {TensorProto.BFLOAT16}


@pytest.mark.parametrize("op", ["ConvTranspose", "Gemm"])
def test_computed_weights_stay(op: str) -> None:
    net = Net()
    x = net.input([2, 2, 3, 3] if op == "ConvTranspose" else [2, 2])
    weight = net.node("Mul", net.normal(2, 2, 3, 3) if op == "ConvTranspose" else net.normal(2, 2),
                      net.node("ReduceMean", x, axes=list(range(4 if op == "ConvTranspose" else 2))))  # fmt: skip
    y = net.node("Mul", net.node(op, x, weight), net.constant(2.0))
    result = rewritten(net.model(y), EAGER)
    assert not result.changed
    assert "is computed" in said(result)


def test_a_pool_whose_padding_depends_on_open_extents_stays() -> None:
    net = Net()
    y = net.node("AveragePool", net.input([1, 2, "h", "w"]), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER",
                 count_include_pad=1)  # fmt: skip
    result = reparameterize(net.model(net.norm(y, 2)), cost=EAGER, prove=False)
    assert not result.changed
    assert "auto_pad" in said(result)


@pytest.mark.parametrize("wire", ["concat", "split", "shuffle"])
def test_a_dense_convolution_does_not_pass_what_moves_channels(wire: str) -> None:
    net = Net()
    x = net.conv(net.input([1, 4, 6, 6]), 4, 4, 1)
    if wire == "concat":
        y = net.node("Concat", x, net.input([1, 2, 6, 6], "y"), axis=1)
    elif wire == "split":
        y = net.node("Add", *net.node("Split", x, outputs=2, axis=1))
    else:
        middle = net.node("Transpose", net.node("Reshape", x, net.constant([1, 2, 2, 6, 6])), perm=[0, 2, 1, 3, 4])
        y = net.node("Reshape", middle, net.constant([1, 4, 6, 6]))
    result = rewritten(net.model(net.node("Relu", y)), EAGER)
    assert ops(result.proto)["Conv"] == 1


@pytest.mark.parametrize("read", [False, True], ids=["shuffle", "its middle leaves the graph"])
def test_a_norm_passes_a_shuffle_whose_middle_nobody_else_reads(read: bool) -> None:
    net = Net()
    x = net.norm(net.node("Relu", net.input([1, 4, 4, 4])), 4)
    middle = net.node("Transpose", net.node("Reshape", x, net.constant([1, 2, 2, 4, 4])), perm=[0, 2, 1, 3, 4])
    y = net.conv(net.node("Reshape", middle, net.constant([1, 4, 4, 4])), 4, 4)
    result = rewritten(net.model(net.node("Relu", y), *([middle] if read else [])), EAGER)
    assert ops(result.proto).get("BatchNormalization", 0) == read


def test_a_norm_behind_a_shuffle_goes_into_the_convolution_before_it() -> None:
    net = Net()
    x = net.conv(net.input([1, 4, 4, 4]), 4, 6, 1)
    middle = net.node("Transpose", net.node("Reshape", x, net.constant([1, 2, 3, 4, 4])), perm=[0, 2, 1, 3, 4])
    y = net.norm(net.node("Reshape", middle, net.constant([1, 6, 4, 4])), 6)
    assert ops(rewritten(net.model(net.node("Relu", y)), EAGER).proto) == {"Conv": 1, "Reshape": 2, "Transpose": 1, "Relu": 1}


@pytest.mark.parametrize("op", ["Identity", "Relu", "Mul", "Transpose"])
def test_an_operator_of_another_domain_is_not_read(op: str) -> None:
    net = Net()
    x = net.conv(net.input([1, 3, 5, 5]), 3, 4)
    inputs = [x, net.normal(4, 1, 1)] if op == "Mul" else [x]
    more = {"perm": [0, 2, 3, 1]} if op == "Transpose" else {}
    net.nodes.append(helper.make_node(op, inputs, ["theirs"], domain="of.others", **more))
    y = net.node("Mul", "theirs", net.normal(4, 1, 1) if op != "Transpose" else net.normal(4))
    values = [helper.make_tensor_value_info(y, net.element, None)]
    graph = helper.make_graph(net.nodes, "g", net.inputs, values, net.initializers)
    shape = [1, 3, 3, 4] if op == "Transpose" else [1, 4, 3, 3]
    graph.value_info.append(helper.make_tensor_value_info("theirs", net.element, shape))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("of.others", 1)])
    result = reparameterize(proto, cost=EAGER, prove=False)
    assert [(node.op_type, node.domain) for node in result.proto.graph.node] == [("Conv", ""), (op, "of.others"), ("Mul", "")]


def test_a_shuffle_of_an_open_number_of_channels_is_no_wire() -> None:
    net = Net()
    x = net.norm(net.node("Relu", net.input([1, "c", 4, 4])), 4)
    y = net.node("Transpose", net.node("Reshape", x, net.constant([1, 2, -1, 4, 4])), perm=[0, 2, 1, 3, 4])
    y = net.node("Relu", net.node("Reshape", y, net.constant([1, -1, 4, 4])))
    proto = net.model(y)
    for value in (*proto.graph.value_info, *proto.graph.output):
        if len(value.type.tensor_type.shape.dim) == 4:
            value.type.tensor_type.shape.dim[1].dim_param = "c"
    assert ops(rewritten(proto, EAGER, c=4).proto)["BatchNormalization"] == 1


def test_a_norm_before_channels_become_the_last_axis_goes_into_the_matrix() -> None:
    net = Net()
    x = net.norm(net.node("Relu", net.input([1, 4, 6, 5])), 4)
    y = net.node("MatMul", net.node("Transpose", x, perm=[0, 2, 3, 1]), net.normal(4, 8))
    assert ops(rewritten(net.model(y)).proto) == {"Relu": 1, "Transpose": 1, "MatMul": 1, "Add": 1}


def test_channels_that_a_reshape_writes_out_do_not_change_before_it() -> None:
    net = Net()
    pooled = net.node("GlobalAveragePool", net.conv(net.input([1, 4, 6, 6]), 4, 8, 1))
    y = net.node("Reshape", pooled, net.constant([1, 8]))
    result = rewritten(net.model(net.node("Gemm", y, net.normal(8, 3))), EAGER)
    assert ops(result.proto)["Conv"] == 1


@pytest.mark.parametrize("stored", ["initializer", "node"])
def test_a_concat_with_a_constant_is_no_wire(stored: str) -> None:
    net = Net()
    constant = net.normal(1, 2, 6, 6)
    if stored == "node":
        constant = net.node("Constant", value=net.initializers.pop())
    both = net.node("Concat", net.conv(net.input([1, 4, 6, 6]), 4, 4, 1), constant, axis=1)
    assert ops(rewritten(net.model(net.norm(both, 6)), EAGER).proto)["BatchNormalization"] == 1


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_mean_over_space_is_a_wire(axes: list[int], keepdims: int) -> None:
    for opset in (17, 18):
        net = Net(opset=opset)
        x = net.norm(net.node("Relu", net.input([1, 4, 6, 6])), 4)
        more = {"axes": axes} if opset == 17 else {}
        inputs = [x] if opset == 17 else [x, net.constant(axes)]
        y = net.node("ReduceMean", *inputs, keepdims=keepdims, **more)
        y = net.conv(y, 4, 3, 1) if keepdims else net.node("Gemm", y, net.normal(4, 3))
        assert "BatchNormalization" not in ops(rewritten(net.model(y), EAGER).proto)


def test_pads_with_axes_are_read() -> None:
    net = Net(opset=18)
    y = net.node("Pad", net.input([1, 3, 6, 6]), net.constant([1, 0, 2, 1]), "", net.constant([-1, 2]))
    assert ops(rewritten(net.model(net.conv(y, 3, 4, 3)), EAGER).proto) == {"Conv": 1}


def test_a_factor_that_is_stored_for_every_pixel_is_one_a_channel() -> None:
    net = Net()
    y = net.conv(net.input([1, 3, 6, 6]), 3, 2, 3)
    whole = np.broadcast_to(np.array([2.0, 3.0]).reshape(1, 2, 1, 1), (1, 2, 4, 4))
    assert ops(rewritten(net.model(net.node("Mul", y, net.constant(whole))), EAGER).proto) == {"Conv": 1}
