"""Near misses of what is read: shapes, types and constants of a kind that linear operators seldom have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgevision.errors import InputError
from edgevision.rewrite.reparam import CostModel, reparameterize
from edgevision.rewrite.reparam.cost import Work
from edgevision.rewrite.reparam.feeds import random_feeds
from tests.rewrite.nets import EAGER, EXACT, Net, error, ops, rewritten

UNKNOWN = ["unknown"]


def declared(net: Net, output: str, shape: list[int | str], unknown: list[str] = UNKNOWN) -> onnx.ModelProto:
    """``output`` with a shape that the file declares, behind an operator of which nothing is known."""
    net.nodes.insert(0, helper.make_node("Anything", [net.inputs[0].name], unknown, domain="of.others"))
    value = helper.make_tensor_value_info(output, net.element, shape)
    graph = helper.make_graph(net.nodes, "g", net.inputs, [value], net.initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("of.others", 1)])


# What is behind a tensor of unknown shape, though what it writes is declared: [1, 4, 5, 5].
BEHIND: dict[str, Callable[[Net], str]] = {
    "norm": lambda net: net.norm("unknown", 4),
    "factor": lambda net: net.node("Mul", "unknown", net.normal(4, 1, 1)),
    "nothing": lambda net: net.node("Identity", "unknown"),
    "convolution": lambda net: net.conv("unknown", 5, 4, 3),
    "sum": lambda net: net.node("Add", "unknown", "unknown"),
    "pool": lambda net: net.node("AveragePool", "unknown", kernel_shape=[1, 1]),
    "padding": lambda net: net.node("Pad", "unknown", net.constant([0] * 8)),
    "mean": lambda net: net.node("GlobalAveragePool", "unknown"),
    "matrix": lambda net: net.node("MatMul", "unknown", net.normal(5, 5)),
    "transposed": lambda net: net.node("Transpose", "unknown", perm=[0, 3, 1, 2]),
    "reshaped": lambda net: net.node("Reshape", "unknown", net.constant([1, 4, 5, 5])),
    "joined": lambda net: net.node("Concat", "unknown", "unknown", axis=1),
    "shuffled": lambda net: net.node(
        "Reshape", net.node("Transpose", net.node("Reshape", "unknown", net.constant([1, 2, 2, 5, 5])), perm=[0, 2, 1, 3, 4]),
        net.constant([1, 4, 5, 5])),
    "split": lambda net: net.node("Split", "unknown", outputs=2, axis=1)[0],
}


@pytest.mark.parametrize("shape", [[1, 4, 5, 5], [1, 4, "h", "w"]], ids=["static", "open"])
@pytest.mark.parametrize("build", BEHIND.values(), ids=BEHIND)
def test_what_is_behind_an_unknown_shape_stays(build: Callable[[Net], str], shape: list[int | str]) -> None:
    net = Net()
    net.input([1, 4, 5, 5])
    y = build(net)
    proto = declared(net, y, shape)
    assert reparameterize(proto, cost=EAGER, prove=False).proto is proto


def test_a_sum_of_an_unknown_shape_and_a_known_one_stays() -> None:
    net = Net()
    x = net.input([1, 4, 5, 5])
    proto = declared(net, net.node("Add", x, "unknown"), [1, 4, 5, 5])
    assert reparameterize(proto, cost=EAGER, prove=False).proto is proto


def test_tensors_of_other_rank_that_broadcast_stay() -> None:
    net = Net()
    x, y = net.input([1, 4, 6, 6]), net.input([4, 1, 1], "y")
    proto = net.model(net.norm(net.node("Add", net.conv(x, 4, 4, 1), net.node("Relu", y)), 4))
    assert ops(rewritten(proto, EAGER).proto) == ops(proto)


def test_tensors_of_other_rank_stay_though_all_their_extents_are_equal() -> None:
    net = Net()
    parts = [net.node("Relu", net.input(shape, name)) for name, shape in (("x", [2, 2, 2, 2]), ("y", [2, 2, 2]))]
    proto = net.model(net.norm(net.node("Add", *parts), 2))
    assert rewritten(proto, EAGER).proto is proto


# Graphs of two elementwise operators that read as no sum of linear forms, and the shape of their input.
STRANGE: dict[str, tuple[Callable[[Net, str], str], list[int | str]]] = {
    "a norm of one axis": (lambda net, x: net.norm(x, 1), [3]),
    "a factor of one axis": (lambda net, x: net.node("Mul", x, net.normal(3)), [3]),
    "a scalar": (lambda net, x: net.node("Mul", x, net.constant(2.0)), []),
    "nothing of one axis": (lambda net, x: net.node("Identity", x), [3]),
    "a sum of one axis": (lambda net, x: net.node("Add", x, x), [3]),
    "an open number of channels": (lambda net, x: net.node("Mul", x, net.constant(2.0)), [1, "c", 4, 4]),
    "a sum of an open number of channels": (lambda net, x: net.node("Add", x, x), [1, "c", 4, 4]),
    "nothing, of an open number of channels": (lambda net, x: net.node("Identity", x), [1, "c", 4, 4]),
    "a pool of an open number of channels": (
        lambda net, x: net.node("AveragePool", x, kernel_shape=[2, 2]), [1, "c", 4, 4]),
    "padding of an open number of channels": (
        lambda net, x: net.node("Pad", x, net.constant([0, 0, 1, 1, 0, 0, 1, 1])), [1, "c", 4, 4]),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE.values(), ids=STRANGE)
def test_what_has_no_known_channels_stays(case: tuple[Callable[[Net, str], str], list[int | str]]) -> None:
    build, shape = case
    net = Net()
    y = net.node("Relu", build(net, net.node("Relu", net.input(shape))))
    proto = net.model(y)
    result = reparameterize(proto, cost=EAGER, prove=False)
    expected = {op: n for op, n in ops(proto).items() if op != "Identity"}
    assert {op: n for op, n in ops(result.proto).items() if op != "Identity"} == expected


def test_a_shape_of_a_constant_is_a_constant() -> None:
    """A weight that is stored flat and reshaped to the shape of another one."""
    for more in ({}, {"start": 0, "end": 4}):
        net = Net()
        x = net.input([1, 3, 6, 6])
        shape = net.node("Shape", net.normal(4, 3, 3, 3), **more)
        weight = net.node("Reshape", net.normal(4 * 3 * 3 * 3), shape)
        y = net.norm(net.conv(x, 3, 4, weight=weight), 4)
        result = reparameterize(net.model(y), cost=EAGER)
        assert ops(result.proto) == {"Conv": 1}
        assert result.certificate is not None
        assert result.certificate.error64 <= EXACT


def cross() -> onnx.ModelProto:
    """1x3 beside 3x1: together they are a 3x3, 5,184 multiply-accumulates instead of 3,456."""
    net = Net()
    x = net.input([1, 4, 6, 6])
    return net.model(net.node("Add", net.conv(x, 4, 4, (1, 3), pads=[0, 1, 0, 1]), net.conv(x, 4, 4, (3, 1), pads=[1, 0, 1, 0])))


def measured(work: Work) -> float | None:
    """A 3x3 was measured to be dear."""
    return 100.0 if work.macs == 5_184 else None


def test_a_measured_time_goes_before_the_model() -> None:
    assert ops(rewritten(cross(), CostModel()).proto) == {"Conv": 1}
    kept = rewritten(cross(), CostModel(measured=measured))
    assert ops(kept.proto) == {"Conv": 2, "Add": 1}
    (declined,) = [each for each in kept.declined if "1x3 + 3x1 stay apart: it costs more" in each.reason]
    assert declined.merged_us == 100.0
    assert declined.kept_us is not None
    assert declined.kept_us < 10


# --- inputs to compare on --------------------------------------------------------------------------------------------


def fed(elements: dict[str, int]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, element, ["n", 50]) for name, element in elements.items()]
    outputs = [helper.make_tensor_value_info(f"{name}_", element, ["n", 50]) for name, element in elements.items()]
    nodes = [helper.make_node("Identity", [name], [f"{name}_"]) for name in elements]
    return helper.make_model(helper.make_graph(nodes, "g", values, outputs))


def test_random_inputs_are_of_the_right_type_and_vary() -> None:
    proto = fed({"float": TensorProto.FLOAT, "half": TensorProto.FLOAT16, "index": TensorProto.INT64, "flag": TensorProto.BOOL})
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 50), np.float16), "half"))
    (feed,) = random_feeds(proto, 0, 1)
    assert {name: (array.dtype.name, array.shape) for name, array in feed.items()} == {
        "float": ("float32", (1, 50)), "index": ("int64", (1, 50)), "flag": ("bool", (1, 50)),
    }  # fmt: skip
    assert len(np.unique(feed["float"])) == 50
    assert feed["float"].min() < 0 < feed["float"].max()
    assert set(feed["index"].reshape(-1)) == set(range(8))
    assert set(feed["flag"].reshape(-1)) == {True, False}


GIVEN: dict[str, Any] = {
    "another type": np.zeros((1, 6, 8, 8), np.uint8),
    "another number of channels": np.zeros((1, 5, 8, 8), np.float32),
    "fewer axes": np.zeros((6, 8, 8), np.float32),
}


def convolution() -> onnx.ModelProto:
    net = Net(dtype=np.float32)
    return net.model(net.norm(net.conv(net.input(["n", 6, "h", 8]), 6, 4), 4))


@pytest.mark.parametrize("array", GIVEN.values(), ids=GIVEN)
def test_an_array_that_does_not_fit_its_input_is_refused(array: Any) -> None:
    with pytest.raises(InputError, match=r"takes float32 \[n, 6, h, 8\]"):
        reparameterize(convolution(), feeds=[{"x": array}])


def test_an_array_for_every_input_is_needed() -> None:
    with pytest.raises(InputError, match="no array for the input 'x'"):
        reparameterize(convolution(), feeds=[{"y": np.zeros((1, 6, 8, 8), np.float32)}])


def test_an_input_that_is_no_tensor_needs_no_proof() -> None:
    net = Net(dtype=np.float32)
    x = net.node("SequenceAt", "many", net.constant(np.array(0)))
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 3, 8, 8]))
    net.inputs.append(helper.make_value_info("many", kind))
    proto = net.model(net.norm(net.conv(x, 3, 4), 4))
    with pytest.raises(InputError, match="no tensor"):
        reparameterize(proto)
    assert ops(reparameterize(proto, prove=False).proto)["Conv"] == 1


def test_an_original_that_cannot_be_evaluated_is_said_to_be_so() -> None:
    """Its number of channels is open; 32, which a random input has, is not what its weights take."""
    net = Net(dtype=np.float32)
    proto = net.model(net.norm(net.conv(net.input([1, "c", 8, 8]), 3, 4), 4))
    with pytest.raises(InputError, match="--no-prove"):
        reparameterize(proto)
    result = reparameterize(proto, feeds=[{"x": np.ones((1, 3, 8, 8), np.float32)}])
    assert ops(result.proto) == {"Conv": 1}
    assert result.certificate is not None
    assert (result.certificate.inputs, result.certificate.given) == (2, 1)


@pytest.mark.parametrize(("dtype", "holds"), [(np.float16, True), (np.float32, True)])
def test_weights_of_a_coarser_type_may_be_rounded_to_it(dtype: Any, holds: bool) -> None:
    net = Net(dtype=dtype)
    proof = reparameterize(net.model(net.norm(net.conv(net.input([1, 3, 8, 8]), 3, 4), 4))).certificate
    assert proof is not None
    assert (proof.undone, proof.holds) == ((), holds)
    assert proof.allowed32 == (8 * 2.0**-10 if dtype is np.float16 else 1e-5)
    assert (proof.error32 > 1e-5) is (dtype is np.float16)


def test_error_is_measured_on_what_changed() -> None:
    proto = convolution()
    assert 0 < error(proto, reparameterize(proto).proto, n=1, h=8) < 1e-5
