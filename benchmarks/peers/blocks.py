"""The blocks of SLaK and RepLKNet that large depthwise kernels are measured in, merged as they are deployed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIZE = 56


def _depthwise(channels: int, height: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, (height, width), padding=(height // 2, width // 2), groups=channels)


class SlakBlock(nn.Module):
    """x + 1x1(gelu(1x1(51x5(x) + 5x51(x) + 5x5(x)))), the first three depthwise. [N, 124, 56, 56] in and out.

    Source: Liu et al., "More ConvNets in the 2020s", ICLR 2023: stage 1 of SLaK-T without its LayerNorm.
    """

    def __init__(self, channels: int = 124) -> None:
        super().__init__()
        self.tall = _depthwise(channels, 51, 5)
        self.wide = _depthwise(channels, 5, 51)
        self.small = _depthwise(channels, 5, 5)
        self.enter = nn.Conv2d(channels, 4 * channels, 1)
        self.gelu = nn.GELU()
        self.leave = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.leave(self.gelu(self.enter(self.tall(x) + self.wide(x) + self.small(x))))
        return x + y


class RepLKNetBlock(nn.Module):
    """x + 1x1(relu(31x31(relu(1x1(x))))), 31x31 depthwise. [N, 128, 56, 56] in and out.

    Source: Ding et al., "Scaling Up Your Kernels to 31x31", CVPR 2022: stage 1 of RepLKNet-31B, merged.
    """

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 1)
        self.large = _depthwise(channels, 31, 31)
        self.relu = nn.ReLU()
        self.leave = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.leave(self.relu(self.large(self.relu(self.enter(x)))))
        return x + y


def build(block: type[SlakBlock] | type[RepLKNetBlock]) -> nn.Module:
    """The block in eval mode, with weights and biases from a fixed seed."""
    torch.manual_seed(0)
    return block().eval().requires_grad_(False)
