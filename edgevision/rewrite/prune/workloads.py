"""Workloads: what one multiplying node computes at given widths, and how long that takes, as far as it was measured.

A workload's time is fitted over its family (same kind, extents and kernel; other widths):

    ms = a + b * into * out + c * into + d * out,   a, b, c, d >= 0

by least squares of relative errors. A family of few measured widths is held by the assumption that time goes with
multiply-accumulates: each measurement stands for half its widths too, at `ASSUMED` of a measurement's weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from scipy.optimize import nnls

from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.cost import MULTIPLYING, Cost, Term, along
from edgevision.rewrite.prune.network import Ids, Network, Node
from edgevision.rewrite.prune.operators import depthwise

ASSUMED = 0.1
_NONE: Ids = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """``pixels_in`` and ``pixels_out`` of one channel, ``taps`` of the kernel, input channels of one group, output
    channels. Depthwise: ``into`` is 1."""

    pixels_in: int
    pixels_out: int
    taps: int
    into: int
    out: int
    depthwise: bool

    @property
    def macs(self) -> int:
        return self.pixels_out * self.taps * self.into * self.out

    @property
    def family(self) -> Workload:
        """The same at no width."""
        return replace(self, into=1 if self.depthwise else 0, out=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One network's time, in milliseconds or in what its timer counts: ``ms`` a run, ``workloads`` of it in each multiplying
    workload (a call's mean), ``rest_ms`` in all other steps."""

    ms: float
    workloads: Mapping[Workload, float]
    rest_ms: float


def workload_of(node: Node, network: Network) -> Workload | None:
    """What ``node`` computes; None for a product of computed tensors and what multiplies nothing."""
    if node.op not in MULTIPLYING or not network.is_constant(node.inputs[1]):
        return None
    x, y, weight = (network.shapes[name] for name in (node.inputs[0], node.output, node.inputs[1]))
    if node.op in ("Gemm", "MatMul"):
        rows = prod(y[:-1])
        return Workload(pixels_in=rows, pixels_out=rows, taps=1, into=x[-1], out=y[-1], depthwise=False)
    alone = depthwise(node, x[1])
    return Workload(
        pixels_in=x[0] * prod(x[2:]), pixels_out=y[0] * prod(y[2:]), taps=prod(weight[2:]),
        into=1 if alone else x[1] // int(node.attributes["group"]), out=y[1], depthwise=alone,
    )  # fmt: skip


Fit = tuple[float, float, float, float]


class Clock:
    """Every measurement of workloads so far, and what follows from them for others."""

    def __init__(self, known: Mapping[Workload, float]) -> None:
        self._known = dict(known)
        self._fits: dict[Workload, Fit] = {}

    def learn(self, measured: Mapping[Workload, float]) -> None:
        self._known.update(measured)
        self._fits.clear()

    def fit(self, family: Workload) -> Fit | None:
        """a, b, c, d of the family; None where none of it was measured."""
        if family not in self._fits:
            points = [(each, ms) for each, ms in self._known.items() if each.family == family and ms > 0]
            if not points:
                return None
            self._fits[family] = _fitted(points)
        return self._fits[family]


def _fitted(points: list[tuple[Workload, float]]) -> Fit:
    rows, weights = [], []
    for each, ms in points:
        into, out = float(each.into), float(each.out)
        rows.append(np.array([1, into * out, 0 if each.depthwise else into, out]) / ms)
        weights.append(1.0)
        # Half as wide: a quarter of the products of a dense layer, half of a depthwise one's.
        half_ms = ms / (2 if each.depthwise else 4)
        into = into if each.depthwise else into / 2
        rows.append(np.array([1, into * out / 2, 0 if each.depthwise else into, out / 2]) / half_ms)
        weights.append(ASSUMED)
    matrix, weight = np.array(rows), np.sqrt(np.array(weights))
    scale = np.maximum(np.abs(matrix).max(0), 1e-300)
    found, _ = nnls(matrix / scale * weight[:, None], weight)
    a, b, c, d = (found / scale).tolist()
    return a, b, c, d


def milliseconds(network: Network, channels: Channels, clock: Clock, full: Timing) -> Cost:
    """The time of a run by how many channels stay, scaled so that every layer, and the whole, take at full width what
    ``full`` measured. Steps that multiply nothing go with the elements that layers write."""
    terms: list[Term] = []
    volume: dict[str, float] = defaultdict(float)
    for node in network.nodes:
        workload = workload_of(node, network)
        if workload is None:
            continue
        axis = 1 if node.op in ("Conv", "ConvTranspose") else len(network.shapes[node.inputs[0]]) - 1
        out = along(node.output, axis, channels)
        volume[node.output] += workload.pixels_out * workload.out
        fit = clock.fit(workload.family)
        if fit is not None:
            into = _NONE if workload.depthwise else along(node.inputs[0], axis, channels)
            terms += _terms(workload, fit, into, out, full.workloads.get(workload))
    timed_ms = sum(term.value(np.ones(len(channels.root), bool)) for term in terms)
    rest_ms = max(full.ms - timed_ms, 0.0)
    for node in network.nodes:
        labels = channels.labels.get(node.output)
        if node.output in volume and labels is not None:
            share = volume[node.output] / sum(volume.values())
            terms.append(Term(factor=rest_ms * share / max(1, len(labels.ids)), first=labels.ids, second=_NONE))
    return Cost(unit="milliseconds", terms=tuple(terms))


def _terms(workload: Workload, fit: Fit, into: Ids, out: Ids, measured_ms: float | None) -> list[Term]:
    """a + b * into * out + c * into + d * out at the widths that stay, times what makes it right at full width."""
    a, b, c, d = fit
    full = (a, b * workload.into * workload.out, c * workload.into, d * workload.out)
    right = 1.0 if measured_ms is None or sum(full) <= 0 else measured_ms / sum(full)
    ends = ((_NONE, _NONE), (into, out), (into, _NONE), (out, _NONE))
    return [
        Term(factor=right * ms / (max(1, len(first)) * max(1, len(second))), first=first, second=second)
        for ms, (first, second) in zip(full, ends, strict=True)
        if ms > 0
    ]
