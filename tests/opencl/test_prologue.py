"""What a convolution computes where it reads, and what it must leave alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgevision import target
from edgevision.ingest import read
from edgevision.link.opencl_source import device_source
from edgevision.lower.phases import lower
from edgevision.schedule.gpu.apply import schedule
from tests import executor
from tests.opencl import device
from tests.opencl.networks import Graph


def gated(
    *, kernel: int = 1, group: int = 1, readers: int = 1, residual: bool = False, stride: int = 1, gate: str = "Mul"
) -> onnx.ModelProto:
    """relu(conv) -> times a gate -> ``readers`` convolutions -> pool and classifier."""
    g = Graph(7)
    x = g.add("Relu", g.conv("image", 3, 16, 3, stride=2))
    scale = g.add("Sigmoid", g.conv(g.add("GlobalAveragePool", x), 16, 16, 1))
    y = g.add(gate, x, scale)
    parts = [g.conv(y, 16, 16, kernel, group=group, stride=stride) for _ in range(readers)]
    total = parts[0]
    for part in parts[1:]:
        total = g.add("Add", total, part)
    if residual:
        total = g.add("Add", total, y)
    total = g.add("Flatten", g.add("GlobalMaxPool", total))
    return g.model(g.add("Gemm", total, g.weight(16, 5), g.weight(5, scale=0.1)), 12, 5)


def steps(model: onnx.ModelProto) -> list[str]:
    program = schedule(lower(read(model, simplify=False)), device.chosen())
    return [call.step.name for call in program.calls]


def launches_alone(model: onnx.ModelProto, op: str) -> bool:
    return any(name.rstrip("0123456789") == op for name in steps(model))


def agrees(model: onnx.ModelProto, name: str = "opencl") -> bool:
    image = np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype(np.float32)
    (wanted,) = executor.onnxruntime_outputs(model, [image])
    (found,) = device.run(model, [image], name=name)
    return bool(np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("change", [{}, {"stride": 2}, {"gate": "Add"}, {"group": 4}])
@pytest.mark.parametrize("name", ["opencl", "opencl-mali"])
def test_a_gate_in_front_of_a_convolution_costs_no_launch(change, name, pocl):
    model = gated(**change)
    assert not launches_alone(model, change.get("gate", "Mul").lower())
    assert agrees(model, name)


def test_the_inputs_new_order_costs_no_launch():
    assert not launches_alone(gated(), "transpose")


def reduced(op: str, *, beside: bool = False) -> onnx.ModelProto:
    """The image in another order, reduced, ``beside`` a convolution that reads it so too."""
    g = Graph(8)
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]} if op == "MaxPool" else {}
    y = g.add("GlobalMaxPool", g.add(op, "image", **attributes))
    y = g.add("Add", y, g.add("GlobalMaxPool", g.conv("image", 3, 3, 3))) if beside else y
    y = g.add("Flatten", y)
    return g.model(g.add("Gemm", y, g.weight(3, 5), g.weight(5, scale=0.1)), 12, 5)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a convolution"])
@pytest.mark.parametrize("name", ["opencl", "opencl-mali"])
def test_a_new_order_in_front_of_what_reads_each_element_once_costs_no_launch(name, beside, pocl):
    model = reduced("GlobalAveragePool", beside=beside)
    assert not launches_alone(model, "transpose")
    assert agrees(model, name)


def test_what_reads_an_element_often_leaves_the_new_order_its_launch(pocl):
    model = reduced("MaxPool")
    assert launches_alone(model, "transpose")
    assert agrees(model)


def chosen(order: list[int], *, group: int = 2, kernel: int = 3) -> onnx.ModelProto:
    """Channels of 16 chosen by ``order``, convolved."""
    g = Graph(9)
    x = g.add("Relu", g.conv("image", 3, 16, 3, stride=2))
    y = g.conv(g.add("Gather", x, g.numbers(*order), axis=1), len(order), 16, kernel, group=group)
    y = g.add("Flatten", g.add("GlobalMaxPool", y))
    return g.model(g.add("Gemm", y, g.weight(16, 5), g.weight(5, scale=0.1)), 12, 5)


CHOICES = {
    "every second run": [*range(4), *range(8, 12), *range(4, 8), *range(12, 16)],
    "shuffled": [i // 2 + i % 2 * 8 for i in range(16)],
    "some, and some twice": [*range(8, 16), *range(8, 12), *range(4)],
    "runs that begin anywhere": [*range(2, 10), *range(5, 13)],
}


@pytest.mark.parametrize(("order", "kernel"), [*((name, 3) for name in CHOICES), ("every second run", 1)])
@pytest.mark.parametrize("name", ["opencl", "opencl-mali"])
def test_channels_chosen_in_runs_cost_no_launch(name, order, kernel, pocl):
    model = chosen(CHOICES[order], kernel=kernel)
    assert agrees(model, name)
    assert not launches_alone(model, "gather")


@pytest.mark.parametrize(("order", "vectors"), [("every second run", True), ("runs that begin anywhere", False)])
def test_vectors_are_loaded_where_runs_begin_at_their_multiples(order, vectors):
    program = schedule(lower(read(chosen(CHOICES[order]), simplify=False)), target.load("opencl-mali"))
    text = next(t for t in device_source(program)[0].split("// Function: ") if t.startswith("k1_"))
    assert "void k1_fused_conv1" in text
    assert ("vload4(0, p4_ptr" in text) is vectors  # what is read comes behind the convolution's own four


NEAR_MISSES = {
    "a wide kernel would multiply nine times": {"kernel": 3},
    "depthwise": {"group": 16},
    "groups that no vector fills": {"group": 8},
    "two readers": {"readers": 2},
    "read again behind the convolution": {"residual": True},
    "a division": {"gate": "Div"},
}


@pytest.mark.parametrize("change", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_keeps_its_launch(change):
    assert launches_alone(gated(**change), change.get("gate", "Mul").lower())


def test_what_is_in_front_of_a_running_sum_keeps_its_launch(pocl):
    g = Graph(4)
    turned = g.add("Transpose", g.add("Reshape", "image", g.numbers(4, 108)), perm=[1, 0])
    total = g.add("ReduceMax", g.add("CumSum", turned, g.numbers(0)), g.numbers(0), keepdims=1)
    model = g.model(total, 12, 4)
    assert launches_alone(model, "transpose")
    assert agrees(model)


def test_a_matrix_in_another_order_keeps_its_launch(pocl):
    """A matrix product numbers rows through: it cannot read them through a change of order."""
    rows, columns = 12, 36
    g = Graph(3)
    turned = g.add("Transpose", g.add("Reshape", "image", g.numbers(columns, rows)), perm=[1, 0])
    scores = g.add("MatMul", turned, g.weight(columns, 5))
    model = g.model(g.add("ReduceMax", scores, g.numbers(0), keepdims=1), 12, 5)
    assert launches_alone(model, "transpose")
    assert agrees(model)


@pytest.mark.parametrize("change", [{"readers": 2}, {"residual": True}], ids=["two readers", "residual"])
def test_a_near_miss_computes_the_same(change, pocl):
    assert agrees(gated(**change))
