"""Importance: how much a channel matters, from the filters that make it.

An importance is a plain function `Filters -> one number a filter`, larger means more important; `prune` takes any. What is 0
or less counts as next to nothing where global selection compares layers; within a layer the order is the function's. The
score of a class is the mean over its filters, each divided by its layer's mean, so that layers compare.

    l1, l2   sum |w|, sqrt(sum w^2) of a filter                          Li et al., arXiv 1608.08710
    bn       |gamma| of the BatchNormalization behind the layer          Liu et al., arXiv 1708.06519
    fpgm     sum of distances to the layer's other filters               He et al., arXiv 1811.00250
    random   the control                                                 `randomly`
    taylor   sum |w * dL/dw| over some images                            `finetune.taylor.taylor`, needs torch
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt

from edgevision.errors import InputError
from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.network import Array, Network, Node

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """One layer: ``weight`` [O, elements of a filter], float64; ``scale`` [O] of the BatchNormalization behind it.

    ``scale`` is None where no BatchNormalization follows. ``output``: the tensor that the layer writes.
    """

    node: str
    op: str
    output: str
    weight: Scores
    scale: Scores | None


Importance = Callable[[Filters], Scores]


class MissingScaleError(InputError):
    """Importance "bn" for a network without BatchNormalization."""

    def __init__(self) -> None:
        super().__init__(
            "importance bn: no layer that could be pruned has a BatchNormalization behind it (exporters fold them into "
            "the weights unless the training form is exported); choose l1, l2 or fpgm"
        )


def l1(filters: Filters) -> Scores:
    """sum |w|"""
    total: Scores = np.abs(filters.weight).sum(1)
    return total


def l2(filters: Filters) -> Scores:
    """sqrt(sum w^2)"""
    norm: Scores = np.sqrt((filters.weight**2).sum(1))
    return norm


def bn(filters: Filters) -> Scores:
    """|gamma|; `l1` for a layer without BatchNormalization."""
    return l1(filters) if filters.scale is None else np.abs(filters.scale)


def fpgm(filters: Filters) -> Scores:
    """sum_j |w_i - w_j|: a filter near the geometric median of its layer can be replaced by the others."""
    weight = filters.weight
    squares = (weight**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * weight @ weight.T, 0))
    total: Scores = distances.sum(1)
    return total


def randomly(seed: int) -> Importance:
    """Uniform in (0, 1], from the seed and the layer's name."""

    def score(filters: Filters) -> Scores:
        random = np.random.default_rng([seed, crc32(filters.node.encode())])
        return 1.0 - random.random(len(filters.weight))

    return score


IMPORTANCES: dict[str, Importance] = {"l1": l1, "l2": l2, "bn": bn, "fpgm": fpgm, "random": randomly(0)}


def layers_of(network: Network, scales: Mapping[str, Array]) -> list[Filters]:
    """Every layer with constant weights.

    ``scales``: gamma by the tensor that a BatchNormalization wrote in the original file, for those that the normal form
    has folded into weights.
    """
    behind = {**scales, **_scales_behind(network)}
    found = []
    for node in network.nodes:
        if node.op in ("Conv", "ConvTranspose", "Gemm", "MatMul") and network.is_constant(node.inputs[1]):
            weight = rows(node, network.constant(node.inputs[1]).astype(np.float64))
            scale = behind.get(node.output)
            if scale is not None:
                scale = scale.astype(np.float64) if scale.shape == (len(weight),) else None
            found.append(Filters(node=node.name, op=node.op, output=node.output, weight=weight, scale=scale))
    return found


def _scales_behind(network: Network) -> dict[str, Array]:
    """Tensor -> gamma of a BatchNormalization that reads it."""
    return {
        node.inputs[0]: network.constant(node.inputs[1])
        for node in network.nodes
        if node.op == "BatchNormalization"
    }


def rows(node: Node, weight: Scores) -> Scores:
    """The weight of Conv, ConvTranspose, Gemm or MatMul as [O, elements of a filter]."""
    if node.op == "ConvTranspose":
        group = int(node.attributes["group"])
        into, out = weight.shape[:2]
        weight = weight.reshape(group, into // group, out, -1).swapaxes(1, 2)
        return weight.reshape(group * out, -1)
    if node.op == "MatMul" or (node.op == "Gemm" and not node.attributes["transB"]):
        weight = weight.T
    return weight.reshape(len(weight), -1)


def score_classes(
    network: Network, channels: Channels, importance: Importance, scales: Mapping[str, Array] | None = None
) -> dict[int, float]:
    """Class -> importance: the mean over its filters, each relative to its layer's mean; 1 where a layer's mean is 0.

    Raises: InputError, when the importance gives something else than one finite number a filter.
    """
    total: defaultdict[int, float] = defaultdict(float)
    count: defaultdict[int, int] = defaultdict(int)
    filters = layers_of(network, scales or {})
    if importance is bn and all(each.scale is None for each in filters):
        raise MissingScaleError
    for each in filters:
        labels = channels.labels.get(each.output)
        if labels is None or len(labels.ids) != len(each.weight):
            continue
        values = np.asarray(importance(each), np.float64)
        if values.shape != (len(each.weight),) or not np.isfinite(values).all():
            raise InputError(
                f"the importance of layer {each.node!r} is an array of shape {values.shape} or not finite; give one "
                f"finite number for each of its {len(each.weight)} filters"
            )
        mean = float(np.abs(values).mean()) or 1.0
        for channel, value in zip(channels.classes(labels.ids).tolist(), (values / mean).tolist(), strict=True):
            total[channel] += value
            count[channel] += 1
    return {each: total[each] / count[each] for each in total}

