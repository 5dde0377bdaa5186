"""MobileNet V1: Howard et al., "MobileNets", 2017, table 1, with the ReLU6 and the padding of the TensorFlow code."""

from __future__ import annotations

from torch import nn

from edgevision.zoo.blocks import ConvBN, Head

_ROWS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def _same(inputs: int, outputs: int, stride: int, groups: int) -> nn.Module:
    """3x3 with TensorFlow's SAME padding: on an even extent, stride 2 pads only below and on the right."""
    if stride == 1:
        return ConvBN(inputs, outputs, 3, groups=groups, activation=nn.ReLU6)
    conv = ConvBN(inputs, outputs, 3, stride=stride, groups=groups, padding=0, activation=nn.ReLU6)
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv)


def mobilenetv1() -> nn.Module:
    """[N, 3, 224, 224] -> [N, 1000]."""
    channels = 32
    layers = [_same(3, channels, 2, 1)]
    for outputs, stride in _ROWS:
        layers += [_same(channels, channels, stride, channels), ConvBN(channels, outputs, 1, activation=nn.ReLU6)]
        channels = outputs
    return nn.Sequential(*layers, Head(channels))
