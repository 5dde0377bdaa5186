"""Fresh weights for training from scratch: He's for convolutions, torch's own for matrices. Same seed, same weights."""

from __future__ import annotations

from math import sqrt
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from edgevision.rewrite.prune.finetune.normalization import FILTER_LENGTH, by_filter, filter_lengths
from edgevision.rewrite.prune.finetune.torch_network import TorchNetwork
from edgevision.rewrite.prune.network import Node

SLOPE = 0.25
"""PRelu's, as in He et al., 2015."""
_ONES = ("InstanceNormalization", "LayerNormalization", "GroupNormalization", "edgevision:ChannelLayerNormalization", "Mul")


def draw(network: TorchNetwork, seed: int) -> None:
    """Fill ``network`` in place, whatever it held: its architecture with nothing learned.

    Convolutions: normal, every filter scaled to length sqrt 2 (He's length on average). Gemm and MatMul: uniform within
    1 / sqrt(inputs). Biases and shifts 0, scales 1, slopes of PRelu 0.25.
    """
    owner: dict[str, tuple[Node, int]] = {}
    for node in network.network.nodes:
        for place, name in enumerate(node.inputs):
            owner.setdefault(name, (node, place))
    with torch.no_grad():
        for name, weight in zip(network.names, network.weights, strict=True):
            node, place = owner[name]
            weight.copy_(_value(node, place, weight, np.random.default_rng([seed, crc32(name.encode())])))
        for norm in network.norm_of.values():
            for tensor, value in ((norm.scale, 1), (norm.shift, 0), (norm.mean, 0), (norm.variance, 1)):
                tensor.fill_(value)


def _value(node: Node, place: int, weight: Tensor, random: np.random.Generator) -> Tensor:
    shape = tuple(weight.shape)
    if node.op == "PRelu":
        return torch.full(shape, SLOPE)
    if place == 2 or node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return torch.ones(shape) if node.op in _ONES and place == 1 else torch.zeros(shape)
    if node.op in ("Gemm", "MatMul"):
        transposed = bool(node.attributes.get("transB", 0)) or place == 0
        bound = 1 / sqrt(shape[-1 if transposed else -2])
        return torch.from_numpy(random.uniform(-bound, bound, shape)).float()
    drawn = torch.from_numpy(random.standard_normal(shape))
    return by_filter(node, drawn, FILTER_LENGTH / filter_lengths(node, drawn)).float()
