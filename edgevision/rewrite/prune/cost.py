"""Cost: MACs and parameters of a network as a function of how many channels stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.network import Ids, Network, Node
from edgevision.rewrite.prune.operators import ELEMENTWISE, depthwise
from edgevision.rewrite.prune.removing import Mask

MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """``factor`` times the channels that stay of ``first`` times those of ``second``; an empty one counts 1."""

    factor: float
    first: Ids
    second: Ids

    def value(self, keep: Mask) -> float:
        counts = (float(keep[ids].sum()) if len(ids) else 1.0 for ids in (self.first, self.second))
        return self.factor * prod(counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A sum of terms."""

    unit: str
    terms: tuple[Term, ...]

    def total(self, keep: Mask) -> float:
        return sum(term.value(keep) for term in self.terms)

    def by_class(self, channels: Channels) -> dict[int, tuple[int, ...]]:
        """Class -> the terms in which it counts."""
        found: dict[int, list[int]] = {}
        for index, term in enumerate(self.terms):
            for each in np.unique(channels.classes(np.concatenate([term.first, term.second]))).tolist():
                found.setdefault(each, []).append(index)
        return {each: tuple(terms) for each, terms in found.items()}


_NONE: Ids = np.empty(0, np.intp)


def macs(network: Network, channels: Channels) -> Cost:
    """Multiply-accumulates of Conv, ConvTranspose, Gemm and MatMul, taps on padding included, as `counting` counts."""
    terms = [_macs(node, network, channels) for node in network.nodes if node.op in MULTIPLYING]
    return Cost(unit="MACs", terms=tuple(terms))


def _macs(node: Node, network: Network, channels: Channels) -> Term:
    x, y = (network.shapes[name] for name in (node.inputs[0], node.output))
    weight = network.shapes[node.inputs[1]]
    axis = 1 if node.op in ("Conv", "ConvTranspose") else len(x) - 1
    into, out = along(node.inputs[0], axis, channels), along(node.output, axis, channels)
    match node.op:
        case "Conv":
            total = prod(y) * prod(weight[1:])
        case "ConvTranspose":
            total = prod(x) * prod(weight[1:])
        case _:
            total = prod(y) * x[-1]
    if node.op in ("Conv", "ConvTranspose") and depthwise(node, x[1]):
        into = _NONE
    return Term(factor=total / (max(1, len(into)) * max(1, len(out))), first=into, second=out)


def along(name: str, axis: int, channels: Channels) -> Ids:
    """The identities along ``axis`` of a tensor; none where it is not followed there."""
    labels = channels.labels.get(name)
    return labels.ids if labels is not None and labels.axis == axis else _NONE


def parameters(network: Network, channels: Channels) -> Cost:
    """Elements of the floating constants of more than one element; BatchNormalization's statistics are none."""
    terms: list[Term] = []
    taken: set[str] = set()
    for node in network.nodes:
        for position, name in enumerate(node.inputs):
            skip = node.op == "BatchNormalization" and position > 2
            if name in taken or skip or not network.is_constant(name) or not _is_parameter(name, network):
                continue
            taken.add(name)
            terms.append(_held(node, position, name, network, channels))
    return Cost(unit="parameters", terms=tuple(terms))


def _is_parameter(name: str, network: Network) -> bool:
    return prod(network.shapes[name]) > 1 and bool(np.issubdtype(network.constant(name).dtype, np.floating))


def _held(node: Node, position: int, name: str, network: Network, channels: Channels) -> Term:
    size = prod(network.shapes[name])
    if node.op in MULTIPLYING and position == 1:
        term = _macs(node, network, channels)
        return Term(factor=size / _size(term), first=term.first, second=term.second)
    ids = _cut_by(node, position, name, network, channels)
    return Term(factor=size / max(1, len(ids)), first=ids, second=_NONE)


def _cut_by(node: Node, position: int, name: str, network: Network, channels: Channels) -> Ids:
    """The channels with which a constant operand is cut."""
    labels = channels.labels.get(node.output)
    if labels is None:
        return _NONE
    if node.op in (*MULTIPLYING, "BatchNormalization", "InstanceNormalization"):
        return labels.ids if position else _NONE
    own = labels.axis - len(network.shapes[node.output]) + len(network.shapes[name])
    cut = node.op in ELEMENTWISE and own >= 0 and network.shapes[name][own] > 1
    return labels.ids if cut else _NONE


def _size(term: Term) -> int:
    return max(1, len(term.first)) * max(1, len(term.second))


def channel_count(classes: Sequence[int]) -> Cost:
    """How many of ``classes`` stay. A class is the number of one of its identities."""
    return Cost(unit="channels", terms=(Term(factor=1.0, first=np.array(classes, np.intp), second=_NONE),))
