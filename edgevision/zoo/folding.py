"""From the training form of a network to its deploy form: BatchNorms folded, branches merged.

All algebra is float64 and cast to the network's own dtype once, at the end; it runs on the meta device as well.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Deployable(Protocol):
    """A module that knows a cheaper one of the same function in inference."""

    def deployed(self) -> nn.Module:
        """The cheaper module."""


def deploy(module: nn.Module) -> nn.Module:
    """``module`` with each `Deployable` inside replaced by what it deploys to. Changes ``module`` in place."""
    if isinstance(module, Deployable):
        return module.deployed()
    for name, child in module.named_children():
        setattr(module, name, deploy(child))
    return module


class Affine(nn.Module):
    """scale * x + shift, per channel: a BatchNorm in inference that has no convolution to fold into."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale.reshape(1, -1, 1, 1), requires_grad=False)
        self.shift = nn.Parameter(shift.reshape(1, -1, 1, 1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return x * self.scale + self.shift


def affine_of(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale gamma / sqrt(var + eps) and shift beta - mean * scale, each [C], float64."""
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight.detach().double() / torch.sqrt(bn.running_var.double() + bn.eps)
    return scale, bn.bias.detach().double() - bn.running_mean.double() * scale


def as_affine(bn: nn.BatchNorm2d) -> Affine:
    """``bn`` in inference, as two constants a channel."""
    scale, shift = affine_of(bn)
    return Affine(scale.to(bn.weight.dtype), shift.to(bn.weight.dtype))


def folded_kernel(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel [O, I/g, kh, kw] and bias [O] of bn(conv(x)), float64. Exact: BatchNorm follows the convolution."""
    scale, shift = affine_of(bn)
    kernel = conv.weight.detach().double() * scale.reshape(-1, 1, 1, 1)
    return kernel, shift if conv.bias is None else shift + conv.bias.detach().double() * scale


def fold_batchnorm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with bias that computes bn(conv(x))."""
    return with_kernel(conv, *folded_kernel(conv, bn))


def with_kernel(conv: nn.Conv2d, kernel: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution of ``conv``'s geometry and dtype with this kernel and bias."""
    with torch.device("meta"):
        merged = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            (conv.kernel_size[0], conv.kernel_size[1]),
            (conv.stride[0], conv.stride[1]),
            (int(conv.padding[0]), int(conv.padding[1])),
            groups=conv.groups,
        )
    merged.weight = nn.Parameter(kernel.to(conv.weight.dtype), requires_grad=False)
    merged.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    return merged.train(conv.training)
