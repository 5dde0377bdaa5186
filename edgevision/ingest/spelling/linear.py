"""Gemm and MatMul by a constant matrix: one layout of the weights, one kind of bias."""

from __future__ import annotations

import numpy as np

from edgevision.ingest.graph import Array, Graph, Node
from edgevision.ingest.spelling.arithmetic import canonical_operands

NORMAL = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}


def gemm(graph: Graph, node: Node, opset: int) -> None:
    """alpha A' B' + beta C with constant B -> Gemm(A, B [N, K], C [N]) with transB = 1, alpha = beta = 1.

    alpha and beta go into B and C in float64. What is no constant row stays an Add after the product.
    """
    del opset
    a, b, *rest = node.inputs
    weight = graph.constants.get(b)
    if weight is None:
        return
    attributes = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0, **node.attributes}
    if attributes["transA"]:
        a = graph.add("Transpose", [a], graph.shape(a)[::-1], {"perm": [1, 0]}, at=node)
    weight = weight if attributes["transB"] else weight.T
    b = graph.constant(_scaled(np.ascontiguousarray(weight), attributes["alpha"]), b)
    if not rest or not rest[0]:
        graph.replace(node, "Gemm", [a, b], NORMAL)
        return
    bias = graph.constants.get(rest[0])
    columns = graph.shape(node.output)[1]
    if bias is not None and bias.size in (1, columns) and (bias.size == 1 or bias.shape[-1] == columns):
        row = np.broadcast_to(np.ravel(bias), columns)
        graph.replace(node, "Gemm", [a, b, graph.constant(_scaled(row, attributes["beta"]), rest[0])], NORMAL)
        return
    product = graph.add("Gemm", [a, b], graph.shape(node.output), NORMAL, at=node)
    addend = rest[0]
    if bias is not None:
        addend = graph.constant(_scaled(bias, attributes["beta"]), addend)
    elif attributes["beta"] != 1.0:
        factor = graph.constant(np.array(attributes["beta"], graph.dtype(addend)), "beta")
        addend = graph.add("Mul", [addend, factor], graph.shape(addend), at=node)
    canonical_operands(graph, graph.replace(node, "Add", [product, addend]))


def matmul(graph: Graph, node: Node, opset: int) -> None:
    """A [M, K] by a constant [K, N] -> Gemm."""
    del opset
    a, b = node.inputs
    weight = graph.constants.get(b)
    if weight is None or weight.ndim != 2 or len(graph.shape(a)) != 2:
        return
    transposed = graph.constant(np.ascontiguousarray(weight.T), b)
    graph.replace(node, "Gemm", [a, transposed], NORMAL)


def _scaled(value: Array, factor: float) -> Array:
    return np.ascontiguousarray(value if factor == 1.0 else (value.astype(np.float64) * factor).astype(value.dtype))


SPELLINGS = {"Gemm": gemm, "MatMul": matmul}
