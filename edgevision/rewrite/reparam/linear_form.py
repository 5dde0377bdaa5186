"""LinearForm: the map that a convolution with bias computes, and the algebra of such maps in float64.

    y[o, p] = bias[o] + sum over i, k of weight[o, i, k] * x[i, p * stride - begin + k * dilation],    x = 0 outside

for every axis p of space. BatchNormalization in inference, an identity, a constant factor a channel, an average pool
and a zero pad are of this form too; a Gemm is one without axes of space. Forms compose (a chain) and add (branches of
one input): see composing.py and adding.py. Weights are computed when they are asked for, so that a search may look at
the geometry of many forms and pay for none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Lazy = Callable[[], Array]
Axes = tuple[int, ...]
Extents = tuple[int | None, ...]
"""Extents of the axes of space; None where the model leaves one open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inexact:
    """Why two forms have no common form."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearForm:
    """``weight`` is [outputs, inputs / group, *kernel], ``bias`` [outputs], or with ``bias_extents`` (a bias map: one
    value a position) [outputs, *bias_extents], or None for none. ``begin`` and ``end`` are the zeros before and behind
    each axis. With ``output_padding`` the form is a ConvTranspose and ``weight`` [inputs, outputs / group, *kernel].

    ``identity``: weight is one on the diagonal and there is no bias.
    """

    inputs: int
    outputs: int
    group: int
    kernel: Axes
    stride: Axes
    dilation: Axes
    begin: Axes
    end: Axes
    weight: Lazy
    bias: Lazy | None = None
    bias_extents: Axes | None = None
    identity: bool = False
    output_padding: Axes | None = None

    @property
    def rank(self) -> int:
        """Number of axes of space."""
        return len(self.kernel)

    @property
    def span(self) -> Axes:
        """What a window covers of each axis, in elements."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def slack(self) -> Axes:
        """begin + end - span: an axis of n elements gives (n + slack) // stride + 1."""
        return tuple(b + e - s for b, e, s in zip(self.begin, self.end, self.span, strict=True))

    @property
    def taps(self) -> int:
        """Positions that a window reads."""
        return prod(self.kernel)

    @property
    def pointwise(self) -> bool:
        """True if y at a position depends on x at the same position only, everywhere."""
        plain = all(k == s == 1 and not b and not e for k, s, b, e in
                    zip(self.kernel, self.stride, self.begin, self.end, strict=True))  # fmt: skip
        return plain and self.output_padding is None

    @property
    def depthwise(self) -> bool:
        """True if every channel depends on the same channel only."""
        return self.group == self.inputs == self.outputs

    @property
    def diagonal(self) -> bool:
        """True for one factor and one term a channel: a BatchNormalization, for instance."""
        return self.depthwise and self.pointwise

    def applied_to(self, extents: Extents) -> Extents:
        """Extents of y for those of x."""
        if self.output_padding is not None:
            axes = zip(extents, self.stride, self.slack, self.output_padding, strict=True)
            return tuple(None if n is None else (n - 1) * s - t + o for n, s, t, o in axes)
        return tuple(None if n is None else (n + t) // s + 1 for n, t, s in
                     zip(extents, self.slack, self.stride, strict=True))  # fmt: skip


def constant(value: npt.ArrayLike) -> Lazy:
    """``value`` as something to be computed later."""
    array = np.asarray(value, np.float64)
    return lambda: array


def diagonal(scale: Lazy, channels: int, rank: int, bias: Lazy | None = None, *, identity: bool = False) -> LinearForm:
    """x * scale[c] + bias[c]; ``scale`` gives [channels]."""
    ones, zeros = (1,) * rank, (0,) * rank
    return LinearForm(
        inputs=channels, outputs=channels, group=channels, kernel=ones, stride=ones, dilation=ones, begin=zeros,
        end=zeros, weight=lambda: scale().reshape(channels, 1, *ones), bias=bias, identity=identity,
    )  # fmt: skip


def identity(channels: int, rank: int) -> LinearForm:
    """x itself."""
    return diagonal(lambda: np.ones(channels), channels, rank, identity=True)


def scale_of(form: LinearForm) -> Array:
    """[channels]: the factors of a diagonal form."""
    return form.weight().reshape(-1)


def regrouped(weight: Array, group: int, fewer: int) -> Array:
    """[O, I/group, ...] as [O, I/fewer, ...], zeros outside the blocks; ``fewer`` divides ``group``."""
    ratio = group // fewer
    if ratio == 1:
        return weight
    outputs, inputs, *kernel = weight.shape
    result = np.zeros((fewer, ratio, outputs // group, ratio, inputs, *kernel))
    block = np.arange(ratio)
    result[:, block, :, block] = np.moveaxis(weight.reshape(fewer, ratio, outputs // group, inputs, *kernel), 1, 0)
    return result.reshape(outputs, ratio * inputs, *kernel)


def common_step(*axes: tuple[int, int]) -> int:
    """Largest distance of which all taps are multiples apart; axes of one tap have none."""
    return int(np.gcd.reduce([step for taps, step in axes if taps > 1] or [1]))


def sum_of_biases(one: Lazy | None, other: Lazy | None, rank: int) -> Lazy | None:
    if one is None or other is None:
        return one or other
    first, second = one, other

    def total() -> Array:
        a, b = first(), second()
        if a.ndim != b.ndim:
            a, b = (v if v.ndim > 1 else v.reshape(-1, *[1] * rank) for v in (a, b))
        return a + b

    return total
