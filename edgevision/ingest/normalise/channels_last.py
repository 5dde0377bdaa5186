"""Spans with channels last become NCHW: the Transpose in front of them sinks until it meets its inverse.

t is the Transpose (0, 2, 3, 1) from [N, C, H, W] to [N, H, W, C]; f(t(x)) -> t(g(x)) where g does along axis 1 what f
did along the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgevision.ingest.graph import Graph, Node
from edgevision.ingest.normalise.rule import Refusal, Rule
from edgevision.ingest.spelling.arithmetic import canonical_operands
from edgevision.ingest.spelling.moved import BINARY, EDGEVISION_DOMAIN

TO_LAST = [0, 2, 3, 1]
UNARY = frozenset({"Relu", "Clip", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "Gelu", "Mish",
                   "Softplus", "Softsign", "Sigmoid", "Tanh", "Erf", "Silu", "Abs", "Neg", "Exp", "Log", "Sqrt",
                   "Reciprocal", "Floor", "Ceil", "Round", "Cast"})  # fmt: skip
SINKS = BINARY - {"PRelu", "BitShift"}


def sink(graph: Graph, node: Node) -> bool | Refusal:
    """f(t(x)) -> t(g(x)) for elementwise f, MatMul by a constant matrix (a 1x1 Conv) and LayerNormalization of C."""
    if not any(_last(graph, name) for name in node.inputs):
        return False
    if node.op in UNARY:
        return _unary(graph, node)
    return _MOVES.get(node.op, _binary)(graph, node)


def _last(graph: Graph, tensor: str) -> Node | None:
    """The Transpose to channels last that writes ``tensor``, if it serves a single reader."""
    node = graph.producer(tensor, "Transpose")
    is_it = node is not None and node.attributes["perm"] == TO_LAST and graph.is_private(tensor)
    return node if is_it else None


def _finish(
    graph: Graph, node: Node, op: str, inputs: list[str], attributes: Mapping[str, object], domain: str = ""
) -> bool:
    """``op`` in NCHW, then the Transpose under ``node``'s name."""
    n, h, w, c = graph.shape(node.output)
    moved = graph.add(op, inputs, (n, c, h, w), attributes, at=node, domain=domain)
    graph.replace(node, "Transpose", [moved], {"perm": TO_LAST})
    producer = graph.producer(moved)
    if producer is not None and op in BINARY:
        canonical_operands(graph, producer)
    return True


def _unary(graph: Graph, node: Node) -> bool:
    transpose = _last(graph, node.inputs[0])
    return transpose is not None and _finish(graph, node, node.op, transpose.inputs[:1], node.attributes, node.domain)


def _binary(graph: Graph, node: Node) -> bool | Refusal:
    """Both operands come through t, or one is constant."""
    shape = graph.shape(node.output)
    inputs = []
    for name in node.inputs:
        transpose = _last(graph, name)
        value = graph.constants.get(name)
        if transpose is not None and graph.shape(name) == shape:
            inputs.append(transpose.inputs[0])
        elif value is not None:
            full = value.reshape((1,) * (4 - value.ndim) + value.shape)
            inputs.append(graph.constant(np.ascontiguousarray(full.transpose(0, 3, 1, 2)), name))
        else:
            return Refusal(reason=f"its operand {name!r} does not come with channels last")
    return _finish(graph, node, node.op, inputs, node.attributes)


def _matmul(graph: Graph, node: Node) -> bool | Refusal:
    """t(x) B with constant B [C, K] -> t(Conv(x, W)), W [K, C, 1, 1] = B transposed."""
    transpose, weight = _last(graph, node.inputs[0]), graph.constants.get(node.inputs[1])
    if transpose is None or weight is None or weight.ndim != 2:
        return Refusal(reason="its second operand is not a constant matrix")
    kernel = graph.constant(np.ascontiguousarray(weight.T)[:, :, None, None], node.inputs[1])
    window = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1}
    return _finish(graph, node, "Conv", [transpose.inputs[0], kernel], window)


def _layer_normalization(graph: Graph, node: Node) -> bool | Refusal:
    """LayerNormalization of the last axis alone -> edgevision::ChannelLayerNormalization."""
    transpose = _last(graph, node.inputs[0])
    if transpose is None or node.attributes["axis"] % 4 != 3 or len(node.outputs) > 1:
        return Refusal(reason="it normalises more than the channels")
    parameters = [graph.constants.get(name) for name in node.inputs[1:]]
    if any(value is None for value in parameters):
        return Refusal(reason="its parameters are computed")
    channels = graph.shape(node.output)[3]
    scale, bias = [*(p for p in parameters if p is not None), np.zeros(channels, graph.dtype(node.output))][:2]
    names = [graph.constant(np.ascontiguousarray(np.broadcast_to(v, channels)), node.output) for v in (scale, bias)]
    epsilon = node.attributes.get("epsilon", 1e-5)
    inputs = [transpose.inputs[0], *names]
    return _finish(graph, node, "ChannelLayerNormalization", inputs, {"epsilon": epsilon}, EDGEVISION_DOMAIN)


_MOVES: dict[str, Callable[[Graph, Node], bool | Refusal]] = {
    "MatMul": _matmul,
    "LayerNormalization": _layer_normalization,
}

CHANNELS_LAST = Rule(name="channels-last", anchors=(*sorted(UNARY), *sorted(SINKS), *_MOVES), apply=sink)
