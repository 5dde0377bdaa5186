"""ParNet: Goyal et al., "Non-deep Networks", NeurIPS 2022, figures 2 and A1: twelve layers deep, three streams wide.

Widths (w0, w1, w2, w3) at 56, 28, 14 and 7 pixels of a 224-pixel input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgevision.zoo.blocks import ConvBN, Head
from edgevision.zoo.folding import affine_of, as_affine, folded_kernel, with_kernel

_STREAM_BLOCKS = (4, 5, 5)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel g * C/groups + c -> c * groups + g: [N, C, H, W] -> [N, C, H, W]."""
    batch, channels, height, width = x.shape
    split = x.reshape(batch, groups, channels // groups, height, width)
    return split.transpose(1, 2).reshape(batch, channels, height, width)


def merged(dense: ConvBN, pointwise: ConvBN, *, pooled: bool) -> nn.Conv2d:
    """dense(x) + pointwise(x), or with ``pooled`` dense(x) + pointwise(average pool 2 of x), as one 3x3 convolution.

    A 1x1 is the centre tap. Behind the pool, a quarter of it is each of the four taps on rows and columns 1 and 2: at
    stride 2 and padding 1 those read pixels 2i and 2i + 1, which is exact for even extents only.
    """
    kernel, bias = folded_kernel(dense.conv, dense.bn)
    taps, shift = folded_kernel(pointwise.conv, pointwise.bn)
    taps = nn.functional.pad(taps.expand(-1, -1, 2, 2) / 4, (1, 0, 1, 0)) if pooled else nn.functional.pad(taps, (1, 1, 1, 1))
    return with_kernel(dense.conv, kernel + taps, bias + shift)


class Gate(nn.Module):
    """factor * sigmoid(conv1x1(mean of x over H and W)): [N, C, H, W] -> [N, O, 1, 1]."""

    def __init__(self, inputs: int, outputs: int, *, groups: int = 1, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv2d(inputs, outputs, 1, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """One factor a channel."""
        gate = torch.sigmoid(self.conv(self.pool(x)))
        return gate if self.factor == 1.0 else gate * self.factor


class StreamBlock(nn.Module):
    """RepVGG-SSE: silu(BN(conv3x3(x)) + BN(conv1x1(x)) + y * gate(y)) with y = BN(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense = ConvBN(channels, channels, 3)
        self.pointwise = ConvBN(channels, channels, 1)
        self.identity = nn.BatchNorm2d(channels)
        self.gate = Gate(channels, channels)
        self.silu = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        skip = self.identity(x)
        y: Tensor = self.silu(self.dense(x) + self.pointwise(x) + skip * self.gate(skip))
        return y

    def deployed(self) -> nn.Module:
        """The two convolutions as one; the skip stays, because its gate depends on the input."""
        return _DeployedStreamBlock(self)


class _DeployedStreamBlock(nn.Module):
    """silu(conv(x) + (a x + b) * gate(x)): with y = a x + b, W mean(y) = (W diag a) mean(x) + W b in the gate too."""

    def __init__(self, trained: StreamBlock) -> None:
        super().__init__()
        self.conv = merged(trained.dense, trained.pointwise, pooled=False)
        self.identity = as_affine(trained.identity)
        self.gate = trained.gate
        scale, shift = affine_of(trained.identity)
        weight = trained.gate.conv.weight.detach().double()
        bias = weight[:, :, 0, 0] @ shift
        self.gate.conv = with_kernel(trained.gate.conv, weight * scale.reshape(1, -1, 1, 1), bias)
        self.silu = trained.silu

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.silu(self.conv(x) + self.identity(x) * self.gate(x))
        return y


class GatedBlock(nn.Module):
    """silu((BN(conv3x3(x)) + BN(conv1x1(pool(x)))) * gate(x)), the gate in 0..2, shuffled where it is grouped.

    pool: average of 2x2 where the stride is 2, else nothing. Downsampling and fusion blocks are of this kind.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 2, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.dense = ConvBN(inputs, outputs, 3, stride=stride, groups=groups)
        self.pool = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
        self.pointwise = ConvBN(inputs, outputs, 1, groups=groups)
        self.gate = Gate(inputs, outputs, groups=groups, factor=2.0)
        self.silu = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H/stride, W/stride]."""
        y = self.silu((self.dense(x) + self.pointwise(self.pool(x))) * self.gate(x))
        return shuffle(y, self.groups) if self.groups > 1 else y

    def deployed(self) -> nn.Module:
        """The two convolutions as one."""
        return _DeployedGatedBlock(self)


class _DeployedGatedBlock(nn.Module):
    def __init__(self, trained: GatedBlock) -> None:
        super().__init__()
        self.groups = trained.groups
        self.conv = merged(trained.dense, trained.pointwise, pooled=isinstance(trained.pool, nn.AvgPool2d))
        self.gate = trained.gate
        self.silu = trained.silu

    def forward(self, x: Tensor) -> Tensor:
        y = self.silu(self.conv(x) * self.gate(x))
        return shuffle(y, self.groups) if self.groups > 1 else y


class Fusion(nn.Module):
    """Two streams of equal shape, a BatchNorm each, their channels interleaved, then a gated block of two groups."""

    def __init__(self, channels: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.norm_stream = nn.BatchNorm2d(channels)
        self.norm_carried = nn.BatchNorm2d(channels)
        self.block = GatedBlock(2 * channels, outputs, stride=stride, groups=2)

    def forward(self, stream: Tensor, carried: Tensor) -> Tensor:
        """Two of [N, C, H, W] -> [N, O, H/stride, W/stride]."""
        both = torch.cat([self.norm_stream(stream), self.norm_carried(carried)], 1)
        y: Tensor = self.block(shuffle(both, 2))
        return y

    def deployed(self) -> nn.Module:
        """BatchNorms as constants: folding their shift forwards into a padded convolution would not be exact."""
        self.norm_stream = as_affine(self.norm_stream)  # type: ignore[assignment]
        self.norm_carried = as_affine(self.norm_carried)  # type: ignore[assignment]
        self.block = self.block.deployed()  # type: ignore[assignment]
        return self


class ParNet(nn.Module):
    """[N, 3, 224, 224] -> [N, 1000]."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        w0, w1, w2, w3 = widths
        first = min(64, w0)
        self.entries = nn.ModuleList(
            [nn.Sequential(GatedBlock(3, first), GatedBlock(first, w0)), GatedBlock(w0, w1), GatedBlock(w1, w2)]
        )
        self.streams = nn.ModuleList(
            nn.Sequential(*(StreamBlock(width) for _ in range(blocks)))
            for width, blocks in zip((w0, w1, w2), _STREAM_BLOCKS, strict=True)
        )
        self.descend = GatedBlock(w0, w1)
        self.fuse_fine = Fusion(w1, w2, stride=2)
        self.fuse_coarse = Fusion(w2, w2, stride=1)
        self.last = GatedBlock(w2, w3)
        self.head = Head(w3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        fine = self.entries[0](x)
        middle = self.entries[1](fine)
        coarse = self.entries[2](middle)
        carried = self.descend(self.streams[0](fine))
        carried = self.fuse_fine(self.streams[1](middle), carried)
        carried = self.fuse_coarse(self.streams[2](coarse), carried)
        logits: Tensor = self.head(self.last(carried))
        return logits


WIDTHS = {
    "s": (92, 192, 384, 1280),
    "m": (128, 256, 512, 2048),
    "l": (160, 320, 640, 2560),
    "xl": (200, 400, 800, 3200),
}
