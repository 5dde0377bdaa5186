"""Read arithmetic back from a graph: products, polynomials and affine maps, in whatever order they were written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isclose

import numpy as np

from edgevision.ingest.graph import Array, Graph, Node

# Exporters round constants to float32 (6e-8) or to seven digits (1/6 as 0.1666667: 2e-7).
CONSTANT_RTOL = 1e-6
DEPTH_LIMIT = 8
DEGREE_LIMIT = 4


def equal(a: float, b: float) -> bool:
    """True if a constant of the graph stands for ``b``."""
    return isclose(a, b, rel_tol=CONSTANT_RTOL, abs_tol=1e-12)


def uniform(graph: Graph, tensor: str) -> float | None:
    """The one value that all elements of a floating-point constant have."""
    value = graph.constants.get(tensor)
    if value is None or not np.issubdtype(value.dtype, np.floating):
        return None
    first = value.flat[0]
    return float(first) if bool((value == first).all()) else None


def constant_operand(graph: Graph, node: Node) -> tuple[str, Array] | None:
    """(tensor, constant) of a binary node that keeps the tensor's shape; None if its second operand is no constant."""
    value = graph.constants.get(node.inputs[1])
    if value is None or graph.shape(node.inputs[0]) != graph.shape(node.output):
        return None
    return node.inputs[0], value


def escape(graph: Graph, root: Node, inner: Sequence[Node]) -> str:
    """Why the nodes between a pattern's inputs and its ``root`` cannot go: one is read outside. "" if all can."""
    span = {id(node) for node in (*inner, root)}
    for node in inner:
        if node is root:
            continue
        if any(output in graph.outputs for output in node.outputs):
            return f"{node.op} {node.name!r} inside the pattern is an output of the model"
        outside = [reader for output in node.outputs for reader in graph.readers(output) if id(reader) not in span]
        if outside:
            return f"{node.op} {node.name!r} inside the pattern is also read by {outside[0].name!r}"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """scale * base: ``inner`` are the nodes between, the outermost first."""

    scale: float
    base: str
    inner: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """scale * left * right, neither factor constant."""

    scale: float
    left: str
    right: str
    inner: tuple[Node, ...] = ()


def scaled(graph: Graph, tensor: str) -> Scaled:
    """Peel Mul and Div by uniform constants off ``tensor``, as long as only one node reads what is peeled."""
    scale, inner = 1.0, list[Node]()
    while len(inner) < DEPTH_LIMIT:
        node = graph.producer(tensor, "Mul", "Div")
        operand = constant_operand(graph, node) if node else None
        value = uniform(graph, node.inputs[1]) if node and operand else None
        if (
            node is None
            or value is None
            or (inner and not graph.is_private(tensor))
            or (node.op == "Div" and value == 0)
        ):
            break
        scale = scale * value if node.op == "Mul" else scale / value
        inner.append(node)
        tensor = node.inputs[0]
    return Scaled(scale=scale, base=tensor, inner=tuple(inner))


def product(graph: Graph, root: Node) -> Product | None:
    """``root`` (Mul or Div) as a scaled product of two tensors, scales anywhere in it; None if it is none."""
    outer = scaled(graph, root.output)
    node = graph.producer(outer.base, "Mul")
    if node is None or any(name in graph.constants for name in node.inputs):
        return None
    sides = []
    for name in node.inputs:
        sides.append(scaled(graph, name) if graph.is_private(name) else Scaled(scale=1.0, base=name))
    left, right = sides
    inner = (*outer.inner, node, *left.inner, *right.inner)
    return Product(scale=outer.scale * left.scale * right.scale, left=left.base, right=right.base, inner=inner)


def factor_pairs(found: Product) -> Iterator[tuple[str, str]]:
    """Both orders of the two factors."""
    yield found.left, found.right
    yield found.right, found.left


def affine(graph: Graph, tensor: str) -> tuple[float, float, str, list[Node]]:
    """(a, b, x, inner) with tensor = a x + b, peeling private Add, Sub, Mul, Div by uniform constants."""
    a, b, inner = 1.0, 0.0, list[Node]()
    while len(inner) < DEPTH_LIMIT:
        node = graph.producer(tensor, "Add", "Sub", "Mul", "Div")
        value = uniform(graph, node.inputs[1]) if node and constant_operand(graph, node) else None
        if node is None or value is None or not graph.is_private(tensor) or (node.op == "Div" and value == 0):
            break
        if node.op in ("Add", "Sub"):
            b += a * (value if node.op == "Add" else -value)
        else:
            a = a * value if node.op == "Mul" else a / value
        inner.append(node)
        tensor = node.inputs[0]
    return a, b, tensor, inner


Polynomial = dict[int, float]


def polynomial(graph: Graph, tensor: str, x: str, inner: list[Node], depth: int = 0) -> Polynomial | None:
    """Coefficients by power of ``tensor`` as a polynomial in ``x``; appends the nodes it is made of to ``inner``."""
    if tensor == x:
        return {1: 1.0}
    value = uniform(graph, tensor)
    if value is not None:
        return {0: value}
    node = graph.producer(tensor, "Add", "Sub", "Mul", "Div", "Neg", "Pow")
    if node is None or depth > DEPTH_LIMIT or graph.shape(tensor) != graph.shape(x):
        return None
    inner.append(node)
    sides = [polynomial(graph, name, x, inner, depth + 1) for name in node.inputs]
    if any(side is None for side in sides):
        return None
    return _combine(node.op, [side for side in sides if side is not None])


def _combine(op: str, sides: list[Polynomial]) -> Polynomial | None:
    left, right = sides[0], sides[-1]
    if op == "Neg":
        return {power: -c for power, c in left.items()}
    if op in ("Add", "Sub"):
        sign = 1.0 if op == "Add" else -1.0
        return {p: left.get(p, 0.0) + sign * right.get(p, 0.0) for p in sorted(left.keys() | right.keys())}
    if op == "Mul":
        return _multiply(left, right)
    if set(right) != {0}:
        return None
    if op == "Div":
        return {power: c / right[0] for power, c in left.items()} if right[0] else None
    result: Polynomial | None = {0: 1.0}
    if right[0] not in range(1, DEGREE_LIMIT + 1):
        return None
    for _ in range(int(right[0])):
        result = _multiply(result, left) if result is not None else None
    return result


def _multiply(left: Polynomial, right: Polynomial) -> Polynomial | None:
    result: Polynomial = {}
    for p, a in left.items():
        for q, b in right.items():
            result[p + q] = result.get(p + q, 0.0) + a * b
    return result if max(result) <= DEGREE_LIMIT else None


def is_polynomial(found: Polynomial | None, wanted: Polynomial) -> bool:
    """True if both have the same coefficients (0 where one has none)."""
    if found is None:
        return False
    return all(equal(found.get(p, 0.0), wanted.get(p, 0.0)) for p in found.keys() | wanted.keys())
