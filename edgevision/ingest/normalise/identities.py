"""Operators that return what they were given, and pairs that become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper

from edgevision.ingest.graph import Graph, Node
from edgevision.ingest.normalise.algebra import constant_operand, uniform
from edgevision.ingest.normalise.rule import Rule


def drop(graph: Graph, node: Node) -> bool:
    """y = x, bit for bit -> nothing. Stays where only it lets an input or a constant out of the graph."""
    if len(node.outputs) > 1 or not _IS_IDENTITY[node.op](graph, node):
        return False
    if graph.bypass(node, node.inputs[0]):
        return True
    if node.op != "Identity":
        graph.replace(node, "Identity", node.inputs[:1])
        return True
    return False


def clip_of_clip(graph: Graph, node: Node) -> bool:
    """Relu or Clip of Relu or Clip -> one: clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d))."""
    inner = graph.producer(node.inputs[0], "Relu", "Clip")
    if inner is None:
        return False
    (a, b), (c, d) = _bounds(inner), _bounds(node)
    _replace_by_clip(graph, node, inner.inputs[0], min(max(a, c), d), min(max(b, c), d))
    return True


def extremum(graph: Graph, node: Node) -> bool:
    """max(x, constant) and min(x, constant) -> Clip (max(x, 0) -> Relu)."""
    value = uniform(graph, node.inputs[1])
    if value is None or not np.isfinite(value) or constant_operand(graph, node) is None:
        return False
    low, high = (value, np.inf) if node.op == "Max" else (-np.inf, value)
    _replace_by_clip(graph, node, node.inputs[0], low, high)
    return True


def reshape_of_reshape(graph: Graph, node: Node) -> bool:
    """reshape(reshape(x)) -> reshape(x)."""
    inner = graph.producer(node.inputs[0], "Reshape")
    if inner is None:
        return False
    graph.set_inputs(node, inner.inputs)
    return True


def transpose_of_transpose(graph: Graph, node: Node) -> bool:
    """transpose(transpose(x, p), q) -> transpose(x, p[q])."""
    inner = graph.producer(node.inputs[0], "Transpose")
    if inner is None:
        return False
    node.attributes["perm"] = [inner.attributes["perm"][axis] for axis in node.attributes["perm"]]
    graph.set_inputs(node, inner.inputs)
    return True


def transpose_as_reshape(graph: Graph, node: Node) -> bool:
    """A transpose that keeps the order of all axes longer than 1 moves nothing -> Reshape."""
    shape, perm = graph.shape(node.inputs[0]), node.attributes["perm"]
    moving = [axis for axis in perm if shape[axis] > 1]
    if moving != sorted(moving):
        return False
    graph.replace(node, "Reshape", node.inputs, {"shape": list(graph.shape(node.output))})
    return True


def division_by_constant(graph: Graph, node: Node) -> bool:
    """x / c -> x * (1 / c) where every c is a power of two, so that both round alike, or where only erf follows, as in GELU:
    it rises no faster than its argument, in relative terms, so that two roundings more stay two roundings."""
    operand = constant_operand(graph, node)
    if operand is None or not np.issubdtype(operand[1].dtype, np.floating):
        return False
    mantissa, _ = np.frexp(operand[1])
    with np.errstate(divide="ignore", over="ignore"):
        inverse = (1 / operand[1]).astype(operand[1].dtype)
    is_normal = np.isfinite(inverse) & (np.abs(inverse) >= np.finfo(inverse.dtype).tiny)
    rounds_alike = (np.abs(mantissa) == 0.5).all() or _only_erf_reads(graph, node.output)
    if not rounds_alike or not is_normal.all():
        return False
    graph.replace(node, "Mul", [operand[0], graph.constant(inverse, node.inputs[1])])
    return True


def _only_erf_reads(graph: Graph, tensor: str) -> bool:
    return tensor not in graph.outputs and all(reader.op == "Erf" for reader in graph.readers(tensor))


def _bounds(node: Node) -> tuple[float, float]:
    if node.op == "Relu":
        return 0.0, np.inf
    return node.attributes.get("min", -np.inf), node.attributes.get("max", np.inf)


def _replace_by_clip(graph: Graph, node: Node, x: str, low: float, high: float) -> None:
    number: Callable[[float], Any] = float if np.issubdtype(graph.dtype(node.output), np.floating) else int
    bounds = {key: number(bound) for key, bound in (("min", low), ("max", high)) if np.isfinite(bound)}
    if bounds == {"min": 0}:
        graph.replace(node, "Relu", [x])
    else:
        graph.replace(node, "Clip", [x], bounds)


def _keeps_shape(graph: Graph, node: Node) -> bool:
    return graph.shape(node.inputs[0]) == graph.shape(node.output)


def _cast(graph: Graph, node: Node) -> bool:
    return bool(helper.tensor_dtype_to_np_dtype(node.attributes["to"]) == graph.dtype(node.inputs[0]))


def _slice(graph: Graph, node: Node) -> bool:
    return _keeps_shape(graph, node) and all(step > 0 for step in node.attributes["steps"])


def _transpose(graph: Graph, node: Node) -> bool:
    perm: list[int] = node.attributes["perm"]
    return perm == sorted(perm)


def _resize(graph: Graph, node: Node) -> bool:
    """Scale 1 without cropping samples every pixel at itself (cubic and linear weights are 1 there)."""
    keeps = _keeps_shape(graph, node) and all(scale == 1.0 for scale in node.attributes["scales"])
    return keeps and node.attributes.get("coordinate_transformation_mode") != "tf_crop_and_resize"


def _concat(graph: Graph, node: Node) -> bool:
    return len(node.inputs) == 1


def _neutral(graph: Graph, node: Node) -> bool:
    """x * 1, x / 1, x + 0, x - 0, x ** 1 (x + 0 turns -0 into 0, which compare equal)."""
    operand = constant_operand(graph, node)
    return operand is not None and bool((operand[1] == (0 if node.op in ("Add", "Sub") else 1)).all())


def _window(graph: Graph, node: Node) -> bool:
    a = node.attributes
    return all(k == 1 for k in a["kernel_shape"]) and _keeps_shape(graph, node)


_IS_IDENTITY: dict[str, Callable[[Graph, Node], bool]] = {
    "Identity": lambda graph, node: True,
    "Cast": _cast,
    "Slice": _slice,
    "Transpose": _transpose,
    "Resize": _resize,
    "Concat": _concat,
    **dict.fromkeys(("Reshape", "Pad", "Expand", "Tile", "Split"), _keeps_shape),
    **dict.fromkeys(("Mul", "Div", "Add", "Sub", "Pow"), _neutral),
    **dict.fromkeys(("MaxPool", "AveragePool"), _window),
}

DROP = Rule(name="identity", anchors=tuple(_IS_IDENTITY), apply=drop)
CLIP_OF_CLIP = Rule(name="clip-of-clip", anchors=("Relu", "Clip"), apply=clip_of_clip)
EXTREMUM = Rule(name="extremum-as-clip", anchors=("Max", "Min"), apply=extremum)
RESHAPE_OF_RESHAPE = Rule(name="reshape-of-reshape", anchors=("Reshape",), apply=reshape_of_reshape)
TRANSPOSE_OF_TRANSPOSE = Rule(name="transpose-of-transpose", anchors=("Transpose",), apply=transpose_of_transpose)
TRANSPOSE_AS_RESHAPE = Rule(name="transpose-as-reshape", anchors=("Transpose",), apply=transpose_as_reshape)
DIVISION_BY_CONSTANT = Rule(name="division-by-constant", anchors=("Div",), apply=division_by_constant)
