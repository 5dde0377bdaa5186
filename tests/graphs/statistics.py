"""Random weights and statistics with which a network is alive: no branch negligible, no activation off the scale."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def bring_to_life(
    network: nn.Module, images: Tensor, seed: int = 0, after_weights: Callable[[nn.Module], None] | None = None
) -> nn.Module:
    """Randomise scales, shifts and BatchNorm statistics of ``network`` in place, in eval mode without gradients.

    BatchNorms get the statistics that their input has while ``images`` [N, 3, H, W] pass, moved a little at random, so
    that a network that ignores one of them is wrong. Layer scales, 1e-6 at first, become about 1.
    ``after_weights`` may change the weights before the statistics are taken.
    """
    generator = torch.Generator().manual_seed(seed)
    network.eval().requires_grad_(False)
    for module in network.modules():
        _randomise(module, generator)
    if after_weights is not None:
        after_weights(network)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(_statistics_hook(generator)) for norm in norms]
    with torch.inference_mode():
        network(images)
    for hook in hooks:
        hook.remove()
    return network


def picture(size: int, seed: int, count: int = 1) -> Tensor:
    """[count, 3, size, size], mean 0, variance 1: coarse squares and noise, half and half."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, size // 16, size // 16, generator=generator)
    squares = coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)
    return (squares + torch.rand(count, 3, size, size, generator=generator) - 1.0) * 6.0**0.5


def calibration_images(size: int) -> Tensor:
    """[3, 3, size, size]: two pictures and white noise, so that the statistics suit either."""
    noise = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    return torch.cat([picture(size, seed=1, count=2), noise])


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        bound = (6.0 / module.weight[0].numel()) ** 0.5
        module.weight.uniform_(-bound, bound, generator=generator)
        if module.bias is not None:
            module.bias.uniform_(-0.1, 0.1, generator=generator)
        return
    for name, parameter in module.named_parameters(recurse=False):
        centre = 0.0 if "bias" in name or "beta" in name else 1.0
        if parameter.dim() <= 1 or parameter.numel() == max(parameter.shape):
            parameter.uniform_(centre - 0.3, centre + 0.3, generator=generator)


def _statistics_hook(generator: torch.Generator):
    def take(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        var = var.clamp(min=0.1 * float(var.mean()))
        drift = 0.2 * (torch.rand(2, var.numel(), generator=generator) * 2 - 1)
        norm.running_mean.copy_(mean + drift[0] * var.sqrt())
        norm.running_var.copy_(var * (1 + drift[1]))

    return take
