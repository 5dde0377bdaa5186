"""Hard sigmoid and hard swish from their arithmetic (MobileNetV3, section 5.2)."""

from __future__ import annotations

from edgevision.ingest.graph import Graph, Node
from edgevision.ingest.normalise.algebra import (
    Product,
    affine,
    equal,
    escape,
    factor_pairs,
    is_polynomial,
    polynomial,
    product,
    scaled,
)
from edgevision.ingest.normalise.rule import Refusal, Rule

SWISH_ALPHA, SWISH_BETA = 1 / 6, 0.5


def hard_sigmoid(graph: Graph, node: Node) -> bool | Refusal:
    """s clip(a x + b, 0, h) with s h = 1 -> HardSigmoid(x) = max(0, min(1, s a x + s b)).

    Exact but for rounding. A bare Clip(x, 0, 1) stays.
    """
    outer = scaled(graph, node.output)
    clip = graph.producer(outer.base, "Clip")
    top = _top(clip)
    if clip is None or top is None or not equal(outer.scale * top, 1.0):
        return False
    a, b, x, inner = affine(graph, clip.inputs[0])
    if not outer.inner and not inner:
        return False
    outside = escape(graph, node, [*outer.inner, clip])
    if outside:
        return Refusal(reason=outside)
    graph.replace(node, "HardSigmoid", [x], {"alpha": a * outer.scale, "beta": b * outer.scale})
    return True


def hard_gate(graph: Graph, node: Node) -> bool | Refusal:
    """s y clip(a x + b, 0, h) with s h = 1 -> y HardSigmoid(x): the gate of a squeeze-and-excitation block."""
    found = product(graph, node)
    if found is None or found.scale == 1.0:
        return False
    for y, gate in factor_pairs(found):
        clip = graph.producer(gate, "Clip")
        top = _top(clip)
        if clip is None or top is None or not equal(found.scale * top, 1.0):
            continue
        outside = escape(graph, node, [*found.inner, clip])
        if outside:
            return Refusal(reason=outside)
        a, b, x, _ = affine(graph, clip.inputs[0])
        attributes = {"alpha": a * found.scale, "beta": b * found.scale}
        sigmoid = graph.add("HardSigmoid", [x], graph.shape(gate), attributes, at=node)
        graph.replace(node, "Mul", [y, sigmoid])
        return True
    return False


def hard_swish(graph: Graph, node: Node) -> bool | Refusal:
    """x clip(x + 3, 0, 6) / 6, factors and scales in any order, or x HardSigmoid(x; 1/6, 1/2) -> HardSwish(x)."""
    found = product(graph, node)
    if found is None:
        return False
    for x, gate in factor_pairs(found):
        inner = _swish_gate(graph, found, x, gate)
        if inner is not None:
            outside = escape(graph, node, [*found.inner, *inner])
            if outside:
                return Refusal(reason=outside)
            graph.replace(node, "HardSwish", [x])
            return True
    return False


def _swish_gate(graph: Graph, found: Product, x: str, gate: str) -> list[Node] | None:
    """The nodes of the gate if scale * gate(x) is HardSigmoid(x; 1/6, 1/2)."""
    sigmoid = graph.producer(gate, "HardSigmoid")
    if sigmoid is not None:
        alpha, beta = sigmoid.attributes.get("alpha", 0.2), sigmoid.attributes.get("beta", 0.5)
        is_it = (
            sigmoid.inputs[0] == x and equal(found.scale, 1.0) and equal(alpha, SWISH_ALPHA) and equal(beta, SWISH_BETA)
        )
        return [sigmoid] if is_it else None
    clip = graph.producer(gate, "Clip")
    top = _top(clip)
    if clip is None or top is None or not equal(found.scale * top, 1.0):
        return None
    inner: list[Node] = []
    wanted = {1: SWISH_ALPHA / found.scale, 0: SWISH_BETA / found.scale}
    return [clip, *inner] if is_polynomial(polynomial(graph, clip.inputs[0], x, inner), wanted) else None


def _top(clip: Node | None) -> float | None:
    """h of a Clip to [0, h], h > 0."""
    if clip is None or clip.attributes.get("min") != 0 or clip.attributes.get("max", 0) <= 0:
        return None
    return float(clip.attributes["max"])


HARD_SWISH = Rule(name="hard-swish", anchors=("Mul", "Div"), apply=hard_swish)
HARD_SIGMOID = Rule(name="hard-sigmoid", anchors=("Clip", "Mul", "Div"), apply=hard_sigmoid)
HARD_GATE = Rule(name="hard-sigmoid-gate", anchors=("Mul", "Div"), apply=hard_gate)
