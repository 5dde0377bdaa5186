"""GhostNet: Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020, table 1."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgevision.zoo.blocks import ConvBN, DecomposedHardSigmoid, Head, SqueezeExcite, divisible


class _Row(NamedTuple):
    kernel: int
    expanded: int
    outputs: int
    squeeze: float
    stride: int


_ROWS = (
    _Row(3, 16, 16, 0, 1),
    _Row(3, 48, 24, 0, 2),
    _Row(3, 72, 24, 0, 1),
    _Row(5, 72, 40, 0.25, 2),
    _Row(5, 120, 40, 0.25, 1),
    _Row(3, 240, 80, 0, 2),
    _Row(3, 200, 80, 0, 1),
    _Row(3, 184, 80, 0, 1),
    _Row(3, 184, 80, 0, 1),
    _Row(3, 480, 112, 0.25, 1),
    _Row(3, 672, 112, 0.25, 1),
    _Row(5, 672, 160, 0.25, 2),
    _Row(5, 960, 160, 0, 1),
    _Row(5, 960, 160, 0.25, 1),
    _Row(5, 960, 160, 0, 1),
    _Row(5, 960, 160, 0.25, 1),
)


class Ghost(nn.Module):
    """Half the maps from a 1x1 convolution, the rest from a depthwise 3x3 on those, concatenated and cut to size."""

    def __init__(self, inputs: int, outputs: int, *, relu: bool) -> None:
        super().__init__()
        primary = ceil(outputs / 2)
        activation = nn.ReLU if relu else nn.Identity
        self.outputs = outputs
        self.primary = ConvBN(inputs, primary, 1, activation=activation)
        self.cheap = ConvBN(primary, primary, 3, groups=primary, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H, W]."""
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], 1)[:, : self.outputs]


class Bottleneck(nn.Module):
    """Ghost that expands, depthwise when it strides, squeeze-and-excitation, ghost that projects; a shortcut around."""

    def __init__(self, inputs: int, expanded: int, outputs: int, row: _Row) -> None:
        super().__init__()
        self.expand = Ghost(inputs, expanded, relu=True)
        self.depthwise = (
            ConvBN(expanded, expanded, row.kernel, stride=row.stride, groups=expanded)
            if row.stride > 1
            else nn.Identity()
        )
        self.excite = (
            SqueezeExcite(expanded, divisible(expanded * row.squeeze, 4), gate=DecomposedHardSigmoid)
            if row.squeeze
            else nn.Identity()
        )
        self.project = Ghost(expanded, outputs, relu=False)
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and row.stride == 1
            else nn.Sequential(
                ConvBN(inputs, inputs, row.kernel, stride=row.stride, groups=inputs), ConvBN(inputs, outputs, 1)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H/stride, W/stride]."""
        y: Tensor = self.project(self.excite(self.depthwise(self.expand(x)))) + self.shortcut(x)
        return y


def ghostnet(width: float) -> nn.Module:
    """[N, 3, 224, 224] -> [N, 1000], every channel count but the last two times ``width``."""
    channels = divisible(16 * width, 4)
    layers: list[nn.Module] = [ConvBN(3, channels, 3, stride=2, activation=nn.ReLU)]
    for row in _ROWS:
        outputs = divisible(row.outputs * width, 4)
        layers.append(Bottleneck(channels, divisible(row.expanded * width, 4), outputs, row))
        channels = outputs
    last = divisible(960 * width, 4)
    layers.append(ConvBN(channels, last, 1, activation=nn.ReLU))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(last, 1280, 1), nn.ReLU(), Head(1280)]
    return nn.Sequential(*layers)
