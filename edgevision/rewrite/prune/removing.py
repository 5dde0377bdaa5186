"""Removing: how each operator is written again when some channels of its tensors are gone.

The channels that stay keep their order, so an operator that moved channels by a rule (a shuffle, a slice) and can no
longer say where they come from by that rule becomes a Gather with constant indices: the same channels, the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevision.rewrite.prune.channels import Channels, Labels
from edgevision.rewrite.prune.network import Array, Ids, Network, Node
from edgevision.rewrite.prune.operators import ELEMENTWISE, depthwise, shuffled, sliced

Mask = npt.NDArray[np.bool_]
_NOTHING = Labels(axis=0, ids=np.empty(0, np.intp))


class Removal:
    """One removal: ``keep[i]`` says whether identity i stays. Collects the constants of the new graph."""

    def __init__(self, network: Network, channels: Channels, keep: Mask) -> None:
        self.network, self.channels, self.keep = network, channels, keep
        self.constants: dict[str, Array] = {}
        self._cut: dict[tuple[str, bytes], str] = {}

    def mask(self, name: str, axis: int) -> Mask:
        """Which elements of ``name`` stay along ``axis``; all, where it is not followed."""
        labels = self.channels.labels.get(name)
        if labels is None or labels.axis != axis:
            return np.ones(self.network.shapes[name][axis], bool)
        mask: Mask = self.keep[labels.ids]
        return mask

    def labels(self, name: str) -> Labels:
        return self.channels.labels.get(name, _NOTHING)

    def shape(self, name: str) -> list[int]:
        """The new static shape of a tensor."""
        shape = list(self.network.shapes[name])
        labels = self.channels.labels.get(name)
        if labels is not None:
            shape[labels.axis] = int(self.keep[labels.ids].sum())
        return shape

    def touches(self, node: Node) -> bool:
        """Some channel of some tensor of ``node`` goes."""
        return any(not self.keep[self.labels(name).ids].all() for name in (*node.inputs, *node.outputs))

    def constant(self, name: str, value: Array | None = None) -> str:
        """The name of ``value`` (None: unchanged), derived from the initializer ``name``; equal values share one."""
        value = self.network.constant(name) if value is None else np.ascontiguousarray(value)
        key = (name, repr(value.shape).encode() + value.tobytes())
        if key not in self._cut:
            used = sum(other == name for other, _ in self._cut)
            self._cut[key] = f"{name}/kept{used}" if used else name
            self.constants[self._cut[key]] = value
        return self._cut[key]

    def new(self, hint: str, value: Array) -> str:
        self.constants[hint] = value
        return hint


Rewritten = tuple[str, tuple[str, ...], Mapping[str, Any]]
"""Operator, inputs, attributes."""
Rewrite = Callable[[Node, Removal], Rewritten]


def rewrite(node: Node, to: Removal) -> Rewritten:
    """``node`` on tensors of which some channels are gone."""
    inputs = tuple(to.constant(name) if to.network.is_constant(name) else name for name in node.inputs)
    if not to.touches(node):
        return node.op, inputs, node.attributes
    rule = REWRITES.get(node.op)
    return rule(node, to) if rule else (node.op, inputs, node.attributes)


def _conv(node: Node, to: Removal) -> Rewritten:
    x, weight_name, *bias = node.inputs
    weight, group = to.network.constant(weight_name), int(node.attributes["group"])
    into, out = to.mask(x, 1), to.mask(node.output, 1)
    attributes = dict(node.attributes)
    transposed = node.op == "ConvTranspose"
    if depthwise(node, len(into)):
        attributes["group"] = int(into.sum())
        weight = weight[into if transposed else out]
    else:
        weight = _mixing(weight, into, out, group, transposed=transposed)
    inputs = [x, to.constant(weight_name, weight)]
    inputs += [to.constant(name, to.network.constant(name)[out]) for name in bias]
    return node.op, tuple(inputs), attributes


def _mixing(weight: Array, into: Mask, out: Mask, group: int, *, transposed: bool) -> Array:
    """[O, I/g, ..], or [I, O/g, ..] when transposed, without rows and, in each group, without columns."""
    rows, columns = (into, out) if transposed else (out, into)
    blocks = zip(*(np.split(each, group) for each in (weight, rows, columns)), strict=True)
    return np.concatenate([block[kept][:, across] for block, kept, across in blocks])


def _product(node: Node, to: Removal) -> Rewritten:
    a, b, *bias = node.inputs
    rank = len(to.network.shapes[a])
    into, out = to.mask(a, rank - 1), to.mask(node.output, rank - 1)
    turned = node.op == "Gemm" and int(node.attributes["transB"])
    weight = to.network.constant(b)
    weight = weight[out][:, into] if turned else weight[into][:, out]
    inputs = [a, to.constant(b, weight)]
    inputs += [to.constant(name, _operand(to.network.constant(name), 1, 2, out)) for name in bias]
    return node.op, tuple(inputs), node.attributes


def _operand(value: Array, axis: int, rank: int, mask: Mask) -> Array:
    """A constant that broadcasts against a tensor of ``rank`` axes, cut along that tensor's ``axis``."""
    own = axis - rank + value.ndim
    return value.compress(mask, own) if own >= 0 and value.shape[own] > 1 else value


