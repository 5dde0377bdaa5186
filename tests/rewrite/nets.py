"""Small graphs in float64, so that what onnx.reference makes of them shows the algebra and no rounding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgevision.rewrite.reparam import CostModel
from edgevision.rewrite.reparam.rewriting import Reparameterized, reparameterize

EXACT = 1e-12
EAGER = CostModel(macs_per_us=1e12, bytes_per_us=1e6, launch_us=1000.0)
"""Multiplying and moving are all but free, kernels dear: every exact merge pays."""
FRUGAL = CostModel(macs_per_us=1.0, bytes_per_us=1e6, launch_us=0.001)
"""Multiplying is dear: a merge that multiplies more never pays."""


class Net:
    """A graph under construction; every method adds a node and returns the tensor that it writes."""

    def __init__(self, seed: int = 0, opset: int = 17, dtype: type[np.floating[Any]] = np.float64) -> None:
        self.random = np.random.default_rng(seed)
        self.opset, self.dtype = opset, dtype
        self.element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def input(self, shape: Sequence[int | str], name: str = "x") -> str:
        self.inputs.append(helper.make_tensor_value_info(name, self.element, shape))
        return name

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        array = array.astype(self.dtype) if np.issubdtype(array.dtype, np.floating) else array
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int) -> str:
        return self.constant(self.random.standard_normal(shape))

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, inputs: int, outputs: int, kernel: int | tuple[int, ...] = 3, *, bias: bool = False,
             group: int = 1, weight: str = "", **attributes: Any) -> str:  # fmt: skip
        sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
        given = [x, weight or self.normal(outputs, inputs // group, *sizes)]
        given += [self.normal(outputs)] if bias else []
        return self.node("Conv", *given, group=group, **attributes)

    def norm(self, x: str, channels: int, **attributes: Any) -> str:
        statistics = [self.normal(channels) for _ in range(3)]
        var = self.constant(self.random.uniform(0.5, 2.0, channels))
        return self.node("BatchNormalization", x, *statistics, var, **attributes)

    def model(self, *outputs: str, **more: Any) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info(name, self.element, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, values, self.initializers)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8, **more)
        return onnx.shape_inference.infer_shapes(proto)


def evaluated(proto: onnx.ModelProto, feeds: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(each) for each in ReferenceEvaluator(proto).run(None, dict(feeds))]


def feeds_of(proto: onnx.ModelProto, seed: int = 0, **extents: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    constants = {tensor.name for tensor in proto.graph.initializer}
    return {
        value.name: random.standard_normal(
            [d.dim_value or extents[d.dim_param] for d in value.type.tensor_type.shape.dim]
        ).astype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        for value in proto.graph.input
        if value.name not in constants
    }


def error(before: onnx.ModelProto, after: onnx.ModelProto, **extents: int) -> float:
    """Largest |a - b| over the largest |a|, of all outputs."""
    feeds = feeds_of(before, **extents)
    worst = 0.0
    for a, b in zip(evaluated(before, feeds), evaluated(after, feeds), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-300)))
    return worst


def rewritten(proto: onnx.ModelProto, cost: CostModel = EAGER, **extents: int) -> Reparameterized:
    """Reparameterize, and demand that the result is a valid model of the same function."""
    before = proto.SerializeToString()
    result = reparameterize(proto, cost=cost, prove=False)
    assert proto.SerializeToString() == before
    onnx.checker.check_model(result.proto, full_check=True)
    assert error(proto, result.proto, **extents) <= EXACT
    return result


def ops(proto: onnx.ModelProto) -> dict[str, int]:
    return dict(Counter(node.op_type for node in proto.graph.node))


def said(result: Reparameterized) -> str:
    """Every reason in one text."""
    return "\n".join([*(reason for _, reason in result.refusals), *(each.reason for each in result.declined)])


TENSOR = TensorProto
