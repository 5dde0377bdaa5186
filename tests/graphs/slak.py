"""SLaK: Liu et al., "More ConvNets in the 2020s: Scaling up Kernels Beyond 51x51", ICLR 2023; training form of T."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_ZERO_SHARE = 0.4  # the paper's sparsity


class LayerNorm2d(nn.Module):
    """Normalises over the channels of [N, C, H, W], spelled out as the authors do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        normalised = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)
        return self.weight[:, None, None] * normalised + self.bias[:, None, None]


def _depthwise_bn(channels: int, height: int, width: int) -> nn.Sequential:
    pad = (height // 2, width // 2)
    conv = nn.Conv2d(channels, channels, (height, width), padding=pad, groups=channels, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


class Block(nn.Module):
    """x + gamma * Linear(gelu(Linear(LayerNorm(Kx5 + 5xK + 5x5)))), the three depthwise and each with a BatchNorm."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.tall = _depthwise_bn(channels, kernel, 5)
        self.wide = _depthwise_bn(channels, 5, kernel)
        self.small = _depthwise_bn(channels, 5, 5)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.enter = nn.Linear(channels, 4 * channels)
        self.gelu = nn.GELU()
        self.leave = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = (self.tall(x) + self.wide(x) + self.small(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.leave(self.gelu(self.enter(self.norm(y))))
        return x + y.permute(0, 3, 1, 2)


class SLaK(nn.Module):
    """[N, 3, 224, 224] -> [N, 1000]."""

    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...], kernels: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for depth, width, kernel in zip(depths, widths, kernels, strict=True):
            if channels == 3:
                layers += [nn.Conv2d(3, width, 4, 4), LayerNorm2d(width)]
            else:
                layers += [LayerNorm2d(channels), nn.Conv2d(channels, width, 2, 2)]
            channels = width
            layers += [Block(width, kernel) for _ in range(depth)]
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.norm(self.features(x).mean((2, 3))))


def slak_t() -> SLaK:
    """Depths 3/3/9/3, ConvNeXt-T's widths times 1.3, kernels 51/49/47/13."""
    return SLaK((3, 3, 9, 3), tuple(int(width * 1.3) for width in (96, 192, 384, 768)), (51, 49, 47, 13))


def zero_a_share(network: nn.Module, seed: int = 0) -> None:
    """Set 40 % of the weights in every block to zero, at random places, in place."""
    generator = torch.Generator().manual_seed(seed)
    for block in network.modules():
        if isinstance(block, Block):
            for layer in block.modules():
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    layer.weight.data *= torch.rand(layer.weight.shape, generator=generator) >= _ZERO_SHARE
