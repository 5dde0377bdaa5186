"""Channels in another order, as weights in another order: a shuffle in front of convolutions goes into what they multiply by.

y = W x[order] is y = W' x with W'[:, order] = W. In front of a grouped convolution each group's own channels may come in any
order, so that what is left of a shuffle says only which channels a group reads, in rising order: runs of them, as a Gather.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

import numpy as np

from edgevision.ingest.graph import Array, Graph, Node
from edgevision.ingest.normalise.channels_last import UNARY
from edgevision.ingest.normalise.rule import Refusal, Rule
from edgevision.ingest.spelling.moved import BINARY

IMAGE_RANK = 4
ORDERS = ("ChannelShuffle", "Gather")
GLOBAL_POOLS = ("GlobalAveragePool", "GlobalMaxPool")
POOLS = ("AveragePool", "MaxPool", *GLOBAL_POOLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Readers:
    """Who reads a tensor: ``ends`` are the convolutions and other orders, ``between`` what computes every channel from the same
    channel before them. ``groups``: the fewest parts of the channels that no convolution mixes."""

    between: tuple[Node, ...]
    ends: tuple[Node, ...]
    groups: int


def into_weights(graph: Graph, node: Node) -> bool | Refusal:
    """Convolutions behind a new order read the old one, but for which channels their groups read."""
    order = order_of(graph, node)
    if order is None:
        return False
    if np.array_equal(order, np.arange(len(order))):
        return graph.bypass(node, node.inputs[0])
    found = _readers(graph, node.output)
    if isinstance(found, Refusal):
        return found
    rows = order.reshape(found.groups, -1)
    kept = np.sort(rows, axis=1).ravel()
    if np.array_equal(kept, order):
        return False
    inverse = (np.argsort(rows, axis=1) + np.arange(0, len(order), rows.shape[1])[:, None]).ravel()
    for each in found.between:
        graph.set_inputs(each, [_moved_operand(graph, each, name, inverse) for name in each.inputs])
    for each in found.ends:
        _end(graph, each, inverse)
    if np.array_equal(kept, np.arange(len(kept))):
        return graph.bypass(node, node.inputs[0])
    _gather(graph, node, node.inputs[0], kept)
    return True


def behind_pool(graph: Graph, node: Node) -> bool:
    """pool(x[order]) over the whole image is pool(x)[order], of one pixel instead of all."""
    before = graph.producer(node.inputs[0], *ORDERS)
    order = order_of(graph, before) if before is not None else None
    if before is None or order is None:
        return False
    pooled = graph.add(node.op, before.inputs[:1], graph.shape(node.output), node.attributes, at=node)
    _gather(graph, node, pooled, order)
    return True


def behind_concat(graph: Graph, node: Node) -> bool:
    """concat(x, y[order]) is concat(x, y)[a longer order], where other orders and weights take that up whole."""
    if len(graph.shape(node.output)) != IMAGE_RANK or node.attributes["axis"] % IMAGE_RANK != 1:
        return False
    found = _readers(graph, node.output)
    if isinstance(found, Refusal) or found.groups > 1:
        return False
    sources, orders, start = [], [], 0
    for name in node.inputs:
        before = graph.producer(name, *ORDERS)
        order = order_of(graph, before) if before is not None and graph.is_private(name) else None
        channels = graph.shape(name)[1]
        sources.append(before.inputs[0] if before is not None and order is not None else name)
        orders.append(start + (np.arange(channels) if order is None else order))
        start += channels
    if sources == node.inputs:
        return False
    whole = graph.add("Concat", sources, graph.shape(node.output), node.attributes, at=node)
    _gather(graph, node, whole, np.concatenate(orders))
    return True


def order_of(graph: Graph, node: Node) -> Array | None:
    """Which channel of its data each channel of its result [N, C, H, W] is; None where it is not each of them once."""
    shape = graph.shape(node.output)
    if len(shape) != IMAGE_RANK:
        return None
    if node.op == "ChannelShuffle":
        return np.arange(shape[1]).reshape(node.attributes["groups"], -1).T.ravel()
    order = graph.constants.get(node.inputs[1])
    if order is None or order.ndim != 1 or node.attributes["axis"] % IMAGE_RANK != 1:
        return None
    whole = np.arange(graph.shape(node.inputs[0])[1])
    return order if np.array_equal(np.sort(order), whole) else None


def _gather(graph: Graph, node: Node, source: str, order: Array) -> None:
    """``node``'s result is ``source``'s channels in ``order``."""
    indices = graph.constant(order.astype(np.int64), f"{node.output}/order")
    graph.replace(node, "Gather", [source, indices], {"axis": 1})


def _end(graph: Graph, node: Node, inverse: Array) -> None:
    """A convolution, or another order, of channels that are where the old order has them."""
    if node.op in ORDERS:
        own = order_of(graph, node)
        assert own is not None, "an end of `_readers`"
        _gather(graph, node, node.inputs[0], np.argsort(inverse)[own])
        return
    weight = graph.constant(_moved_weights(graph, node, inverse), node.inputs[1])
    graph.set_inputs(node, [node.inputs[0], weight, *node.inputs[2:]])


def _readers(graph: Graph, tensor: str) -> _Readers | Refusal:
    channels = graph.shape(tensor)[1]
    between: list[Node] = []
    ends: list[Node] = []
    reached = [tensor]
    for each in reached:
        if each in graph.outputs:
            return Refusal(reason=f"{each!r} is an output of the model")
        for reader in graph.readers(each):
            if _ends(graph, reader, each):
                ends.append(reader)
            elif not _keeps_channels(graph, reader, channels):
                return Refusal(reason=f"{reader.op} {reader.name!r} reads it")
            elif reader not in between:
                between.append(reader)
                reached.append(reader.output)
    for node in between:
        other = next((name for name in node.inputs if name and name not in reached and not _same_for_all(graph, name)), None)
        if other is not None:
            return Refusal(reason=f"{node.op} {node.name!r} joins it with {other!r}")
    groups = (node.attributes["group"] for node in ends if node.op not in ORDERS)
    return _Readers(between=tuple(between), ends=tuple(ends), groups=lcm(*groups))


def _ends(graph: Graph, node: Node, tensor: str) -> bool:
    """Whether ``node`` is another order, or a convolution of ``tensor`` and of nothing else computed that is not depthwise."""
    if node.op in ORDERS:
        return order_of(graph, node) is not None
    is_one = node.op in ("Conv", "ConvTranspose") and node.inputs[1] in graph.constants
    return is_one and node.inputs[0] == tensor and not _is_depthwise(graph, node)


def _is_depthwise(graph: Graph, node: Node) -> bool:
    channels = graph.shape(node.inputs[0])[1]
    return node.op == "Conv" and node.attributes["group"] == channels == graph.shape(node.output)[1]


def _keeps_channels(graph: Graph, node: Node, channels: int) -> bool:
    """Whether channel c of its only result is computed from channel c of its operands alone."""
    shape = graph.shape(node.output)
    if len(node.outputs) != 1 or len(shape) != IMAGE_RANK or shape[1] != channels:
        return False
    if node.op == "Conv":
        return _is_depthwise(graph, node) and all(name in graph.constants for name in node.inputs[1:])
    return node.op in UNARY or node.op in POOLS or node.op in BINARY


def _same_for_all(graph: Graph, name: str) -> bool:
    """Whether ``name`` is a constant, which can be moved, or one value for all channels."""
    shape = graph.shape(name)
    return name in graph.constants or len(shape) < IMAGE_RANK - 1 or shape[-3] == 1


def _moved_operand(graph: Graph, node: Node, name: str, inverse: Array) -> str:
    """A constant operand of what keeps channels, with the channels where the old order has them; any other operand as it is."""
    value = graph.constants.get(name)
    axis = 0 if node.op == "Conv" else value.ndim - (IMAGE_RANK - 1) if value is not None else -1
    if value is None or axis < 0 or value.shape[axis] != len(inverse):
        return name
    return graph.constant(np.take(value, inverse, axis), name)


def _moved_weights(graph: Graph, node: Node, inverse: Array) -> Array:
    """The weights of a convolution by input channels in the old order: [O, C / groups, ...], of a transposed one [C, ...]."""
    weight = graph.constants[node.inputs[1]]
    if node.op == "ConvTranspose":
        return weight[inverse]
    groups = node.attributes["group"]
    rows = weight.reshape(groups, -1, *weight.shape[1:])
    each = inverse.reshape(groups, -1) - np.arange(groups)[:, None] * weight.shape[1]
    return np.stack([row[:, own] for row, own in zip(rows, each, strict=True)]).reshape(weight.shape)


ORDER_BEHIND_POOL = Rule(name="order-behind-pool", anchors=GLOBAL_POOLS, apply=behind_pool)
ORDER_BEHIND_CONCAT = Rule(name="order-behind-concat", anchors=("Concat",), apply=behind_concat)
ORDER_INTO_WEIGHTS = Rule(name="order-into-weights", anchors=ORDERS, apply=into_weights)
