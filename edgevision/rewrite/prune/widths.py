"""Widths: a pruned architecture as a table of output channels a layer, and a network cut to such a table.

Classes of channels that the same layers, blocks and pieces hold equally often are interchangeable: a cell. How many of
each cell stay so that every layer gets its width is an integer program; the most of each cell that the least important
rule would have kept does not matter, since weights come afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import onnx
from scipy.optimize import Bounds, LinearConstraint, milp

from edgevision.errors import InputError, UnknownNameError
from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.prune.pruning import Pruned, analysed, without


class WidthTableError(InputError):
    """Widths that the network cannot have."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the network cannot have these widths: {reason}; the table belongs to another network")


def width_table(proto: onnx.ModelProto) -> dict[str, int]:
    """Layer (Conv, ConvTranspose, Gemm, MatMul that makes channels) -> its output channels."""
    return {layer.node: len(layer.ids) for layer in analysed(Network(proto), ()).layers}


def to_widths(proto: onnx.ModelProto, table: Mapping[str, int]) -> Pruned:
    """``proto`` with the layers in ``table`` as wide as it says; layers that it does not name keep their width.

    Which channels stay is not what the pruned network's were: the shapes are the table's, the weights are not.

    Raises: UnknownNameError, for a layer that is not there; WidthTableError.
    """
    network = Network(proto)
    channels = analysed(network, ())
    known = {layer.node: len(layer.ids) for layer in channels.layers}
    for name, width in table.items():
        if name not in known:
            raise UnknownNameError("layer", name, tuple(known))
        if not 1 <= width <= known[name]:
            raise WidthTableError(f"{name!r} has {known[name]} channels, the table says {width}")
    cells, kept = _solved(channels, {**known, **table})
    removed = [each for cell, count in zip(cells, kept, strict=True) for each in cell[count:]]
    share = sum(table.get(name, width) for name, width in known.items()) / sum(known.values())
    return without(network, channels, tuple(sorted(removed)), unit="channels", requested=None, achieved=share)


def _solved(channels: Channels, widths: Mapping[str, int]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Cells, and how many of each stay: as many in each as its layers keep on average, where that is possible."""
    blocks = [balance.blocks for balance in channels.balances]
    groups = [layer.ids for layer in channels.layers]
    ties = [block for each in blocks for block in each]
    held: defaultdict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row, ids in enumerate([*groups, *ties, *channels.pieces]):
        for each in channels.classes(ids).tolist():
            held[each][row] += 1
    members: defaultdict[tuple[bool, tuple[tuple[int, int], ...]], list[int]] = defaultdict(list)
    for each, rows in sorted(held.items()):
        members[(each in channels.frozen, tuple(sorted(rows.items())))].append(each)
    cells, keys = [tuple(each) for each in members.values()], list(members)
    matrix = np.zeros((len(groups) + len(ties) + len(channels.pieces), len(cells)))
    for cell, (_, signature) in enumerate(keys):
        for row, times in signature:
            matrix[row, cell] = times
    layer_rows = matrix[: len(groups)]
    limits = [LinearConstraint(layer_rows, *[[widths[layer.node] for layer in channels.layers]] * 2)]
    at = len(groups)
    for each in blocks:
        limits += [LinearConstraint(matrix[a] - matrix[b], 0, 0) for a, b in pairwise(range(at, at + len(each)))]
        at += len(each)
    if len(matrix) > len(groups):
        limits.append(LinearConstraint(matrix[len(groups) :], 1, np.inf))
    sizes = np.array([len(cell) for cell in cells])
    lower = np.where([frozen for frozen, _ in keys], sizes, 0)
    return cells, _kept(limits, lower, sizes, _shares(channels, widths, layer_rows) * sizes)


def _shares(channels: Channels, widths: Mapping[str, int], layer_rows: np.ndarray) -> np.ndarray:
    """[cells]: the mean share that the layers of a cell keep."""
    kept = np.array([widths[layer.node] / len(layer.ids) for layer in channels.layers])
    holds = layer_rows > 0
    mean: np.ndarray = (holds * kept[:, None]).sum(0) / np.maximum(holds.sum(0), 1)
    return np.where(holds.any(0), mean, 1.0)


def _kept(limits: list[LinearConstraint], lower: np.ndarray, sizes: np.ndarray, wanted: np.ndarray) -> list[int]:
    """Whole numbers within ``lower`` and ``sizes`` that fulfil ``limits``, with the least sum |kept - wanted|."""
    count = len(sizes)
    eye = np.eye(count)
    wide = [LinearConstraint(np.hstack([np.atleast_2d(each.A), np.zeros((len(np.atleast_2d(each.A)), count))]), each.lb, each.ub)
            for each in limits]  # fmt: skip
    wide.append(LinearConstraint(np.hstack([eye, -eye]), -np.inf, wanted))
    wide.append(LinearConstraint(np.hstack([eye, eye]), wanted, np.inf))
    bounds = Bounds(np.concatenate([lower, np.zeros(count)]), np.concatenate([sizes, np.full(count, np.inf)]))
    cost = np.concatenate([np.zeros(count), np.ones(count)])
    whole = np.concatenate([np.ones(count), np.zeros(count)])
    found = milp(cost, integrality=whole, bounds=bounds, constraints=wide)
    if found.x is None:
        raise WidthTableError("channels that go together would have to be of different number")
    return [round(value) for value in found.x[:count]]
