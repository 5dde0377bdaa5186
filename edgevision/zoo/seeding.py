"""Seeded weights whose activations neither vanish nor explode, and whose output depends on the input.

Uniform He weights, BatchNorms near the statistics that a calibration batch really has. Random numbers come from numpy's
PCG64 and statistics are rounded to ten bits, so that the last digits of a convolution, which differ between machines,
do not reach the weights: the same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from zlib import crc32

import numpy as np
import torch
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from torch import Tensor, nn

_KEPT_BITS = 10
# A channel that hardly varies in the batch is amplified at most about three times more than the others.
_VARIANCE_FLOOR = 0.1
# The squares, in pixels, of the three calibration images: white noise, fine and coarse patterns. With 128-pixel images,
# where borders weigh more, the logits of MobileNet V3 on white noise at 224 pixels were 40 times those on patterns.
_EXTENT = 224
_SQUARES = (1, 4, 16)


def seed_weights(network: nn.Module, name: str, seed: int) -> None:
    """Fill ``network`` in place: the same ``name`` and ``seed`` always give the same values."""
    rng = Generator(PCG64([seed, crc32(name.encode())]))
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            _fill(module.weight, rng, _he_bound(module.weight))
            if module.bias is not None:
                _fill(module.bias, rng, 0.1)
        elif isinstance(module, nn.BatchNorm2d):
            _fill(module.weight, rng, 0.3, centre=1.0)
            _fill(module.bias, rng, 0.3)
    network.double()
    with torch.inference_mode(), _statistics_from_inputs(network, rng):
        network(_calibration_batch(rng))
    network.float()


def _he_bound(weight: Tensor) -> float:
    """Half-width of the uniform distribution of variance 2 / fan-in (He et al. 2015)."""
    return sqrt(6.0 / weight[0].numel())


def _fill(parameter: Tensor, rng: Generator, half_width: float, *, centre: float = 0.0) -> None:
    unit = rng.random(tuple(parameter.shape), dtype=np.float32)
    values = (unit * np.float32(2 * half_width)) + np.float32(centre - half_width)
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))


def _calibration_batch(rng: Generator) -> Tensor:
    """[3, 3, 224, 224]: squares of one random colour each, uniform with mean 0 and variance 1."""
    images = []
    for square in _SQUARES:
        colours = rng.random((3, _EXTENT // square, _EXTENT // square))
        images.append((colours - 0.5).repeat(square, axis=1).repeat(square, axis=2) * sqrt(12.0))
    return torch.from_numpy(np.stack(images))


@contextmanager
def _statistics_from_inputs(network: nn.Module, rng: Generator) -> Iterator[None]:
    """While open, every BatchNorm takes its statistics from what it is given, then normalises with them."""

    def take(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        variance = _rounded(torch.clamp(var, min=_VARIANCE_FLOOR * float(var.mean())).numpy())
        drift = rng.random((2, variance.size)) * 2.0 - 1.0
        norm.running_mean.copy_(torch.from_numpy(_rounded(mean.numpy()) + 0.2 * drift[0] * np.sqrt(variance)))
        norm.running_var.copy_(torch.from_numpy(variance * (1.0 + 0.2 * drift[1])))

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(take) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value to its nearest with ``_KEPT_BITS`` significant bits."""
    mantissa, exponent = np.frexp(values)
    rounded: NDArray[np.float64] = np.ldexp(np.round(np.ldexp(mantissa, _KEPT_BITS)), exponent - _KEPT_BITS)
    return rounded
