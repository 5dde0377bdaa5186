"""The pieces that the networks share: convolution with BatchNorm, squeeze-and-excitation, head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgevision.zoo.folding import fold_batchnorm

Activation = Callable[[], nn.Module]


def divisible(channels: float, by: int) -> int:
    """``channels`` rounded to the nearest multiple of ``by``, at least ``by`` and never more than 10 % down.

    The rule of the MobileNet papers' code.
    """
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


class ConvBN(nn.Module):
    """Convolution without bias, BatchNorm, activation: [N, C, H, W] -> [N, O, H/stride, W/stride].

    ``padding`` is kernel // 2 unless given.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        eps: float = 1e-5,
        activation: Activation = nn.Identity,
    ) -> None:
        super().__init__()
        pad = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=eps)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """activation(BN(conv(x)))."""
        y: Tensor = self.activation(self.bn(self.conv(x)))
        return y

    def deployed(self) -> nn.Module:
        """The convolution with the BatchNorm folded into its weights and bias, and the activation."""
        conv = fold_batchnorm(self.conv, self.bn)
        return nn.Sequential(OrderedDict(conv=conv, activation=self.activation))


class DecomposedHardSigmoid(nn.Module):
    """relu6(x + 3) / 6, spelled out as the GhostNet authors do: it exports as Add, Clip, Div."""

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return nn.functional.relu6(x + 3.0) / 6.0


class SqueezeExcite(nn.Module):
    """x * gate(expand(relu(reduce(mean of x over H and W)))), both 1x1 convolutions with bias."""

    def __init__(self, channels: int, squeezed: int, *, gate: Activation = nn.Hardsigmoid) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.relu = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        scale: Tensor = self.gate(self.expand(self.relu(self.reduce(self.pool(x)))))
        return x * scale


class Head(nn.Module):
    """Global average pool, then a classifier: [N, C, H, W] -> [N, classes]."""

    def __init__(self, channels: int, classes: int = 1000) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.classifier(torch.flatten(self.pool(x), 1))
        return logits
