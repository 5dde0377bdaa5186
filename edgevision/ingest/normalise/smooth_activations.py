"""SiLU, GELU, Mish and what they are made of, from their arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

from edgevision.ingest.graph import Graph, Node
from edgevision.ingest.normalise.algebra import (
    equal,
    escape,
    factor_pairs,
    is_polynomial,
    polynomial,
    product,
    scaled,
    uniform,
)
from edgevision.ingest.normalise.rule import Refusal, Rule
from edgevision.ingest.spelling.moved import EDGEVISION_DOMAIN

TANH_LINEAR, TANH_CUBIC = sqrt(2 / pi), sqrt(2 / pi) * 0.044715


def sigmoid(graph: Graph, node: Node) -> bool | Refusal:
    """1 / (1 + exp(-x)), as Div or Reciprocal -> Sigmoid(x)."""
    if node.op == "Div" and uniform(graph, node.inputs[0]) != 1.0:
        return False
    inner: list[Node] = []
    x = _one_plus_exp_minus(graph, node.inputs[-1], inner)
    if x is None or graph.shape(x) != graph.shape(node.output):
        return False
    return _replace(graph, node, inner, "Sigmoid", x)


def softplus(graph: Graph, node: Node) -> bool | Refusal:
    """log(1 + exp(x)) -> Softplus(x), which also holds where exp(x) overflows."""
    add = graph.producer(node.inputs[0], "Add")
    exp = graph.producer(add.inputs[0], "Exp") if add else None
    if (
        add is None
        or exp is None
        or uniform(graph, add.inputs[1]) != 1.0
        or graph.shape(add.output) != graph.shape(exp.output)
    ):
        return False
    return _replace(graph, node, [add, exp], "Softplus", exp.inputs[0])


def silu(graph: Graph, node: Node) -> bool | Refusal:
    """x sigmoid(x), or x / (1 + exp(-x)) -> Silu(x)."""
    if node.op == "Div":
        inner: list[Node] = []
        x = _one_plus_exp_minus(graph, node.inputs[1], inner)
        return _replace(graph, node, inner, "Silu", x, EDGEVISION_DOMAIN) if x == node.inputs[0] and x else False
    for x, gate in (node.inputs, node.inputs[::-1]):
        made = graph.producer(gate, "Sigmoid")
        if made is not None and made.inputs[0] == x:
            return _replace(graph, node, [made], "Silu", x, EDGEVISION_DOMAIN)
    return False


def mish(graph: Graph, node: Node) -> bool | Refusal:
    """x tanh(softplus(x)) -> Mish(x)."""
    for x, gate in (node.inputs, node.inputs[::-1]):
        tanh = graph.producer(gate, "Tanh")
        plus = graph.producer(tanh.inputs[0], "Softplus") if tanh else None
        if tanh is not None and plus is not None and plus.inputs[0] == x:
            return _replace(graph, node, [tanh, plus], "Mish", x)
    return False


def gelu(graph: Graph, node: Node) -> bool | Refusal:
    """0.5 x (1 + erf(x / sqrt 2)) -> Gelu(x); 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) -> Gelu(x, tanh).

    Scales, the cube and the factors in any order (Hendrycks and Gimpel, arXiv 1606.08415).
    """
    found = product(graph, node)
    if found is None:
        return False
    for x, gate in factor_pairs(found):
        add = graph.producer(gate, "Add")
        one = uniform(graph, add.inputs[1]) if add else None
        if add is None or one is None:
            continue
        part = scaled(graph, add.inputs[0])
        curve = graph.producer(part.base, "Erf", "Tanh")
        if curve is None or not (equal(part.scale, one) and equal(found.scale * one, 0.5)):
            continue
        wanted = {1: sqrt(0.5)} if curve.op == "Erf" else {1: TANH_LINEAR, 3: TANH_CUBIC}
        inner: list[Node] = []
        if is_polynomial(polynomial(graph, curve.inputs[0], x, inner), wanted):
            nodes = [*found.inner, add, *part.inner, curve, *inner]
            return _replace(graph, node, nodes, "Gelu", x, approximate="none" if curve.op == "Erf" else "tanh")
    return False


def _one_plus_exp_minus(graph: Graph, tensor: str, inner: list[Node]) -> str | None:
    """x of 1 + exp(-x)."""
    add = graph.producer(tensor, "Add")
    exp = graph.producer(add.inputs[0], "Exp") if add else None
    if add is None or exp is None or uniform(graph, add.inputs[1]) != 1.0:
        return None
    minus = graph.producer(exp.inputs[0], "Neg", "Mul")
    if minus is None or (minus.op == "Mul" and uniform(graph, minus.inputs[1]) != -1.0):
        return None
    inner += [add, exp, minus]
    return minus.inputs[0]


def _replace(
    graph: Graph, node: Node, inner: list[Node], op: str, x: str, domain: str = "", **attributes: str
) -> bool | Refusal:
    outside = escape(graph, node, inner)
    if outside:
        return Refusal(reason=outside)
    graph.replace(node, op, [x], attributes, domain=domain)
    return True


def _rule(name: str, anchors: tuple[str, ...], apply: Callable[[Graph, Node], bool | Refusal]) -> Rule:
    return Rule(name=name, anchors=anchors, apply=apply)


SIGMOID = _rule("sigmoid", ("Div", "Reciprocal"), sigmoid)
SOFTPLUS = _rule("softplus", ("Log",), softplus)
SILU = _rule("silu", ("Mul", "Div"), silu)
MISH = _rule("mish", ("Mul",), mish)
GELU = _rule("gelu", ("Mul", "Div"), gelu)
