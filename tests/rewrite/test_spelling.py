"""In which ONNX operators a form is written."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rewrite.nets import EAGER, Net, ops, rewritten

PADS = [0, 0, 1, 0, 0, 0, 1, 2]


@pytest.mark.parametrize("opset", [14, 17])
def test_two_pads_are_one(opset: int) -> None:
    net = Net(opset=opset)
    x = net.input([1, 3, 5, 5])
    y = net.node("Pad", net.node("Pad", x, net.constant(PADS)), net.constant(PADS))
    assert ops(rewritten(net.model(net.node("Relu", y)), EAGER).proto) == {"Pad": 1, "Relu": 1}


def test_amounts_are_attributes_before_opset_11() -> None:
    net = Net(opset=10)
    y = net.node("Pad", net.node("Pad", net.input([1, 3, 5, 5]), pads=PADS), pads=PADS)
    assert ops(rewritten(net.model(net.node("Relu", y)), EAGER).proto) == {"Pad": 1, "Relu": 1}


def test_a_factor_on_a_pad_is_no_pad() -> None:
    net = Net()
    y = net.node("Mul", net.node("Pad", net.input([1, 3, 5, 5]), net.constant(PADS)), net.normal(3, 1, 1))
    assert ops(rewritten(net.model(net.node("Relu", y)), EAGER).proto) == {"Conv": 1, "Relu": 1}


def scaled(net: Net, y: str) -> dict[str, int]:
    return ops(rewritten(net.model(net.node("Relu", net.node("Mul", y, net.constant(0.5)))), EAGER).proto)


def test_equal_weights_a_channel_are_an_average_pool() -> None:
    net = Net()
    weight = net.constant(np.full((4, 1, 2, 2), 0.5))
    assert scaled(net, net.conv(net.input([1, 4, 6, 6]), 4, 4, weight=weight, group=4)) == {"AveragePool": 1, "Relu": 1}


def test_equal_weights_over_channels_are_none() -> None:
    net = Net()
    assert scaled(net, net.conv(net.input([1, 4, 6, 6]), 4, 4, weight=net.constant(np.full((4, 4, 2, 2), 0.5)))) == {
        "Conv": 1, "Relu": 1,
    }  # fmt: skip


def test_equal_weights_of_a_transposed_convolution_are_none() -> None:
    net = Net()
    y = net.node("ConvTranspose", net.input([1, 1, 6, 6]), net.constant(np.full((1, 1, 2, 2), 0.5)), strides=[2, 2])
    assert scaled(net, y) == {"ConvTranspose": 1, "Relu": 1}


def test_a_difference_is_written_as_one() -> None:
    net = Net()
    x, y = (net.node("Relu", net.input([1, 2, 3, 3], name)) for name in "xy")
    z = net.node("Add", net.node("Sub", x, y), net.constant(0.0))
    assert ops(rewritten(net.model(net.node("Relu", z)), EAGER).proto) == {"Relu": 3, "Sub": 1}


def test_a_factor_of_one_is_not_written() -> None:
    net = Net()
    x = net.node("Mul", net.node("Mul", net.node("Relu", net.input([1, 2, 3, 3])), net.constant(2.0)), net.constant(0.5))
    assert "Mul" not in ops(rewritten(net.model(net.node("Tanh", x)), EAGER).proto)
