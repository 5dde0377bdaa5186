"""Lossless pruning: channels that are the same number for every input go, and the function stays.

A class is dead when at every Conv, ConvTranspose, Gemm and MatMul that reads it the weights for it are zero, or its
value is a constant v that can be added to the bias instead: b + sum(W[:, c]) * v. That is exact for v = 0 everywhere,
and for other v in a Conv without padding or a Gemm. In a padded Conv the sum is over fewer taps at the border: there it is
a constant map that is added (`border`), where reading it costs less than the channels did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.rewrite.prune.border import border_map, pays
from edgevision.rewrite.prune.channels import Channels, Labels
from edgevision.rewrite.prune.cost import MULTIPLYING
from edgevision.rewrite.prune.importance import layers_of
from edgevision.rewrite.prune.intervals import Bounds, Interval
from edgevision.rewrite.prune.ladder import ladders
from edgevision.rewrite.prune.network import Array, Network, Node
from edgevision.rewrite.prune.operators import depthwise
from edgevision.rewrite.prune.pruning import ROUND_TO, Pruned, analysed, without

NEAR_DEAD = 0.01
"""L1 norm of a filter under which it counts as nearly dead: the threshold of filter grafting, arXiv 2001.05868."""

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDead:
    """``filters`` of a layer's ``of`` have an L1 norm below `NEAR_DEAD`, those that are all zero included."""

    layer: str
    filters: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadChannels:
    """``removed`` dead channels, and ``kept`` ones that stay so that widths remain multiples and blocks equal."""

    removed: int
    kept: int
    near: tuple[NearDead, ...]


def prune_lossless(
    proto: onnx.ModelProto, ranges: Ranges, *, round_to: int = ROUND_TO, frozen: Sequence[str] = ()
) -> tuple[Pruned, DeadChannels]:
    """Remove dead channels until there are none. ``ranges``: input -> its least and largest value, where known.

    Removing one can make another dead: a filter that only dead ones read.
    """
    network = Network(proto)
    near = near_dead(network)
    before: dict[str, int] = {}
    removed = 0
    while True:
        channels = analysed(network, frozen)
        before = before or {layer.node: len(layer.ids) for layer in channels.layers}
        bounds = Bounds(network, channels, ranges)
        dead, gone = _goes(network, channels, bounds, round_to)
        if not gone:
            break
        removed += len(gone)
        network, channels = folded(network, channels, bounds, gone)
        network = Network(without(network, channels, gone, unit="", requested=None, achieved=1.0).proto)
    last = without(network, channels, (), unit="channels", requested=None, achieved=1.0)
    widths = tuple(replace(width, before=before[width.layer]) for width in last.widths)
    share = sum(width.after for width in widths) / max(1, sum(before.values()))
    found = replace(last, widths=widths, achieved=share)
    return found, DeadChannels(removed=removed, kept=len(dead), near=near)


def _goes(
    network: Network, channels: Channels, bounds: Bounds, round_to: int
) -> tuple[frozenset[int], tuple[int, ...]]:
    """The dead classes, and those of them that go: no width that stops being a multiple, no border map that costs more
    than it saves."""
    unmapped: set[str] = set()
    while True:
        dead = dead_classes(network, channels, bounds, unmapped)
        score = {each: 0.0 if each in dead else 1.0 for each in set(channels.root.tolist())}
        steps = ladders(channels, score, round_to=round_to, least_kept=0.0, removable=dead)
        gone = tuple(sorted(each for ladder in steps for each in ladder.removed(len(ladder.rungs) - 1)))
        dear = {
            node.name
            for node, labels in _consumers(network, channels)
            if (count := int(np.count_nonzero(_values(node, labels, channels, bounds, gone)))) and _padded(node)
            and not pays(count, network.constant(node.inputs[1]), prod(network.shapes[node.output][2:]))
        }  # fmt: skip
        if not dear:
            return dead, gone
        unmapped |= dear


def dead_classes(
    network: Network, channels: Channels, bounds: Bounds, unmapped: Collection[str] = ()
) -> frozenset[int]:
    """Classes that nothing reads as anything but a constant that can be folded. ``unmapped``: nodes that get no border
    map."""
    alive: set[int] = set(channels.frozen)
    seen: set[int] = set()
    for node, labels in _consumers(network, channels):
        classes = channels.classes(labels.ids)
        ignored = ~_weights_for_inputs(node, network).any(1)
        foldable = _constant(node, bounds.of(node.inputs[0]), mapped=node.name not in unmapped)
        seen.update(classes.tolist())
        alive.update(classes[~(ignored | foldable)].tolist())
    return frozenset(seen - alive)


def _consumers(network: Network, channels: Channels) -> list[tuple[Node, Labels]]:
    """Nodes that mix the channels of their first input, with its labels."""
    found = []
    for node in network.nodes:
        labels = channels.labels.get(node.inputs[0]) if node.op in MULTIPLYING else None
        if labels is None or not network.is_constant(node.inputs[1]):
            continue
        if node.op not in ("Conv", "ConvTranspose") or not depthwise(node, len(labels.ids)):
            found.append((node, labels))
    return found


