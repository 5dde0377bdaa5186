"""Channels: which channels of a network are one, which are tied in number, and which must stay, with the reason.

Every channel of every tensor has an identity, a number. Operators say which identities are the same (`operators`):

    same identity             one class: all go or all stay (union-find over single channels)
    equal count per block     the blocks of a group convolution's input or output keep the same number of any
    frozen                    stays; the first reason found is kept
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgevision.rewrite.prune.network import Ids, Network, Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Identities along ``axis`` of a tensor; they repeat where an operator repeats channels (Flatten: h*w times)."""

    axis: int
    ids: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Blocks of channels at ``node`` that keep equal counts."""

    node: str
    blocks: tuple[Ids, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A node that makes new channels: output channel i of ``node`` is ``ids[i]``."""

    node: str
    output: str
    ids: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """What the analysis found. ``root[i]`` is the class of identity i; ``frozen`` maps classes to reasons.

    ``pieces`` are what Split, Slice and Gather cut off: at least one channel of each stays. A tensor without labels
    keeps its shape.
    """

    labels: Mapping[str, Labels]
    root: Ids
    frozen: Mapping[int, str]
    layers: tuple[Layer, ...]
    balances: tuple[Balance, ...]
    pieces: tuple[Ids, ...]
    unknown: tuple[str, ...]

    def classes(self, ids: Ids) -> Ids:
        """The class of each identity."""
        classes: Ids = self.root[ids]
        return classes


class Tracer:
    """Collects what operators say about channels; lives as long as one analysis."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.labels: dict[str, Labels] = {}
        self.layers: list[Layer] = []
        self.balances: list[Balance] = []
        self.pieces: list[Ids] = []
        self.unknown: list[str] = []
        self._parent: list[int] = []
        self._reasons: dict[int, str] = {}

    def fresh(self, count: int) -> Ids:
        """New identities."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.intp)

    def fixed(self, count: int, reason: str) -> Ids:
        """New identities that stay."""
        ids = self.fresh(count)
        self.freeze(ids, reason)
        return ids

    def freeze(self, ids: Ids, reason: str) -> None:
        for each in ids.tolist():
            self._reasons.setdefault(each, reason)

    def unite(self, first: Ids, second: Ids) -> None:
        """Channel i of both is one."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            self._parent[self._find(a)] = self._find(b)

    def balance(self, node: Node, ids: Ids, groups: int) -> None:
        self.balances.append(Balance(node=node.name, blocks=tuple(np.split(ids, groups))))

    def shape(self, name: str) -> tuple[int, ...]:
        return self.network.shapes[name]

    def at(self, name: str, axis: int, reason: str) -> Ids:
        """Identities of ``name`` along ``axis``; new ones that stay, for ``reason``, where it is not followed there."""
        known = self.labels.get(name)
        if known is not None and known.axis == axis:
            return known.ids
        self.freeze_tensor(name, reason)
        return self.fixed(self.shape(name)[axis], reason)

    def put(self, name: str, axis: int, ids: Ids) -> None:
        self.labels[name] = Labels(axis=axis, ids=ids)

    def make(self, node: Node, axis: int) -> Ids:
        """New channels along ``axis`` of the node's output."""
        ids = self.fresh(self.shape(node.output)[axis])
        self.put(node.output, axis, ids)
        self.layers.append(Layer(node=node.name, output=node.output, ids=ids))
        return ids

    def cut(self, name: str, axis: int, ids: Ids) -> None:
        """``name`` holds some of another tensor's channels."""
        self.put(name, axis, ids)
        self.pieces.append(ids)

    def freeze_tensor(self, name: str, reason: str) -> None:
        if name in self.labels:
            self.freeze(self.labels[name].ids, reason)

    def stop(self, node: Node, reason: str) -> None:
        """The node's inputs stay as they are, and so does what it makes."""
        for name in node.inputs:
            self.freeze_tensor(name, reason)

    def result(self) -> Channels:
        root = np.array([self._find(each) for each in range(len(self._parent))], np.intp)
        frozen: dict[int, str] = {}
        for each, reason in self._reasons.items():
            frozen.setdefault(int(root[each]), reason)
        return Channels(
            labels=self.labels, root=root, frozen=frozen, layers=tuple(self.layers), balances=tuple(self.balances),
            pieces=tuple(self.pieces), unknown=tuple(dict.fromkeys(self.unknown)),
        )  # fmt: skip

    def _find(self, each: int) -> int:
        parent = self._parent
        while parent[each] != each:
            parent[each] = parent[parent[each]]
            each = parent[each]
        return each


def analyse(network: Network, frozen_names: Sequence[str] = ()) -> Channels:
    """Follow the channels of a normal-form network from its inputs to its outputs.

    Inputs and outputs keep their channels, and so does every tensor or node in ``frozen_names`` (the channels that a
    node reads and writes).
    """
    from edgevision.rewrite.prune.operators import follow

    tracer = Tracer(network)
    for name in network.inputs:
        shape = network.shapes[name]
        if len(shape) >= 2:
            tracer.put(name, 1, tracer.fixed(shape[1], f"input {name!r} of the network"))
    for node in network.nodes:
        follow(node, tracer)
    for name in network.outputs:
        tracer.freeze_tensor(name, f"output {name!r} of the network")
    named = set(frozen_names)
    for node in network.nodes:
        if node.name in named:
            for name in (*node.inputs, *node.outputs):
                tracer.freeze_tensor(name, f"node {node.name!r} is frozen by name")
    for name in named & tracer.labels.keys():
        tracer.freeze_tensor(name, f"tensor {name!r} is frozen by name")
    return tracer.result()
