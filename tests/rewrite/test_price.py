"""The kernels that a sum of linear forms is counted as."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgevision.rewrite.reparam import CostModel
from edgevision.rewrite.reparam.cost import Work
from edgevision.rewrite.reparam.network import Affine
from edgevision.rewrite.reparam.price import works
from edgevision.rewrite.reparam.reading import read
from tests.rewrite.nets import Net

LAUNCHES = CostModel(macs_per_us=1e30, bytes_per_us=1e30, launch_us=1.0)


def kernels(proto: onnx.ModelProto, output: str = "") -> list[Work]:
    network = read(proto, 17, CostModel()).network
    found = network.writer(output or proto.graph.output[0].name)
    assert found is not None
    node = found[1]
    assert isinstance(node, Affine)
    return works(node.terms, node.output, node.axis, network)


def test_a_sum_of_two_tensors_is_one_kernel() -> None:
    net = Net()
    x, y = net.input([1, 4, 5, 5]), net.input([1, 4, 5, 5], "y")
    (work,) = kernels(net.model(net.node("Add", x, y)))
    assert (work.label, work.macs, work.weight_bytes, work.activation_bytes) == ("elementwise", 0, 0, 3 * 400)


def test_nothing_is_a_copy() -> None:
    net = Net()
    (work,) = kernels(net.model(net.node("Identity", net.input([1, 4, 5, 5]))))
    assert (work.label, work.activation_bytes) == ("move", 800)


def test_a_convolution_is_counted_whole() -> None:
    net = Net()
    (work,) = kernels(net.model(net.conv(net.input([2, 4, 5, 5]), 4, 6, 3, bias=True, group=2)))
    assert (work.label, work.macs) == ("conv", 2 * 9 * 6 * 2 * 9)
    assert (work.weight_bytes, work.activation_bytes) == (4 * (6 * 2 * 9 + 6), 4 * (2 * 4 * 25 + 2 * 6 * 9))


def test_a_transposed_convolution_multiplies_at_every_position_of_its_input() -> None:
    net = Net()
    y = net.node("ConvTranspose", net.input([1, 4, 5, 5]), net.normal(4, 3, 2, 2), strides=[2, 2])
    (work,) = kernels(net.model(y))
    assert work.macs == 25 * 4 * 3 * 4


def test_a_matrix_has_no_window() -> None:
    net = Net()
    (work,) = kernels(net.model(net.node("MatMul", net.input([2, 7, 4]), net.normal(4, 3))))
    assert (work.label, work.macs) == ("gemm", 2 * 7 * 4 * 3)


def test_a_norm_is_one_pass() -> None:
    net = Net()
    (work,) = kernels(net.model(net.norm(net.input([1, 4, 5, 5]), 4)))
    assert (work.label, work.weight_bytes, work.activation_bytes) == ("elementwise", 4 * 8, 800)


@pytest.mark.parametrize(("op", "launches"), [("Sigmoid", 0.0), ("GlobalMaxPool", 1.0)])
def test_what_ends_in_the_kernel_of_its_reader_launches_none(op: str, launches: float) -> None:
    net = Net()
    norm = net.norm(net.input([1, 4, 5, 5]), 4)
    network = read(net.model(net.node(op, norm)), 17, LAUNCHES).network
    assert network.total_us() == pytest.approx(launches)


def test_what_two_read_launches_a_kernel() -> None:
    net = Net()
    norm = net.norm(net.input([1, 4, 5, 5]), 4)
    assert read(net.model(net.node("Relu", norm), net.node("Tanh", norm)), 17, LAUNCHES).network.total_us() == pytest.approx(1)


@pytest.mark.parametrize(("op", "launches"), [("Flatten", 1.0), ("Concat", 2.0)])
def test_wires_move_what_they_have_to(op: str, launches: float) -> None:
    """Dropping axes of extent 1 costs nothing, a Concat is a kernel."""
    net = Net()
    x = net.node("GlobalAveragePool", net.input([1, 4, 5, 5]))
    y = net.node(op, x, **({"axis": 1} if op == "Flatten" else {})) if op == "Flatten" else net.node(op, x, x, axis=1)
    assert read(net.model(y), 17, LAUNCHES).network.total_us() == pytest.approx(launches)


def test_costs_add_up() -> None:
    work = Work(label="conv", macs=1000, weight_bytes=100, activation_bytes=300)
    assert CostModel(macs_per_us=10.0, bytes_per_us=4.0, launch_us=3.0).microseconds(work) == pytest.approx(203.0)
    assert np.isclose(CostModel(measured=lambda _: 7.0).microseconds(work), 7.0)
