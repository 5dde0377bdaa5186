"""Networks for whole-artifact tests, made once a test run in a folder that xdist's workers share through the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevision import zoo


def small(name: str, size: int, folder: Path, *, batch: int = 1) -> Path:
    """The zoo's ``name`` for ``size`` x ``size`` images: the same graph and weights, fewer pixels."""
    path = folder / f"{name}-{size}x{batch}.onnx"
    if not path.exists():
        full = folder / f"{name}.onnx"
        if not full.exists():
            zoo.export(name, full)
        proto = onnx.load(full)
        for tensor in (proto.graph.input[0], proto.graph.output[0]):
            tensor.type.tensor_type.shape.dim[0].dim_value = batch
        for axis in (2, 3):
            proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
        del proto.graph.value_info[:]
        onnx.save(onnx.shape_inference.infer_shapes(proto), path)
    return path


def mixed(folder: Path) -> Path:
    """Three inputs (uint8 image, int64 indices, bool mask) and four outputs (float, int64, uint8, bool), one of them
    an input."""
    rng = np.random.default_rng(7)
    weight = numpy_helper.from_array((rng.standard_normal((6, 3, 3, 3)) * 0.1).astype(np.float32), "w")
    table = numpy_helper.from_array(rng.standard_normal((10, 6)).astype(np.float32), "table")
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["float", "w"], ["features"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gather", ["table", "indices"], ["rows"], axis=0),
        helper.make_node("Add", ["flat", "rows"], ["added"]),
        helper.make_node("Neg", ["added"], ["negative"]),
        helper.make_node("Where", ["mask", "added", "negative"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node("Greater", ["added", "negative"], ["above"]),
        helper.make_node("Identity", ["image"], ["same"]),
    ]

    def tensor(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes, "mixed",
        [tensor("image", TensorProto.UINT8, 1, 3, 9, 7), tensor("indices", TensorProto.INT64, 4),
         tensor("mask", TensorProto.BOOL, 4, 6)],
        [tensor("scores", TensorProto.FLOAT, 4, 6), tensor("best", TensorProto.INT64, 4),
         tensor("above", TensorProto.BOOL, 4, 6), tensor("same", TensorProto.UINT8, 1, 3, 9, 7)],
        [weight, table],
    )  # fmt: skip
    path = folder / "mixed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def dense(folder: Path) -> Path:
    """Two 3x3 layers for which Winograd's method is taken, the second in groups, with channels that fill no vector."""
    rng, path = np.random.default_rng(3), folder / "dense.onnx"
    shapes = {"w0": (40, 20, 3, 3), "w1": (48, 20, 3, 3)}
    weights = [numpy_helper.from_array((rng.standard_normal(s) * 0.1).astype(np.float32), name) for name, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["scores"], pads=[1, 1, 1, 1], group=2),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 28, 28])
        for name, channels in (("image", 20), ("scores", 48))
    ]
    graph = helper.make_graph(nodes, "dense", values[:1], values[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
