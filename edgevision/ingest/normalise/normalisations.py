"""LayerNormalization and InstanceNormalization from their arithmetic, and their scale and bias."""

from __future__ import annotations

import numpy as np

from edgevision.ingest.graph import Array, Graph, Node
from edgevision.ingest.normalise.algebra import constant_operand, escape, uniform
from edgevision.ingest.normalise.rule import Refusal, Rule
from edgevision.ingest.spelling.moved import EDGEVISION_DOMAIN


def layer_norm(graph: Graph, node: Node) -> bool | Refusal:
    """(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) -> one normalisation with scale 1 and bias 0.

    Over the last axes: LayerNormalization; over the channels of [N, C, H, W]: edgevision::ChannelLayerNormalization;
    over its pixels: InstanceNormalization. (Ba et al., arXiv 1607.06450.)
    """
    inner: list[Node] = []
    found = _whitening(graph, node, inner)
    if found is None:
        return False
    x, axes, epsilon = found
    shape, rank = graph.shape(x), len(graph.shape(x))
    outside = escape(graph, node, inner)
    if outside:
        return Refusal(reason=outside)
    if axes == list(range(axes[0], rank)) and not (rank == 4 and axes == [2, 3]):
        scale, bias = _unit_parameters(graph, node, shape[axes[0] :])
        graph.replace(node, "LayerNormalization", [x, scale, bias], {"axis": axes[0], "epsilon": epsilon})
    elif rank == 4 and axes == [1]:
        scale, bias = _unit_parameters(graph, node, shape[1:2])
        graph.replace(
            node, "ChannelLayerNormalization", [x, scale, bias], {"epsilon": epsilon}, domain=EDGEVISION_DOMAIN
        )
    elif rank == 4 and axes == [2, 3]:
        scale, bias = _unit_parameters(graph, node, shape[1:2])
        graph.replace(node, "InstanceNormalization", [x, scale, bias], {"epsilon": epsilon})
    else:
        return Refusal(reason=f"a normalisation over axes {axes} of {rank} has no operator")
    return True


def norm_parameters(graph: Graph, node: Node) -> bool | Refusal:
    """norm(x) * constant, norm(x) + constant -> the norm's own scale and bias, in float64."""
    operand = constant_operand(graph, node)
    norm = (
        graph.producer(operand[0], "LayerNormalization", "ChannelLayerNormalization", "InstanceNormalization")
        if operand
        else None
    )
    if operand is None or norm is None:
        return False
    parameters = [graph.constants.get(name) for name in norm.inputs[1:]]
    if any(value is None for value in parameters):
        return Refusal(reason=f"{norm.op} {norm.name!r} has computed parameters")
    scale, *rest = (value.astype(np.float64) for value in parameters if value is not None)
    bias = rest[0] if rest else np.zeros_like(scale)
    value = _as_parameter(operand[1], scale.shape, norm, len(graph.shape(node.output)))
    if value is None:
        return Refusal(reason=f"its constant of shape {operand[1].shape} is no parameter of {norm.op} {norm.name!r}")
    outside = escape(graph, node, [norm])
    if outside:
        return Refusal(reason=outside)
    hints = [norm.inputs[1], f"{norm.output}/bias"]
    scale, bias = (scale * value, bias * value) if node.op == "Mul" else (scale, bias + value)
    dtype = graph.dtype(node.output)
    names = [graph.constant(v.astype(dtype), hint) for v, hint in zip((scale, bias), hints, strict=True)]
    graph.replace(node, norm.op, [norm.inputs[0], *names], norm.attributes, domain=norm.domain)
    return True


def _whitening(graph: Graph, node: Node, inner: list[Node]) -> tuple[str, list[int], float] | None:
    """(x, axes, epsilon) if ``node`` divides x - mean(x) by its standard deviation; fills ``inner``."""
    centred, deviation = node.inputs
    if node.op == "Mul":
        reciprocal = graph.producer(deviation, "Reciprocal", "Pow")
        if reciprocal is None:
            centred, deviation = deviation, centred
            reciprocal = graph.producer(deviation, "Reciprocal", "Pow")
        if reciprocal is None or (reciprocal.op == "Pow" and uniform(graph, reciprocal.inputs[1]) != -0.5):
            return None
        inner.append(reciprocal)
        deviation = reciprocal.inputs[0]
        if reciprocal.op == "Pow":
            return _variance(graph, centred, deviation, inner)
    root = graph.producer(deviation, "Sqrt")
    if root is None:
        return None
    inner.append(root)
    return _variance(graph, centred, root.inputs[0], inner)


def _variance(graph: Graph, centred: str, tensor: str, inner: list[Node]) -> tuple[str, list[int], float] | None:
    """(x, axes, epsilon) if ``tensor`` is mean(centred^2) + epsilon."""
    add = graph.producer(tensor, "Add")
    epsilon = uniform(graph, add.inputs[1]) if add else None
    mean_square = graph.producer(add.inputs[0], "ReduceMean") if add else None
    square = graph.producer(mean_square.inputs[0], "Mul") if mean_square else None
    if add is None or epsilon is None or mean_square is None or square is None or square.inputs[0] != square.inputs[1]:
        return None
    x = _centred(graph, centred, mean_square, inner)
    if x is None or _centred(graph, square.inputs[0], mean_square, inner) != x:
        return None
    inner += [add, mean_square, square]
    return x, mean_square.attributes["axes"], epsilon


def _centred(graph: Graph, tensor: str, alike: Node, inner: list[Node]) -> str | None:
    """x if ``tensor`` is x - mean(x) over the same axes as the mean ``alike``."""
    sub = graph.producer(tensor, "Sub")
    mean = graph.producer(sub.inputs[1], "ReduceMean") if sub else None
    if sub is None or mean is None or mean.inputs[0] != sub.inputs[0]:
        return None
    if (
        not (mean.attributes["keepdims"] and alike.attributes["keepdims"])
        or mean.attributes["axes"] != alike.attributes["axes"]
    ):
        return None
    inner += [sub, mean]
    return sub.inputs[0]


def _unit_parameters(graph: Graph, node: Node, shape: tuple[int, ...]) -> tuple[str, str]:
    dtype = graph.dtype(node.output)
    return graph.constant(np.ones(shape, dtype), f"{node.output}/scale"), graph.constant(
        np.zeros(shape, dtype), f"{node.output}/bias"
    )


def _as_parameter(value: Array, shape: tuple[int, ...], norm: Node, rank: int) -> Array | None:
    """``value`` broadcast to a parameter's shape; None if it varies along other axes."""
    if norm.op != "LayerNormalization" and value.ndim:
        if value.ndim != rank - 1 or any(extent != 1 for extent in value.shape[1:]):
            return None
        value = value.reshape(value.shape[0])
    try:
        return np.broadcast_to(value.astype(np.float64), shape)
    except ValueError:
        return None


LAYER_NORM = Rule(name="layer-norm", anchors=("Div", "Mul"), apply=layer_norm)
NORM_PARAMETERS = Rule(name="norm-parameters", anchors=("Mul", "Add"), apply=norm_parameters)
