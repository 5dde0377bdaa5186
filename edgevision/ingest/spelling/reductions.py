"""Reduce*, and the operators that normalise along an axis."""

from __future__ import annotations

from math import prod

from edgevision.ingest.graph import Graph, Node
from edgevision.ingest.spelling.moved import REDUCTIONS

COERCED_BEFORE_OPSET = 13  # Softmax, LogSoftmax and Hardmax worked on a matrix until then


def reduce(graph: Graph, node: Node, opset: int) -> None:
    """axes sorted and complete; a reduction over no axes (noop_with_empty_axes=1) is what a single term gives."""
    del opset
    rank = len(graph.shape(node.inputs[0]))
    axes = sorted({axis % rank for axis in node.attributes.get("axes") or []}) if rank else []
    if not axes and node.attributes.pop("noop_with_empty_axes", 0):
        graph.replace(node, "Identity", node.inputs) if node.op in _OF_ONE_IS_ITSELF else _reduce_nothing(graph, node)
        return
    if rank == 0:
        graph.replace(node, "Identity", node.inputs) if node.op in _OF_ONE_IS_ITSELF else _reduce_nothing(graph, node)
        return
    node.attributes.pop("noop_with_empty_axes", None)
    node.attributes["axes"] = axes or list(range(rank))
    node.attributes.setdefault("keepdims", 1)


_OF_ONE_IS_ITSELF = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceLogSumExp"})
_OF_ONE = {"ReduceL1": "Abs", "ReduceL2": "Abs", "ReduceLogSum": "Log"}


def _reduce_nothing(graph: Graph, node: Node) -> None:
    """Each element is reduced alone."""
    x = node.inputs[0]
    if node.op == "ReduceSumSquare":
        graph.replace(node, "Mul", [x, x])
    else:
        graph.replace(node, _OF_ONE[node.op], [x])


def softmax(graph: Graph, node: Node, opset: int) -> None:
    """Before opset 13 the axes from ``axis`` on were one: [d0..., da..., dn] -> [d0*..., da*...*dn], and back."""
    if opset >= COERCED_BEFORE_OPSET:
        node.attributes.setdefault("axis", -1)
        return
    shape = graph.shape(node.inputs[0])
    axis = node.attributes.get("axis", 1) % max(len(shape), 1)
    node.attributes["axis"] = axis
    if prod(shape[axis + 1 :]) == 1:
        return
    matrix = (prod(shape[:axis]), prod(shape[axis:]))
    flat = graph.add("Reshape", node.inputs, matrix, {"shape": list(matrix)}, at=node)
    result = graph.add(node.op, [flat], matrix, {"axis": 1}, at=node)
    graph.replace(node, "Reshape", [result], {"shape": list(shape)})


SPELLINGS = {**dict.fromkeys(REDUCTIONS, reduce), **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax)}
