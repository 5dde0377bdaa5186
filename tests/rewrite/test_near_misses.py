"""One near miss for every guard: almost a case of the rule, left alone, and still the same function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.rewrite.reparam import reparameterize
from tests.rewrite.nets import EAGER, FRUGAL, Net, ops, rewritten, said

SAME = [1, 1, 1, 1]


def normed(convolved: Callable[[Net], str], channels: int = 4, **more: Any) -> onnx.ModelProto:
    """A BatchNormalization behind ``convolved``."""
    net = Net()
    return net.model(net.norm(convolved(net), channels, **more))


def two_convs(first: dict[str, Any], second: dict[str, Any], shape: Any = (1, 4, 6, 6)) -> onnx.ModelProto:
    net = Net()
    x = net.input(list(shape))
    kernels = [tuple(each.pop("kernel", (3, 3))) for each in (first, second)]
    return net.model(net.conv(net.conv(x, 4, 4, kernels[0], **first), 4, 4, kernels[1], **second))


# Two convolutions in a row. (first, second, shape, how many convolutions stay)
CHAINS = {
    "second pads nothing": ({"pads": SAME}, {}, (1, 4, 6, 6), 1),
    "both pad": ({"pads": SAME}, {"pads": SAME}, (1, 4, 6, 6), 2),
    "second pads before": ({}, {"pads": [1, 0, 0, 0]}, (1, 4, 6, 6), 2),
    "second pads behind": ({}, {"pads": [0, 0, 0, 1]}, (1, 4, 6, 6), 2),
    "padding behind that is not read": ({"kernel": (1, 1)}, {"pads": [0, 0, 1, 1], "strides": [2, 2]}, (1, 4, 7, 7), 1),
    "first sees padding only": ({"pads": [2] * 4}, {"pads": SAME}, (1, 4, 6, 6), 1),
    "first sees padding only, one short before": ({"pads": [1, 2, 2, 2]}, {"pads": SAME}, (1, 4, 6, 6), 2),
    "first sees padding only, one short behind": ({"pads": [2, 2, 2, 1]}, {"pads": SAME}, (1, 4, 6, 6), 2),
    "open, first sees padding only": ({"pads": [2] * 4}, {"pads": SAME}, (1, 4, "h", "w"), 1),
    "open, one short behind": ({"pads": [2, 2, 2, 1]}, {"pads": SAME}, (1, 4, "h", "w"), 2),
    "padding behind that is not read, wider": ({}, {"pads": [0, 0, 1, 1], "strides": [2, 2]}, (1, 4, 9, 9), 1),
    "padding behind that is read": ({}, {"pads": [0, 0, 1, 1], "strides": [2, 2]}, (1, 4, 10, 10), 2),
    "bias, unpadded, open": ({"bias": True}, {}, (1, 4, "h", "w"), 1),
    "bias, unpadded": ({"bias": True}, {}, (1, 4, 6, 6), 1),
    "bias, padded, extents open": ({"kernel": (1, 1), "bias": True}, {"pads": SAME}, (1, 4, "h", "w"), 2),
    "strided first": ({"strides": [2, 2]}, {}, (1, 4, 9, 9), 1),
    "strided pointwise first": ({"kernel": (1, 1), "strides": [2, 2]}, {"pads": SAME}, (1, 4, 9, 9), 1),
    "open strided pointwise first": ({"kernel": (1, 1), "strides": [2, 2]}, {"pads": SAME}, (1, 4, "h", "w"), 1),
}


@pytest.mark.parametrize("case", CHAINS.values(), ids=CHAINS)
def test_a_chain_is_one_convolution_only_where_the_border_allows_it(case: tuple[Any, ...]) -> None:
    first, second, shape, left = case
    result = rewritten(two_convs(dict(first), dict(second), shape), EAGER, h=7, w=9)
    assert ops(result.proto)["Conv"] == left
    if left == 2:
        assert "border" in said(result) or "padded" in said(result) or "missing" in said(result)


def test_a_bias_before_a_padded_convolution_becomes_a_map_where_that_pays() -> None:
    proto = two_convs({"kernel": (1, 1), "bias": True}, {"pads": SAME})
    assert ops(rewritten(proto, FRUGAL).proto) == {"Conv": 1, "Add": 1}
    assert ops(rewritten(proto, EAGER).proto) == {"Conv": 2}


# Two branches of one input. (attributes of a 3x3, attributes of the other, shape, how many convolutions stay)
BRANCHES = {
    "aligned": ({"pads": SAME}, {"kernel": (1, 1)}, (1, 4, 6, 6), 1),
    "off centre": ({"pads": [0, 0, 2, 2]}, {"kernel": (1, 1)}, (1, 4, 6, 6), 1),
    "strided alike": ({"pads": SAME, "strides": [2, 2]}, {"kernel": (1, 1), "strides": [2, 2]}, (1, 4, "h", "w"), 1),
    "even window, even extents": (
        {"pads": SAME, "strides": [2, 2]}, {"kernel": (2, 2), "strides": [2, 2]}, (1, 4, 6, 8), 1,
    ),
    "strides differ": ({"pads": SAME, "strides": [2, 2]}, {"kernel": (4, 4)}, (1, 4, 6, 6), 2),
}  # fmt: skip


@pytest.mark.parametrize("case", BRANCHES.values(), ids=BRANCHES)
def test_branches_merge_only_where_their_windows_agree(case: tuple[Any, ...]) -> None:
    one, other, shape, left = case
    net = Net()
    x = net.input(list(shape))
    kernels = [each.get("kernel", (3, 3)) for each in (one, other)]
    parts = [net.conv(x, 4, 4, k, **{n: v for n, v in e.items() if n != "kernel"})
             for k, e in zip(kernels, (one, other), strict=True)]  # fmt: skip
    assert ops(rewritten(net.model(net.node("Add", *parts)), EAGER, h=7, w=9).proto)["Conv"] == left


def test_an_even_window_does_not_merge_while_extents_are_open() -> None:
    """On 7 pixels the sum would broadcast 3 against 4: it agrees on even extents only."""
    net = Net()
    x = net.input([1, 4, "h", "w"])
    dense = net.conv(x, 4, 4, 3, pads=SAME, strides=[2, 2])
    pooled = net.conv(net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), 4, 4, 1)
    result = rewritten(net.model(net.node("Add", dense, pooled)), EAGER, h=6, w=8)
    assert ops(result.proto)["Conv"] == 2
    assert "open" in said(result)


@pytest.mark.parametrize("first", [True, False])
def test_a_transposed_convolution_does_not_merge_with_another_kind(first: bool) -> None:
    net = Net()
    x = net.input([1, 2, 5, 5])
    parts = [net.node("ConvTranspose", x, net.normal(2, 2, 1, 1)), net.conv(x, 2, 2, 1)]
    y = net.node("Add", *(parts if first else parts[::-1]))
    assert ops(rewritten(net.model(y), EAGER).proto) == {"ConvTranspose": 1, "Conv": 1, "Add": 1}


@pytest.mark.parametrize("other", [{"kernel": 4, "strides": [2, 2], "pads": SAME}, {"kernel": 4}], ids=["kernel", "stride"])
def test_transposed_convolutions_of_other_geometry_do_not_merge(other: dict[str, Any]) -> None:
    net = Net()
    x = net.input([1, 2, 3, 3])
    one = net.node("ConvTranspose", x, net.normal(2, 2, 2, 2), strides=[2, 2])
    more = {name: value for name, value in other.items() if name != "kernel"}
    y = net.node("Add", one, net.node("ConvTranspose", x, net.normal(2, 2, 4, 4), **more))
    assert ops(rewritten(net.model(y), EAGER).proto)["ConvTranspose"] == 2


def test_a_convolution_before_a_transposed_one_stays() -> None:
    net = Net()
    y = net.node("ConvTranspose", net.conv(net.input([1, 2, 4, 4]), 2, 2, 1), net.normal(2, 2, 3, 3))
    assert not rewritten(net.model(y), EAGER).changed


def test_a_term_before_a_transposed_convolution_stays() -> None:
    net = Net()
    y = net.node("ConvTranspose", net.norm(net.input([1, 2, 4, 4]), 2), net.normal(2, 2, 3, 3), pads=SAME)
    result = rewritten(net.model(y), EAGER)
    assert not result.changed
    assert "ConvTranspose" in said(result)


def _computed_weight(net: Net) -> str:
    x = net.input([1, 4, 6, 6])
    pooled = net.node("ReduceMean", x, axes=[0, 1, 2, 3])
    return net.conv(x, 4, 4, 3, weight=net.node("Mul", net.normal(4, 4, 3, 3), pooled))


def _computed_bias(net: Net) -> str:
    x = net.input([1, 4, 6, 6])
    bias = net.node("Reshape", net.node("ReduceMean", x, axes=[2, 3]), net.constant([4]))
    return net.node("Conv", x, net.normal(4, 4, 3, 3), bias)


def _pool(net: Net, shape: Any = (1, 4, 6, 6), **attributes: Any) -> str:
    return net.node("AveragePool", net.input(list(shape)), **{"kernel_shape": [3, 3]} | attributes)


def _padded(net: Net, amounts: list[int], value: float | None = None, mode: str = "constant") -> str:
    x = net.input([1, 4, 6, 6])
    inputs = [x, net.constant(amounts)] + ([] if value is None else [net.constant(value)])
    return net.conv(net.node("Pad", *inputs, mode=mode), 4 + amounts[1] + amounts[5], 4, 3)


# What is linear, or nearly; the reason that is given; None where nothing says more than the operator itself.
NEAR_MISSES: dict[str, tuple[Callable[[Net], str], str | None]] = {
    "weight is computed": (_computed_weight, "is computed"),
    "bias is computed": (_computed_bias, "is computed"),
    "pool divides by fewer at the border": (lambda net: _pool(net, pads=SAME), "count_include_pad"),
    "pool reaches past the edge": (lambda net: _pool(net, ceil_mode=1, strides=[2, 2]), "ceil_mode"),
    "pool may reach past the edge": (lambda net: _pool(net, (1, 4, "h", "w"), ceil_mode=1, strides=[2, 2]), "ceil_mode"),
    "padding depends on open extents": (
        lambda net: net.conv(net.input([1, 4, "h", "w"]), 4, 4, 3, strides=[2, 2], auto_pad="SAME_UPPER"), "auto_pad"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_norm_stays_behind_what_is_not_linear(case: tuple[Callable[[Net], str], str | None]) -> None:
    build, reason = case
    result = rewritten(normed(build), EAGER, h=6, w=6)
    assert not result.changed
    assert reason is None or reason in said(result)


TWINS: dict[str, Callable[[Net], str]] = {
    "pool with include": lambda net: _pool(net, pads=SAME, count_include_pad=1),
    "pool to the edge": lambda net: _pool(net, (1, 4, 7, 7), ceil_mode=1, strides=[2, 2]),
    "same upper": lambda net: net.conv(net.input([1, 4, 7, 8]), 4, 4, 3, strides=[2, 2], auto_pad="SAME_UPPER"),
    "same lower": lambda net: net.conv(net.input([1, 4, 8, 7]), 4, 4, 4, strides=[2, 2], auto_pad="SAME_LOWER"),
    "same, open, no stride": lambda net: net.conv(net.input([1, 4, "h", "w"]), 4, 4, 3, auto_pad="SAME_UPPER"),
    "valid": lambda net: net.conv(net.input([1, 4, 7, 8]), 4, 4, 3, auto_pad="VALID"),
}


@pytest.mark.parametrize("build", TWINS.values(), ids=TWINS)
def test_and_goes_into_what_is(build: Callable[[Net], str]) -> None:
    assert ops(rewritten(normed(build), EAGER, h=6, w=6).proto) == {"Conv": 1}


# Pads before a convolution. (amounts, value, mode)
PADS = {
    "ones": ([0, 0, 1, 1, 0, 0, 1, 1], 1.0, "constant"),
    "reflected": ([0, 0, 1, 1, 0, 0, 1, 1], None, "reflect"),
    "channels": ([0, 1, 1, 1, 0, 0, 1, 1], None, "constant"),
    "cropped": ([0, 0, 1, -1, 0, 0, 1, 1], None, "constant"),
}


@pytest.mark.parametrize("case", PADS.values(), ids=PADS)
def test_other_padding_stays_before_a_convolution(case: tuple[list[int], float | None, str]) -> None:
    net = Net()
    assert not reparameterize(net.model(_padded(net, *case)), cost=EAGER, prove=False).changed


def test_computed_padding_stays() -> None:
    net = Net()
    x = net.input([1, 2, 6, 6])
    size = net.node("Mul", net.node("Shape", x), net.constant([0, 0, 0, 1]))
    net.inputs[0].type.tensor_type.shape.dim[3].dim_param = "w"
    y = net.conv(net.node("Pad", x, net.node("Concat", size, net.constant([0, 0, 0, 0]), axis=0)), 2, 2, 3)
    assert ops(rewritten(net.model(y), EAGER, w=6).proto)["Pad"] == 1


def overridable(proto: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """``proto`` whose initializers named may be given as inputs too."""
    for tensor in proto.graph.initializer:
        if tensor.name in names:
            proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return proto


@pytest.mark.parametrize("position", [1, 2], ids=["weight", "bias"])
def test_what_an_input_can_override_is_no_constant(position: int) -> None:
    net = Net()
    y = net.norm(net.conv(net.input([1, 3, 5, 5]), 3, 4, bias=True), 4)
    proto = net.model(y)
    result = rewritten(overridable(proto, proto.graph.node[0].input[position]), EAGER)
    assert not result.changed
    assert "overridden" in said(result)


@pytest.mark.parametrize("position", [1, 2, 3, 4])
def test_a_norm_that_an_input_can_override_stays(position: int) -> None:
    net = Net()
    proto = net.model(net.norm(net.conv(net.input([1, 3, 5, 5]), 3, 4), 4))
    result = rewritten(overridable(proto, proto.graph.node[1].input[position]), EAGER)
    assert not result.changed
    assert "overridden" in said(result)


def test_a_norm_in_training_mode_stays() -> None:
    net = Net()
    proto = net.model(net.norm(net.conv(net.input([1, 3, 5, 5]), 3, 4), 4, training_mode=1))
    result = reparameterize(proto, cost=EAGER, prove=False)
    assert not result.changed
    assert "training mode" in said(result)


# A convolution, then arithmetic that is not one factor and one term a channel.
def _gate(net: Net, x: str) -> str:
    return net.node("Add", x, net.node("GlobalAveragePool", x))


ARITHMETIC: dict[str, Callable[[Net, str], str]] = {
    "divided by": lambda net, x: net.node("Div", net.normal(4, 1, 1), x),
    "varies over columns": lambda net, x: net.node("Mul", x, net.normal(4)),
    "varies over rows": lambda net, x: net.node("Mul", x, net.normal(1, 4, 1)),
    "varies within a channel": lambda net, x: net.node("Add", x, net.normal(1, 4, 4, 4)),
    "makes the batch larger": lambda net, x: net.node("Add", x, net.normal(3, 4, 1, 1)),
    "has more axes": lambda net, x: net.node("Mul", x, net.normal(1, 1, 4, 1, 1)),
    "a tensor that broadcasts": _gate,
    "power": lambda net, x: net.node("Pow", x, net.constant(2.0)),
}


@pytest.mark.parametrize("build", ARITHMETIC.values(), ids=ARITHMETIC)
def test_other_arithmetic_stays_behind_a_convolution(build: Callable[[Net, str], str]) -> None:
    net = Net()
    proto = net.model(build(net, net.conv(net.input([1, 4, 6, 6]), 4, 4)))
    result = rewritten(proto, EAGER)
    assert [node.op_type for node in result.proto.graph.node] == [node.op_type for node in proto.graph.node]


def test_one_channel_does_not_grow_to_several() -> None:
    net = Net()
    y = net.node("Mul", net.conv(net.input([1, 4, 6, 6]), 4, 1), net.normal(4, 1, 1))
    assert not rewritten(net.model(y), EAGER).changed


def test_division_by_zero_stays() -> None:
    net = Net()
    proto = net.model(net.node("Div", net.conv(net.input([1, 4, 6, 6]), 4, 2), net.constant(np.array([[[1.0]], [[0.0]]]))))
    result = reparameterize(proto, cost=EAGER, prove=False)
    assert not result.changed
    assert "divides by zero" in said(result)


def test_integers_stay() -> None:
    net = Net(dtype=np.int64)  # type: ignore[arg-type]
    x = net.input([1, 4, 6, 6])
    one = net.constant(np.ones((4, 1, 1), np.int64))
    y = net.node("Add", net.node("Add", x, one), one)
    proto = net.model(y)
    assert reparameterize(proto, cost=EAGER, prove=False).proto is proto


def test_tensors_of_open_extents_may_broadcast() -> None:
    net = Net()
    x, y = net.input([1, 4, "h", "w"]), net.input([1, 4, "a", "b"], "y")
    proto = net.model(net.norm(net.node("Add", net.conv(x, 4, 4, 1), net.conv(y, 4, 4, 1)), 4))
    result = rewritten(proto, EAGER, h=5, w=6, a=1, b=1)
    assert ops(result.proto)["Add"] == 1
    assert ops(result.proto)["BatchNormalization"] == 1


def _dropout(net: Net, x: str, training: bool) -> str:
    flag = net.constant(np.array(training))
    return net.node("Dropout", x, net.constant(np.array(0.5)), flag)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_stays_in_training_mode(training: bool) -> None:
    net = Net()
    y = _dropout(net, net.node("Relu", net.input([1, 2, 3, 3])), training)
    result = reparameterize(net.model(net.node("Sigmoid", y)), cost=EAGER, prove=False)
    assert result.changed is not training


def test_dropout_stays_while_its_mask_is_read() -> None:
    net = Net()
    y, mask = net.node("Dropout", net.node("Relu", net.input([1, 2, 3, 3])), outputs=2)
    proto = net.model(net.node("Sigmoid", y))
    proto.graph.output.append(helper.make_tensor_value_info(mask, TensorProto.BOOL, None))
    assert not reparameterize(proto, cost=EAGER, prove=False).changed


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


def test_channels_that_a_reshape_writes_out_do_not_change_before_it() -> None:
    net = Net()
    pooled = net.node("GlobalAveragePool", net.conv(net.input([1, 4, 6, 6]), 4, 8, 1))
    y = net.node("Reshape", pooled, net.constant([1, 8]))
    result = rewritten(net.model(net.node("Gemm", y, net.normal(8, 3))), EAGER)
    assert ops(result.proto)["Conv"] == 1


def test_a_concat_with_a_constant_is_no_wire() -> None:
    net = Net()
    both = net.node("Concat", net.conv(net.input([1, 4, 6, 6]), 4, 4, 1), net.normal(1, 2, 6, 6), axis=1)
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
