"""RepVGG: Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021, table 2."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from edgevision.zoo.blocks import ConvBN, Head
from edgevision.zoo.folding import affine_of, folded_kernel, with_kernel

_BASE_WIDTHS = (64, 128, 256, 512)


class RepVGGBlock(nn.Module):
    """relu(BN(conv3x3(x)) + BN(conv1x1(x)) + BN(x)), the last only where input and output shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.dense = ConvBN(inputs, outputs, 3, stride=stride)
        self.pointwise = ConvBN(inputs, outputs, 1, stride=stride)
        self.identity = nn.BatchNorm2d(inputs) if stride == 1 and inputs == outputs else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H/stride, W/stride]."""
        total = self.dense(x) + self.pointwise(x)
        if self.identity is not None:
            total = total + self.identity(x)
        y: Tensor = self.relu(total)
        return y

    def deployed(self) -> nn.Module:
        """One 3x3 convolution: the 1x1 kernel and the identity sit on its centre tap (section 3.3)."""
        kernel, bias = folded_kernel(self.dense.conv, self.dense.bn)
        centre, shift = folded_kernel(self.pointwise.conv, self.pointwise.bn)
        if self.identity is not None:
            scale, identity_shift = affine_of(self.identity)
            centre = centre + torch.diag(scale)[:, :, None, None]
            shift = shift + identity_shift
        kernel = kernel + nn.functional.pad(centre, (1, 1, 1, 1))
        return nn.Sequential(OrderedDict(conv=with_kernel(self.dense.conv, kernel, bias + shift), relu=self.relu))


def _repvgg(blocks: tuple[int, int, int, int], width: float, last_width: float) -> nn.Module:
    widths = [int(base * width) for base in _BASE_WIDTHS[:-1]] + [int(_BASE_WIDTHS[-1] * last_width)]
    channels = min(64, widths[0])
    layers: list[nn.Module] = [RepVGGBlock(3, channels, 2)]
    for count, outputs in zip(blocks, widths, strict=True):
        for at in range(count):
            layers.append(RepVGGBlock(channels, outputs, 1 if at else 2))
            channels = outputs
    return nn.Sequential(*layers, Head(channels))


def repvgg_a0() -> nn.Module:
    """[N, 3, 224, 224] -> [N, 1000]; stages of 2, 4, 14, 1 blocks, widths x0.75, the last x2.5."""
    return _repvgg((2, 4, 14, 1), 0.75, 2.5)


def repvgg_a1() -> nn.Module:
    """[N, 3, 224, 224] -> [N, 1000]; stages of 2, 4, 14, 1 blocks, widths x1, the last x2.5."""
    return _repvgg((2, 4, 14, 1), 1.0, 2.5)


def repvgg_b0() -> nn.Module:
    """[N, 3, 224, 224] -> [N, 1000]; stages of 4, 6, 16, 1 blocks, widths x1, the last x2.5."""
    return _repvgg((4, 6, 16, 1), 1.0, 2.5)
