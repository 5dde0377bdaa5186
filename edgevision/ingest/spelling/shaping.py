"""Reshape and its kin, Expand, Tile, Cast, Dropout, Constant-free Identity."""

from __future__ import annotations

from onnx import helper

from edgevision.errors import UnsupportedOperatorError
from edgevision.ingest.graph import Graph, Node


def reshape(graph: Graph, node: Node, opset: int) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze -> Reshape with the full static shape."""
    del opset
    graph.replace(node, "Reshape", node.inputs[:1], {"shape": list(graph.shape(node.output))})


def expand(graph: Graph, node: Node, opset: int) -> None:
    """Expand -> the shape of the result."""
    del opset
    graph.replace(node, "Expand", node.inputs[:1], {"shape": list(graph.shape(node.output))})


def transpose(graph: Graph, node: Node, opset: int) -> None:
    """An absent perm reverses the axes."""
    del opset
    node.attributes.setdefault("perm", list(range(len(graph.shape(node.output))))[::-1])


def cast_like(graph: Graph, node: Node, opset: int) -> None:
    """CastLike -> Cast to the type of its second input."""
    del opset
    graph.replace(node, "Cast", node.inputs[:1], {"to": int(helper.np_dtype_to_tensor_dtype(graph.dtype(node.output)))})


def dropout(graph: Graph, node: Node, opset: int) -> None:
    """Dropout in inference -> Identity."""
    training = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    is_computed = len(node.inputs) > 2 and bool(node.inputs[2]) and training is None
    if is_computed or (training is not None and bool(training.any())):
        reason = "it is in training mode; call model.eval() and export with training=TrainingMode.EVAL or PRESERVE"
        raise UnsupportedOperatorError("Dropout", node.name, opset, reason)
    if len(node.outputs) > 1 and (graph.readers(node.outputs[1]) or node.outputs[1] in graph.outputs):
        raise UnsupportedOperatorError("Dropout", node.name, opset, "its mask is used")
    graph.replace(node, "Identity", node.inputs[:1])


SPELLINGS = {
    "Reshape": reshape,
    "Flatten": reshape,
    "Squeeze": reshape,
    "Unsqueeze": reshape,
    "Expand": expand,
    "Transpose": transpose,
    "CastLike": cast_like,
    "Dropout": dropout,
}
