"""MobileNet V3: Howard et al., "Searching for MobileNetV3", ICCV 2019, tables 1 (Large) and 2 (Small)."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from edgevision.zoo.blocks import ConvBN, Head, SqueezeExcite, divisible

# The BatchNorm epsilon of the TensorFlow code, which the published weights were trained with.
_conv_bn = partial(ConvBN, eps=1e-3)


class _Row(NamedTuple):
    kernel: int
    expanded: int
    outputs: int
    excited: bool
    hard_swish: bool
    stride: int


_LARGE = (
    _Row(3, 16, 16, False, False, 1),
    _Row(3, 64, 24, False, False, 2),
    _Row(3, 72, 24, False, False, 1),
    _Row(5, 72, 40, True, False, 2),
    _Row(5, 120, 40, True, False, 1),
    _Row(5, 120, 40, True, False, 1),
    _Row(3, 240, 80, False, True, 2),
    _Row(3, 200, 80, False, True, 1),
    _Row(3, 184, 80, False, True, 1),
    _Row(3, 184, 80, False, True, 1),
    _Row(3, 480, 112, True, True, 1),
    _Row(3, 672, 112, True, True, 1),
    _Row(5, 672, 160, True, True, 2),
    _Row(5, 960, 160, True, True, 1),
    _Row(5, 960, 160, True, True, 1),
)
_SMALL = (
    _Row(3, 16, 16, True, False, 2),
    _Row(3, 72, 24, False, False, 2),
    _Row(3, 88, 24, False, False, 1),
    _Row(5, 96, 40, True, True, 2),
    _Row(5, 240, 40, True, True, 1),
    _Row(5, 240, 40, True, True, 1),
    _Row(5, 120, 48, True, True, 1),
    _Row(5, 144, 48, True, True, 1),
    _Row(5, 288, 96, True, True, 2),
    _Row(5, 576, 96, True, True, 1),
    _Row(5, 576, 96, True, True, 1),
)


class Bottleneck(nn.Module):
    """Inverted residual with squeeze-and-excitation after the depthwise activation."""

    def __init__(self, inputs: int, row: _Row) -> None:
        super().__init__()
        activation = nn.Hardswish if row.hard_swish else nn.ReLU
        wide = row.expanded
        self.adds = row.stride == 1 and inputs == row.outputs
        self.expand = _conv_bn(inputs, wide, 1, activation=activation) if wide != inputs else nn.Identity()
        self.depthwise = _conv_bn(wide, wide, row.kernel, stride=row.stride, groups=wide, activation=activation)
        self.excite = SqueezeExcite(wide, divisible(wide / 4, 8)) if row.excited else nn.Identity()
        self.project = _conv_bn(wide, row.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H/stride, W/stride]."""
        y: Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.adds else y


def _mobilenetv3(rows: tuple[_Row, ...], last: int, hidden: int) -> nn.Module:
    channels = 16
    layers: list[nn.Module] = [_conv_bn(3, channels, 3, stride=2, activation=nn.Hardswish)]
    for row in rows:
        layers.append(Bottleneck(channels, row))
        channels = row.outputs
    layers.append(_conv_bn(channels, last, 1, activation=nn.Hardswish))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(last, hidden, 1), nn.Hardswish(), Head(hidden)]
    return nn.Sequential(*layers)


def mobilenetv3_large() -> nn.Module:
    """[N, 3, 224, 224] -> [N, 1000]."""
    return _mobilenetv3(_LARGE, 960, 1280)


def mobilenetv3_small() -> nn.Module:
    """[N, 3, 224, 224] -> [N, 1000]."""
    return _mobilenetv3(_SMALL, 576, 1024)