def _padded(node: Node) -> bool:
    return node.op == "Conv" and any(node.attributes["pads"])


def _constant(node: Node, x: Interval, *, mapped: bool) -> Array:
    """Which input channels hold a constant that the node's bias, or a map, can take over."""
    same = (x.lo == x.hi) & np.isfinite(x.lo)
    takes_any = node.op == "Gemm" or (node.op == "Conv" and (mapped or not _padded(node)))
    found: Array = same if takes_any else same & (x.lo == 0)
    return found


def _values(node: Node, labels: Labels, channels: Channels, bounds: Bounds, removed: Collection[int]) -> Array:
    """[I]: the constants of the ``removed`` channels that the node reads, 0 for all others."""
    x = bounds.of(node.inputs[0])
    gone = np.isin(channels.classes(labels.ids), list(removed)) & _constant(node, x, mapped=True)
    values: Array = np.where(gone, np.where(gone, x.lo, 0.0), 0.0)
    return values


def _weights_for_inputs(node: Node, network: Network) -> Array:
    """[I, outputs of the channel's group, taps], float64."""
    weight = network.constant(node.inputs[1]).astype(np.float64)
    if node.op in ("Gemm", "MatMul"):
        turned = node.op == "Gemm" and node.attributes["transB"]
        return weight.T if turned else weight
    if node.op == "ConvTranspose":
        return weight.reshape(len(weight), -1)
    group = int(node.attributes["group"])
    blocks = np.split(weight.reshape(*weight.shape[:2], -1), group)
    return np.concatenate([block.swapaxes(0, 1).reshape(block.shape[1], -1) for block in blocks])


def folded(
    network: Network, channels: Channels, bounds: Bounds, removed: Collection[int]
) -> tuple[Network, Channels]:
    """The network with the constants of the ``removed`` channels added to the biases of what reads them, or as maps
    behind it; and its channels, the new tensors included."""
    result = onnx.ModelProto()
    result.CopyFrom(network.proto)
    labels_of = dict(channels.labels)
    for node, labels in _consumers(network, channels):
        value = _values(node, labels, channels, bounds, removed)
        if not value.any():
            continue
        if _padded(node):
            _add_map(result, node, network, value)
            labels_of[f"{node.output}/unmapped"] = channels.labels[node.output]
        else:
            _add_to_bias(result, node, network, value)
    return Network(result), replace(channels, labels=labels_of)


def _add_to_bias(result: onnx.ModelProto, node: Node, network: Network, value: Array) -> None:
    dtype = network.constant(node.inputs[1]).dtype
    held = network.constant(node.inputs[2]).astype(np.float64) if len(node.inputs) > 2 else 0.0
    name = f"{node.output}/folded"
    result.graph.initializer.append(numpy_helper.from_array((held + _term(node, network, value)).astype(dtype), name))
    proto = next(each for each in result.graph.node if each.name == node.name)
    del proto.input[2:]
    proto.input.append(name)


def _add_map(result: onnx.ModelProto, node: Node, network: Network, value: Array) -> None:
    """node -> y   becomes   node -> y/unmapped, Add(y/unmapped, map) -> y"""
    weight, shape = network.constant(node.inputs[1]), network.shapes[node.output]
    values = border_map(weight, value, network.shapes[node.inputs[0]][2:], node.attributes)[None]
    name, between = f"{node.output}/folded", f"{node.output}/unmapped"
    result.graph.initializer.append(numpy_helper.from_array(values.astype(weight.dtype), name))
    at = next(index for index, each in enumerate(result.graph.node) if each.name == node.name)
    result.graph.node[at].output[0] = between
    added = helper.make_node("Add", [between, name], [node.output], name=f"{node.name}/map")
    result.graph.node.insert(at + 1, added)
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    result.graph.value_info.append(helper.make_tensor_value_info(between, kind, shape))


def _term(node: Node, network: Network, value: Array) -> Array:
    """sum over input channels and taps of W * value: [O]"""
    weight = network.constant(node.inputs[1]).astype(np.float64)
    if node.op == "Gemm":
        product: Array = (weight if node.attributes["transB"] else weight.T) @ value
        return product
    group = int(node.attributes["group"])
    sums = np.split(weight.reshape(*weight.shape[:2], -1).sum(2), group)
    return np.concatenate([block @ part for block, part in zip(sums, np.split(value, group), strict=True)])


def near_dead(network: Network) -> tuple[NearDead, ...]:
    """Layers with filters whose L1 norm is below `NEAR_DEAD`, most first."""
    found = []
    for filters in layers_of(network, {}):
        count = int((np.abs(filters.weight).sum(1) < NEAR_DEAD).sum())
        if count:
            found.append(NearDead(layer=filters.node, filters=count, of=len(filters.weight)))
    return tuple(sorted(found, key=lambda each: (-each.filters, each.layer)))
