"""Elementwise operators: operand order, chains of two, bounds of Clip; BatchNormalization with computed parameters."""

from __future__ import annotations

import numpy as np

from edgevision.ingest.graph import Array, Graph, Node
from edgevision.ingest.spelling.moved import BINARY, COMMUTATIVE


def canonical_operands(graph: Graph, node: Node, opset: int = 0) -> None:
    """A commutative operator's constant comes second; a constant loses leading unit axes that change nothing."""
    del opset
    inputs = list(node.inputs)
    if node.op in COMMUTATIVE and inputs[0] in graph.constants:
        inputs.reverse()
    for index, name in enumerate(inputs):
        value = graph.constants.get(name)
        if value is not None:
            shape = _narrow(value.shape, graph.shape(inputs[1 - index]), graph.shape(node.output))
            inputs[index] = name if shape == value.shape else graph.constant(value.reshape(shape), name)
    if inputs != node.inputs:
        graph.set_inputs(node, inputs)


def _narrow(shape: tuple[int, ...], other: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, ...]:
    while shape and shape[0] == 1 and np.broadcast_shapes(shape[1:], other) == result:
        shape = shape[1:]
    return shape


def chain(graph: Graph, node: Node, opset: int) -> None:
    """Sum, Max, Min, Mean of n -> n - 1 binary nodes, left to right; Mean is the sum divided by n."""
    op = {"Sum": "Add", "Mean": "Add"}.get(node.op, node.op)
    shape = graph.shape(node.output)
    if node.op == "Mean" and len(node.inputs) > 1:
        total = graph.add("Sum", node.inputs, shape, at=node)
        count = graph.constant(np.array(len(node.inputs), graph.dtype(node.output)), "count")
        graph.replace(node, "Div", [total, count])
        adder = graph.producer(total)
        if adder is not None:
            chain(graph, adder, opset)
        return
    if len(node.inputs) == 1:
        graph.replace(node, "Identity", node.inputs)
        return
    left = node.inputs[0]
    for right in node.inputs[1:-1]:
        partial = np.broadcast_shapes(graph.shape(left), graph.shape(right))
        left = graph.add(op, [left, right], partial, at=node)
        _canonical_producer(graph, left)
    canonical_operands(graph, graph.replace(node, op, [left, node.inputs[-1]]))


def clip(graph: Graph, node: Node, opset: int) -> None:
    """Bounds as attributes, absent where they bound nothing; computed ones are Max and Min; Clip(0, inf) is Relu."""
    del opset
    dtype, shape = graph.dtype(node.output), graph.shape(node.output)
    limits = np.finfo(dtype) if np.issubdtype(dtype, np.floating) else np.iinfo(dtype)
    bounds = dict(node.attributes)
    source = node.inputs[0]
    if len(node.inputs) > 1:
        low, high = [*node.inputs[1:], ""][:2]
        for op, key, bound in (("Max", "min", low), ("Min", "max", high)):
            if not bound and key in bounds:
                bound = graph.constant(np.array(bounds[key], dtype), key)
            if bound:
                source = graph.add(op, [source, bound], shape, at=node)
        graph.replace(node, "Identity", [source])
        return
    if "min" in bounds and bounds["min"] <= float(limits.min):
        del bounds["min"]
    if "max" in bounds and bounds["max"] >= float(limits.max):
        del bounds["max"]
    if not bounds:
        graph.replace(node, "Identity", [source])
    elif bounds == {"min": 0}:
        graph.replace(node, "Relu", [source])
    else:
        node.attributes = bounds


def power(graph: Graph, node: Node, opset: int) -> None:
    """x^2 -> x x; x^0.5 -> sqrt(x) (they differ at -inf and -0 only)."""
    exponent = graph.constants.get(node.inputs[1])
    x = node.inputs[0]
    if exponent is None or exponent.size != 1 or graph.shape(x) != graph.shape(node.output):
        canonical_operands(graph, node, opset)
    elif exponent.item() == 2:
        graph.replace(node, "Mul", [x, x])
    elif exponent.item() == 0.5 and np.issubdtype(graph.dtype(x), np.floating):
        graph.replace(node, "Sqrt", [x])
    else:
        canonical_operands(graph, node, opset)


def batch_normalization(graph: Graph, node: Node, opset: int) -> None:
    """With computed parameters: scale / sqrt(var + epsilon) (x - mean) + bias, in arithmetic."""
    del opset
    x, *parameters = node.inputs
    if all(name in graph.constants for name in parameters):
        return
    shape, dtype = graph.shape(node.output), graph.dtype(node.output)
    column = (shape[1], *[1] * (len(shape) - 2))
    scale, bias, mean, var = (_as_column(graph, node, parameter, column) for parameter in parameters)
    epsilon = graph.constant(np.array(node.attributes.get("epsilon", 1e-5), dtype), "epsilon")
    if var in graph.constants:
        spread: Array = np.sqrt(graph.constants[var] + graph.constants[epsilon])
        deviation = graph.constant(spread, "deviation")
    else:
        deviation = graph.add("Sqrt", [graph.add("Add", [var, epsilon], column, at=node)], column, at=node)
    centred = graph.add("Sub", [x, mean], shape, at=node)
    whitened = graph.add("Div", [centred, deviation], shape, at=node)
    scaled = graph.add("Mul", [whitened, scale], shape, at=node)
    graph.replace(node, "Add", [scaled, bias])


def _as_column(graph: Graph, node: Node, parameter: str, column: tuple[int, ...]) -> str:
    value = graph.constants.get(parameter)
    if value is not None:
        return graph.constant(value.reshape(column), parameter)
    return graph.add("Reshape", [parameter], column, {"shape": list(column)}, at=node)


def _canonical_producer(graph: Graph, tensor: str) -> None:
    node = graph.producer(tensor)
    if node is not None:
        canonical_operands(graph, node)


SPELLINGS = {
    **dict.fromkeys(BINARY, canonical_operands),
    **dict.fromkeys(("Sum", "Mean", "Max", "Min"), chain),
    "Clip": clip,
    "Pow": power,
    "BatchNormalization": batch_normalization,
}
