"""RepLKNet: Ding et al., "Scaling Up Your Kernels to 31x31", CVPR 2022, figure 4; the training form of 31B."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _conv_bn(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return _conv_bn(inputs, outputs, kernel, stride=stride, groups=groups).append(nn.ReLU())


class LargeKernel(nn.Module):
    """BN(depthwise K x K) + BN(depthwise 5 x 5)."""

    def __init__(self, channels: int, kernel: int, small: int = 5) -> None:
        super().__init__()
        self.large = _conv_bn(channels, channels, kernel, groups=channels)
        self.small = _conv_bn(channels, channels, small, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.large(x) + self.small(x)


class LargeKernelBlock(nn.Module):
    """x + BN-1x1(relu(large(relu(BN-1x1(BN(x))))))."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.enter = _conv_bn_relu(channels, channels, 1)
        self.large = LargeKernel(channels, kernel)
        self.relu = nn.ReLU()
        self.leave = _conv_bn(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.leave(self.relu(self.large(self.enter(self.norm(x)))))


class FeedForward(nn.Module):
    """x + BN-1x1(gelu(BN-1x1(BN(x)))), four times as wide inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.enter = _conv_bn(channels, 4 * channels, 1)
        self.gelu = nn.GELU()
        self.leave = _conv_bn(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.leave(self.gelu(self.enter(self.norm(x))))


class RepLKNet(nn.Module):
    """[N, 3, 224, 224] -> [N, 1000]."""

    def __init__(self, kernels: tuple[int, ...], blocks: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        first = widths[0]
        layers: list[nn.Module] = [
            _conv_bn_relu(3, first, 3, stride=2),
            _conv_bn_relu(first, first, 3, groups=first),
            _conv_bn_relu(first, first, 1),
            _conv_bn_relu(first, first, 3, stride=2, groups=first),
        ]
        channels = first
        for kernel, count, width in zip(kernels, blocks, widths, strict=True):
            if width != channels:
                layers += [
                    _conv_bn_relu(channels, width, 1),
                    _conv_bn_relu(width, width, 3, stride=2, groups=width),
                ]
            channels = width
            for _ in range(count):
                layers += [LargeKernelBlock(width, kernel), FeedForward(width)]
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(channels))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


def replknet_31b() -> RepLKNet:
    """Kernels 31/29/27/13 on 128/256/512/1024 channels."""
    return RepLKNet((31, 29, 27, 13), (2, 2, 18, 2), (128, 256, 512, 1024))