def _elementwise(node: Node, to: Removal) -> Rewritten:
    axis, rank = to.labels(node.output).axis, len(to.network.shapes[node.output])
    mask = to.mask(node.output, axis)
    constant = to.network.is_constant
    inputs = [
        to.constant(name, _operand(to.network.constant(name), axis, rank, mask)) if constant(name) else name
        for name in node.inputs
    ]
    return node.op, tuple(inputs), node.attributes


def _per_channel(node: Node, to: Removal) -> Rewritten:
    """BatchNormalization, InstanceNormalization: parameters of one value a channel."""
    mask = to.mask(node.inputs[0], 1)
    parameters = [to.constant(name, to.network.constant(name)[mask]) for name in node.inputs[1:]]
    return node.op, (node.inputs[0], *parameters), node.attributes


def _with(key: str, value: Callable[[Node, Removal], list[int]]) -> Rewrite:
    """The same operator with another attribute."""
    return lambda node, to: (node.op, node.inputs, {**node.attributes, key: value(node, to)})


def _split(node: Node, to: Removal) -> list[int]:
    axis = int(node.attributes["axis"])
    return [int(to.mask(name, axis).sum()) for name in node.outputs]


def _pads(node: Node, to: Removal) -> list[int]:
    pads, axis = list(node.attributes["pads"]), to.labels(node.output).axis
    mask, rank = to.mask(node.output, axis), len(pads) // 2
    before, after = pads[axis], pads[axis + rank]
    pads[axis], pads[axis + rank] = int(mask[:before].sum()), int(mask[len(mask) - after :].sum())
    return pads


def _concat(node: Node, to: Removal) -> Rewritten:
    """A constant that is joined is cut; it is left out where none of its channels stays."""
    axis, inputs, at = int(node.attributes["axis"]), [], 0
    along = to.labels(node.output).axis == axis
    for name in node.inputs:
        extent = to.network.shapes[name][axis]
        mask = to.mask(node.output, axis)[at : at + extent] if along else to.mask(node.output, to.labels(node.output).axis)
        at += extent
        if not to.network.is_constant(name):
            inputs.append(name)
        elif mask.any():
            inputs.append(to.constant(name, to.network.constant(name).compress(mask, to.labels(node.output).axis)))
    return node.op, tuple(inputs), node.attributes


def _slice(node: Node, to: Removal) -> Rewritten:
    axis = to.labels(node.output).axis
    if axis not in node.attributes["axes"]:
        return node.op, node.inputs, node.attributes
    mask = to.mask(node.inputs[0], axis)
    taken = sliced(node, axis, np.arange(len(mask)))
    places = _places(mask, taken)
    if not np.array_equal(places, np.arange(places[0], places[0] + len(places))):
        return _gathered(node, to, axis, places)
    at = list(node.attributes["axes"]).index(axis)
    attributes = {key: list(value) for key, value in node.attributes.items()}
    attributes["starts"][at], attributes["ends"][at] = int(places[0]), int(places[-1]) + 1
    attributes["steps"][at] = 1
    return node.op, node.inputs, attributes


def _places(mask: Mask, taken: Ids) -> Ids:
    """Where the channels ``taken`` stand now among those that stay."""
    places: Ids = (np.cumsum(mask) - 1)[taken[mask[taken]]]
    return places


def _gathered(node: Node, to: Removal, axis: int, places: Ids) -> Rewritten:
    indices = to.new(f"{node.output}/channels", places.astype(np.int64))
    return "Gather", (node.inputs[0], indices), {"axis": axis}


def _gather(node: Node, to: Removal) -> Rewritten:
    axis = to.labels(node.output).axis
    if int(node.attributes["axis"]) != axis or not to.network.is_constant(node.inputs[1]):
        inputs = tuple(to.constant(name) if to.network.is_constant(name) else name for name in node.inputs)
        return node.op, inputs, node.attributes
    places = _places(to.mask(node.inputs[0], axis), to.network.constant(node.inputs[1]))
    return _gathered(node, to, axis, places)


def _shuffle(node: Node, to: Removal) -> Rewritten:
    mask, groups = to.mask(node.inputs[0], 1), int(node.attributes["groups"])
    places = _places(mask, shuffled(groups, len(mask)))
    if len(places) % groups == 0 and np.array_equal(places, shuffled(groups, len(places))):
        return node.op, node.inputs, node.attributes
    return _gathered(node, to, 1, places)


REWRITES: dict[str, Rewrite] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _per_channel),
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Gemm": _product,
    "MatMul": _product,
    "Split": _with("split", _split),
    "Pad": _with("pads", _pads),
    "Reshape": _with("shape", lambda node, to: to.shape(node.output)),
    "Expand": _with("shape", lambda node, to: to.shape(node.output)),
    "Resize": _with("sizes", lambda node, to: to.shape(node.output)),
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "edgevision:ChannelShuffle": _shuffle,
}
"""Operators that say how many channels they work on. All others take what they get."""
