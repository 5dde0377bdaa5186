"""Open extents: which are known to be the same, and which are not."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import helper

from edgevision.rewrite.reparam.constants import Constants
from edgevision.rewrite.reparam.extents import Shapes
from tests.rewrite.nets import Net

OPEN = [1, 4, "h", "w"]


def shapes(net: Net, *outputs: str) -> Shapes:
    values = [helper.make_tensor_value_info(name, net.element, None) for name in outputs]
    imports = [helper.make_opsetid("", net.opset), helper.make_opsetid("of.others", 1)]
    graph = helper.make_graph(net.nodes, "g", net.inputs, values, net.initializers)
    proto = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=imports))
    return Shapes(proto, Constants(proto.graph, net.opset))


def halved(net: Net, x: str, op: str = "AveragePool", **more: Any) -> str:
    return net.node(op, x, kernel_shape=[2, 2], strides=[2, 2], **more)


def test_the_same_window_of_the_same_tensor_has_the_same_extents() -> None:
    net = Net()
    x = net.input(OPEN)
    pooled, convolved = halved(net, x), net.conv(x, 4, 4, 2, strides=[2, 2])
    other = halved(net, x, pads=[1, 1, 1, 1])
    found = shapes(net, pooled, convolved, other)
    assert found[pooled] == found[convolved]
    assert found[pooled] != found[other]


@pytest.mark.parametrize("more", [{"ceil_mode": 1}, {"auto_pad": "SAME_UPPER"}], ids=["ceil_mode", "auto_pad"])
def test_a_window_that_may_reach_past_the_edge_has_extents_of_its_own(more: dict[str, Any]) -> None:
    net = Net()
    x = net.input(OPEN)
    plain, reaching = halved(net, x, "MaxPool"), halved(net, x, "MaxPool", **more)
    found = shapes(net, plain, reaching)
    assert set(found[plain][2:]).isdisjoint(found[reaching][2:])


def test_a_window_whose_weight_is_of_unknown_shape_is_not_followed() -> None:
    net = Net()
    x = net.input(OPEN)
    net.nodes.append(helper.make_node("Anything", [x], ["weight"], domain="of.others"))
    y = net.node("Conv", x, "weight")
    net.node("Relu", y)
    assert not isinstance(shapes(net, y).shapes.get(y, (None, None))[1], int)


def test_what_acts_by_element_keeps_extents_and_what_others_wrote_does_not() -> None:
    net = Net()
    x = halved(net, net.input(OPEN))
    relu = net.node("Relu", x)
    net.nodes.append(helper.make_node("Relu", [x], ["theirs"], domain="of.others"))
    found = shapes(net, relu, "theirs")
    assert found[relu] == found[x]
    assert "theirs" not in found


def test_a_sum_of_open_extents_has_those_of_neither() -> None:
    net = Net()
    x, y = net.input(OPEN), net.input([1, 4, "a", "b"], "y")
    total, same, column = net.node("Add", x, y), net.node("Add", x, x), net.node("Add", halved(net, x), net.normal(4, 1, 1))
    found = shapes(net, total, same, column)
    assert found[same] == found[x]
    assert set(found[total][2:]).isdisjoint({*found[x][2:], *found[y][2:]})
    assert found[column] == found[net.nodes[2].output[0]]


def test_a_concat_adds_channels_only_where_all_are_known() -> None:
    net = Net()
    x, y = net.input(OPEN), net.input([1, "c", 8, 8], "y")
    half = halved(net, x)
    both, unknown = net.node("Concat", half, half, axis=1), net.node("Concat", y, y, axis=1)
    found = shapes(net, both, unknown)
    assert found[both] == (1, 8, *found[half][2:])
    assert not isinstance(found[unknown][1], int)


def test_a_batch_without_a_name_stays_the_same() -> None:
    net = Net()
    x = net.input([None, 4, 8, 6])  # type: ignore[list-item]
    pooled = net.node("GlobalAveragePool", x)
    largest = net.node("GlobalMaxPool", x)
    turned = net.node("Transpose", x, perm=[0, 2, 3, 1])
    found = shapes(net, pooled, largest, turned)
    batch = found[x][0]
    assert not isinstance(batch, int)
    assert found[pooled] == found[largest] == (batch, 4, 1, 1)
    assert found[turned] == (batch, 8, 6, 4)


def test_a_tensor_without_a_shape_has_none() -> None:
    net = Net()
    net.input(OPEN)
    net.inputs[0].type.tensor_type.ClearField("shape")
    y = net.node("Relu", "x")
    assert "x" not in shapes(net, y)
