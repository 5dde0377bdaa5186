"""Random small graphs of elementwise operators and movement, against onnx.reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests import executor
from tests.lower.programs import assert_near, images

UNARY = ("Relu", "Sigmoid", "Tanh", "Abs", "Neg", "HardSwish", "Softplus", "Floor", "Erf", "Identity")
BINARY = ("Add", "Sub", "Mul", "Max", "Min")
LARGEST = 5**4  # elements a tensor


@dataclass(slots=True)
class Growing:
    """A graph while it grows: names and shapes of its tensors, and what it holds."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n{len(self.nodes)}", **attributes))
        self.shapes[name] = shape
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))


def unary(graph: Growing, x: str, draw: st.DrawFn) -> None:
    graph.add(draw(st.sampled_from(UNARY)), [x], graph.shapes[x])


def with_constant(graph: Growing, x: str, draw: st.DrawFn) -> None:
    shape = graph.shapes[x]
    own = [n if draw(st.booleans()) else 1 for n in shape][draw(st.integers(0, len(shape))) :]
    operands = [x, graph.constant(images(*own, seed=draw(st.integers(0, 9))))]
    graph.add(draw(st.sampled_from(BINARY)), operands if draw(st.booleans()) else operands[::-1], shape)


def with_other(graph: Growing, x: str, draw: st.DrawFn) -> None:
    shape = graph.shapes[x]
    fitting = [
        name for name, own in graph.shapes.items() if len(own) <= len(shape)
        and all(n in (1, m) for n, m in zip(reversed(own), reversed(shape), strict=False))
    ]  # fmt: skip
    graph.add(draw(st.sampled_from(BINARY)), [x, draw(st.sampled_from(fitting))], shape)


def transpose(graph: Growing, x: str, draw: st.DrawFn) -> None:
    perm = draw(st.permutations(range(len(graph.shapes[x]))))
    graph.add("Transpose", [x], tuple(graph.shapes[x][p] for p in perm), perm=perm)


def reshape(graph: Growing, x: str, draw: st.DrawFn) -> None:
    rest, shape = prod(graph.shapes[x]), []
    while rest > 1 and len(shape) < 4:
        shape.append(draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0])))
        rest //= shape[-1]
    shape = (*shape, rest)
    graph.add("Reshape", [x, graph.integers(*shape)], shape)


def slice_(graph: Growing, x: str, draw: st.DrawFn) -> None:
    shape = graph.shapes[x]
    axis = draw(st.integers(0, len(shape) - 1))
    start = draw(st.integers(0, shape[axis] - 1))
    step = draw(st.sampled_from([1, 2, -1, -2]))
    end = draw(st.integers(start + 1, shape[axis])) if step > 0 else draw(st.integers(-1, start - 1)) - shape[axis]
    count = len(range(start, end if step > 0 else end + shape[axis], step))
    result = tuple(count if i == axis else n for i, n in enumerate(shape))
    graph.add("Slice", [x, *(graph.integers(v) for v in (start, end, axis, step))], result)


def concat(graph: Growing, x: str, draw: st.DrawFn) -> None:
    shape = graph.shapes[x]
    axis = draw(st.integers(0, len(shape) - 1))
    same = [
        name for name, own in graph.shapes.items() if len(own) == len(shape)
        and all(a == b for i, (a, b) in enumerate(zip(own, shape, strict=True)) if i != axis)
    ]  # fmt: skip
    others = draw(st.lists(st.sampled_from(same), min_size=1, max_size=2))
    extent = shape[axis] + sum(graph.shapes[name][axis] for name in others)
    graph.add("Concat", [x, *others], tuple(extent if i == axis else n for i, n in enumerate(shape)), axis=axis)


def pad(graph: Growing, x: str, draw: st.DrawFn) -> None:
    shape = graph.shapes[x]
    pads = [draw(st.integers(0, 2)) for _ in range(2 * len(shape))]
    result = tuple(n + a + b for n, a, b in zip(shape, pads[: len(shape)], pads[len(shape) :], strict=True))
    graph.add("Pad", [x, graph.integers(*pads), graph.constant(np.array(0.5, np.float32))], result)


def reduce(graph: Growing, x: str, draw: st.DrawFn) -> None:
    shape = graph.shapes[x]
    axes = sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    keep = draw(st.booleans())
    kept = [(1 if i in axes else n) for i, n in enumerate(shape) if keep or i not in axes]
    op = draw(st.sampled_from(["ReduceMean", "ReduceMax", "ReduceSum"]))
    graph.add(op, [x, graph.integers(*axes)], tuple(kept), keepdims=int(keep))


def convolution(graph: Growing, x: str, draw: st.DrawFn) -> None:
    """A 1x1: from here on the image is stored channels last."""
    shape = graph.shapes[x]
    if len(shape) in (3, 4):
        weight = graph.constant(images(3, shape[1], *[1] * (len(shape) - 2)) / shape[1])
        graph.add("Conv", [x, weight], (shape[0], 3, *shape[2:]))


STEPS = (unary, with_constant, with_other, transpose, reshape, slice_, concat, pad, reduce, convolution, convolution)


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    graph = Growing()
    graph.shapes["x"] = shape = tuple(draw(st.lists(st.integers(1, 5), min_size=3, max_size=4)))
    for _ in range(draw(st.integers(2, 7))):
        candidates = [name for name, own in graph.shapes.items() if own and prod(own) <= LARGEST]
        draw(st.sampled_from(STEPS))(graph, draw(st.sampled_from(candidates[-3:])), draw)
    if not graph.nodes:
        unary(graph, "x", draw)
    outputs = {graph.nodes[-1].output[0], draw(st.sampled_from(graph.nodes)).output[0]}
    whole = helper.make_graph(
        graph.nodes, "random", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, graph.shapes[n]) for n in sorted(outputs)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in graph.constants.items()],
    )  # fmt: skip
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks())
def test_a_random_graph_answers_as_the_reference(model: onnx.ModelProto) -> None:
    x = images(*(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim))
    for found, wanted in zip(executor.run(model, [x]), executor.reference_outputs(model, [x]), strict=True):
        assert_near(found, wanted.astype(found.dtype), 1e-5)
