"""What follows a Conv, ConvTranspose, Gemm or BatchNormalization channel by channel goes into its weights, in float64.

y_o = (W x)_o + b_o, then s_o y_o + t_o, is a linear map of its own: W'_o = s_o W_o, b'_o = s_o b_o + t_o. Exact but for
the rounding of the new weights to their own type.
"""

from __future__ import annotations

import numpy as np

from edgevision.ingest.graph import Array, Graph, Node
from edgevision.ingest.normalise.algebra import constant_operand, escape
from edgevision.ingest.normalise.rule import Refusal, Rule

LINEAR = ("Conv", "ConvTranspose", "Gemm", "BatchNormalization")


def batch_norm(graph: Graph, node: Node) -> bool | Refusal:
    """BatchNormalization behind a linear operator: s = scale / sqrt(var + epsilon), t = B - s mean."""
    linear = graph.producer(node.inputs[0], *LINEAR)
    if linear is None:
        return False
    scale, bias, mean, var = (graph.constants[name].astype(np.float64) for name in node.inputs[1:])
    factor = scale / np.sqrt(var + node.attributes.get("epsilon", 1e-5))
    return _fold(graph, node, linear, factor, bias - factor * mean)


def channel_arithmetic(graph: Graph, node: Node) -> bool | Refusal:
    """Mul, Div, Add, Sub by a constant of one value a channel after a linear operator."""
    operand = constant_operand(graph, node)
    linear = graph.producer(operand[0], *LINEAR) if operand else None
    if operand is None or linear is None:
        return False
    shape = graph.shape(node.output)
    value = _per_channel(operand[1], shape)
    if value is None:
        return Refusal(reason=f"its constant of shape {operand[1].shape} varies within a channel")
    if node.op == "Div" and not value.all():
        return Refusal(reason="it divides by zero")
    if node.op in ("Mul", "Div"):
        factor, term = (value if node.op == "Mul" else 1.0 / value), np.zeros_like(value)
    else:
        factor, term = np.ones_like(value), (value if node.op == "Add" else -value)
    return _fold(graph, node, linear, factor, term)


def _fold(graph: Graph, node: Node, linear: Node, factor: Array, term: Array) -> bool | Refusal:
    if linear.op == "BatchNormalization":
        return _fold_into_norm(graph, node, linear, factor, term)
    weight = graph.constants.get(linear.inputs[1])
    bias = graph.constants.get(linear.inputs[2]) if len(linear.inputs) > 2 else np.zeros_like(factor)
    if weight is None or bias is None:
        return Refusal(reason=f"{linear.op} {linear.name!r} has computed weights")
    outside = escape(graph, node, [linear])
    if outside:
        return Refusal(reason=outside)
    scaled = _scale_outputs(weight.astype(np.float64), factor, linear)
    names = [
        graph.constant(value.astype(weight.dtype), hint)
        for value, hint in (
            (scaled, linear.inputs[1]),
            (bias.astype(np.float64) * factor + term, f"{linear.output}/bias"),
        )
    ]
    new = graph.replace(node, linear.op, [linear.inputs[0], *names], linear.attributes)
    new.name = linear.name
    return True


def _fold_into_norm(graph: Graph, node: Node, norm: Node, factor: Array, term: Array) -> bool | Refusal:
    outside = escape(graph, node, [norm])
    if outside:
        return Refusal(reason=outside)
    x, scale, bias, *statistics = norm.inputs
    dtype = graph.constants[scale].dtype
    new_scale = (graph.constants[scale].astype(np.float64) * factor).astype(dtype)
    new_bias = (graph.constants[bias].astype(np.float64) * factor + term).astype(dtype)
    inputs = [x, graph.constant(new_scale, scale), graph.constant(new_bias, bias), *statistics]
    graph.replace(node, norm.op, inputs, norm.attributes).name = norm.name
    return True


def _scale_outputs(weight: Array, factor: Array, linear: Node) -> Array:
    """Weights with output channel o times factor[o]: axis 0, but for ConvTranspose [I, O / groups, ...]."""
    if linear.op != "ConvTranspose":
        return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    groups = linear.attributes.get("group", 1)
    inputs, outputs, *kernel = weight.shape
    grouped = weight.reshape(groups, inputs // groups, outputs, *kernel)
    return (grouped * factor.reshape(groups, 1, outputs, *[1] * len(kernel))).reshape(weight.shape)


def _per_channel(value: Array, shape: tuple[int, ...]) -> Array | None:
    """One float64 value for each channel of a tensor [N, C, ...]; None if ``value`` varies along another axis."""
    full = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if any(extent != 1 for axis, extent in enumerate(full.shape) if axis != 1):
        return None
    return np.broadcast_to(full.astype(np.float64).ravel(), shape[1]).copy()


BATCH_NORM = Rule(name="fold-batch-norm", anchors=("BatchNormalization",), apply=batch_norm)
CHANNEL_ARITHMETIC = Rule(
    name="fold-channel-arithmetic", anchors=("Mul", "Div", "Add", "Sub"), apply=channel_arithmetic
)
