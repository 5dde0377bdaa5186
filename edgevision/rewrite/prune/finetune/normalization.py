"""BatchNormalization while a network is trained: put behind convolutions without changing the function, folded at the end.

Networks are trained with BatchNormalization and shipped without: exporters and `ingest` fold it into the weights. What
is left trains badly, with filters of very different lengths. So each convolution gets one back:

    z = conv(x, s W),  y = scale * (z - mean) / sqrt(variance + eps) + shift
    mean, variance: of z over some batches;  shift = mean of the old output;  scale = sqrt(variance + eps) / s

which is the old output whatever the input. s gives every filter the length sqrt(2), as fresh He weights have on average.
(Ioffe & Szegedy, 2015; He et al., 2015.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgevision.rewrite.prune.network import Node

EPSILON = 1e-5
MOMENTUM = 0.1
FILTER_LENGTH = 2.0**0.5


class Normalization(nn.Module):
    """One value a channel of ``scale`` and ``shift`` (trained), ``mean`` and ``variance`` (of the batches seen)."""

    mean: Tensor
    variance: Tensor

    def __init__(self, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.epsilon, self.momentum = epsilon, MOMENTUM

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ..] -> the same; in training with the statistics of the batch, which it remembers."""
        return functional.batch_norm(
            x, self.mean, self.variance, self.scale, self.shift, self.training, self.momentum, self.epsilon
        )

    def affine(self) -> tuple[Tensor, Tensor]:
        """factor, offset, float64: in inference it computes factor * x + offset."""
        factor = self.scale.detach().double() / torch.sqrt(self.variance.double() + self.epsilon)
        return factor, self.shift.detach().double() - factor * self.mean.double()


def fresh(channels: int) -> Normalization:
    """Scale 1, shift 0."""
    zeros, ones = torch.zeros(channels), torch.ones(channels)
    return Normalization(ones.clone(), zeros.clone(), zeros.clone(), ones.clone())


@dataclass(slots=True)
class Moments:
    """Sums over batches of the values of each channel and of their squares, float64."""

    count: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, x: Tensor) -> None:
        """x: [N, C, ..]"""
        values = x.detach().double().transpose(0, 1).flatten(1)
        self.count += values.shape[1]
        self.total = self.total + values.sum(1)
        self.squares = self.squares + (values**2).sum(1)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        mean = torch.as_tensor(self.total) / self.count
        return mean, (torch.as_tensor(self.squares) / self.count - mean**2).clamp(min=0)


def behind(node: Node, weight: Tensor, bias: Tensor | None, seen: Moments) -> tuple[Tensor, Normalization]:
    """The new weight and what follows it, together the convolution with ``weight`` and ``bias``, of which ``seen``."""
    length = filter_lengths(node, weight.double())
    stretch = torch.where(length > 0, FILTER_LENGTH / length.clamp(min=1e-30), torch.ones_like(length))
    mean, variance = seen.mean_and_variance()
    bare = mean if bias is None else mean - bias.double()
    spread = torch.sqrt(variance * stretch**2 + EPSILON)
    norm = Normalization(
        (spread / stretch).float(), mean.float(), (bare * stretch).float(), (variance * stretch**2).float()
    )
    return by_filter(node, weight, stretch), norm


def by_filter(node: Node, weight: Tensor, factor: Tensor) -> Tensor:
    """Every filter of a Conv [O, I/g, ..] or ConvTranspose [I, O/g, ..] times its ``factor`` [O], in float64 inside."""
    wide = weight.double()
    if node.op == "Conv":
        scaled = wide * factor.reshape(-1, *[1] * (wide.ndim - 1))
    else:
        group = int(node.attributes["group"])
        blocks = wide.reshape(group, -1, *wide.shape[1:])
        scaled = blocks * factor.reshape(group, 1, -1, *[1] * (wide.ndim - 2))
    return scaled.reshape(weight.shape).to(weight.dtype)


def filter_lengths(node: Node, weight: Tensor) -> Tensor:
    """[O]: the Euclidean norm of every filter."""
    if node.op == "Conv":
        return _lengths(weight.flatten(1), 1)
    group = int(node.attributes["group"])
    blocks = weight.reshape(group, -1, weight.shape[1], weight[0, 0].numel())
    return _lengths(blocks, (1, 3)).flatten()


def _lengths(x: Tensor, dim: int | tuple[int, int]) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(x, dim=dim)
    return lengths
