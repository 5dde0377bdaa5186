"""add: two linear forms of one input side by side, as one form where that is exact."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgevision.rewrite.reparam.linear_form import (
    Array,
    Axes,
    Extents,
    Inexact,
    LinearForm,
    common_step,
    regrouped,
    sum_of_biases,
)  # fmt: skip


def add(one: LinearForm, other: LinearForm, extents: Extents) -> LinearForm | Inexact:
    """x -> one(x) + other(x) as one form; ``extents`` are those of x, and y has the same for both.

    The windows are laid over each other by the positions that their taps read.
    """
    if (one.output_padding is None) != (other.output_padding is None):
        return Inexact(reason="a ConvTranspose and a convolution have no common kernel")
    if one.output_padding is not None:
        return _add_transposed(one, other)
    if one.stride != other.stride:
        return Inexact(reason=f"strides {one.stride} and {other.stride} differ")
    placed = [_overlay(one, other, axis, extents[axis]) for axis in range(one.rank)]
    for each in placed:
        if isinstance(each, Inexact):
            return each
    axes = [each for each in placed if not isinstance(each, Inexact)]
    group = int(np.gcd(one.group, other.group))
    kernel, begin = tuple(a.taps for a in axes), tuple(a.begin for a in axes)
    geometry = (kernel, begin, tuple(a.dilation for a in axes))
    return replace(
        one,
        group=group,
        kernel=kernel,
        dilation=geometry[2],
        begin=begin,
        end=tuple(a.end for a in axes),
        weight=lambda: _laid(one, group, *geometry) + _laid(other, group, *geometry),
        bias=sum_of_biases(one.bias, other.bias, one.rank),
        bias_extents=one.bias_extents or other.bias_extents,
        identity=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    taps: int
    dilation: int
    begin: int
    end: int


def _overlay(one: LinearForm, other: LinearForm, axis: int, extent: int | None) -> _Axis | Inexact:
    forms = (one, other)
    stride, slacks = one.stride[axis], sorted({form.slack[axis] for form in forms}, reverse=True)
    if len(slacks) > 1:
        if extent is None:
            return Inexact(reason="the branches agree for some extents only, and the extents are open")
        if len({(extent + slack) // stride for slack in slacks}) > 1:
            return Inexact(reason="the branches give different extents")
    begin = max(form.begin[axis] for form in forms)
    last = max(form.span[axis] - form.begin[axis] for form in forms)
    apart = abs(one.begin[axis] - other.begin[axis])
    steps = [(form.kernel[axis], form.dilation[axis]) for form in forms]
    dilation = common_step(*steps, (2 if apart else 1, apart))
    return _Axis(taps=(begin + last - 1) // dilation + 1, dilation=dilation, begin=begin, end=slacks[0] + last)


def _laid(form: LinearForm, group: int, kernel: Axes, begin: Axes, dilation: Axes) -> Array:
    """The weight with its taps where a kernel of this geometry has them."""
    weight = regrouped(form.weight(), form.group, group)
    result = np.zeros((*weight.shape[:2], *kernel))
    window = tuple(
        slice((b - own) // d, (b - own) // d + (k - 1) * (near // d) + 1, max(near // d, 1))
        for b, own, d, k, near in zip(begin, form.begin, dilation, form.kernel, form.dilation, strict=True)
    )
    result[(slice(None), slice(None), *window)] = weight
    return result


def _add_transposed(one: LinearForm, other: LinearForm) -> LinearForm | Inexact:
    geometry = [(f.group, f.kernel, f.stride, f.dilation, f.begin, f.end, f.output_padding) for f in (one, other)]
    if geometry[0] != geometry[1]:
        return Inexact(reason="ConvTransposes of different geometry have no common kernel")
    return replace(
        one, weight=lambda: one.weight() + other.weight(), bias=sum_of_biases(one.bias, other.bias, one.rank)
    )
