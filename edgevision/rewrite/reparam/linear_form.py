"""LinearForm: the map that a convolution with bias computes, and the algebra of such maps in float64.

    y[o, p] = bias[o] + sum over i, k of weight[o, i, k] * x[i, p * stride - begin + k * dilation],    x = 0 outside

for every axis p of space. BatchNormalization in inference, an identity, a constant factor a channel, an average pool
and a zero pad are of this form too; a Gemm is one without axes of space. Forms compose (a chain) and add (branches of
one input), see `compose` and `add`. Weights are computed when they are asked for, so that a search may look at the
geometry of many forms and pay for none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
            return tuple(None if n is None else (n - 1) * s + span + o - b - e for n, s, span, o, b, e in
                         zip(extents, self.stride, self.span, self.output_padding, self.begin, self.end, strict=True))  # fmt: skip
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


# --- one after the other ---------------------------------------------------------------------------------------------


def compose(outer: LinearForm, inner: LinearForm, extents: Extents) -> LinearForm | Inexact:
    """x -> outer(inner(x)) as one form; ``extents`` are those of x.

    Taps of ``outer`` lie inner.stride * outer.dilation apart in x, strides multiply, and the padding is
    outer.begin * inner.stride + inner.begin: with it the extents of y agree for every extent of x. Where ``outer`` pads,
    it reads zeros and not inner(zeros): exact if inner's window reads nothing but padding there and inner has no bias. A
    bias becomes a map, one value a position, if extents are known.
    """
    if outer.identity:
        return inner
    if inner.identity:
        return outer
    if outer.output_padding is not None or inner.output_padding is not None:
        return _compose_transposed(outer, inner)
    padded = [_padding_read(outer, n, at) for at, n in enumerate(inner.applied_to(extents))]
    for axis, sides in enumerate(padded):
        if (sides[0] and not _sees_padding_before(inner, axis)) or (
            sides[1] and not _sees_padding_behind(inner, axis, extents[axis])
        ):
            return Inexact(reason="at the border the second window reads zeros where the first would still see the input")
    biased = _composed_bias(outer, inner, extents, bordered=any(map(any, padded)))
    if isinstance(biased, Inexact):
        return biased
    bias, bias_extents = biased
    step = tuple(d * s for d, s in zip(outer.dilation, inner.stride, strict=True))
    dilation = tuple(
        _common_step((k2, d2), (k1, d1))
        for k2, d2, k1, d1 in zip(outer.kernel, step, inner.kernel, inner.dilation, strict=True)
    )
    span = [(k2 - 1) * d2 + (k1 - 1) * d1 for k2, d2, k1, d1 in
            zip(outer.kernel, step, inner.kernel, inner.dilation, strict=True)]  # fmt: skip
    kernel = tuple(n // d + 1 for n, d in zip(span, dilation, strict=True))
    return LinearForm(
        inputs=inner.inputs,
        outputs=outer.outputs,
        group=int(np.gcd(outer.group, inner.group)),
        kernel=kernel,
        stride=tuple(a * b for a, b in zip(outer.stride, inner.stride, strict=True)),
        dilation=dilation,
        begin=tuple(b2 * s + b1 for b2, s, b1 in zip(outer.begin, inner.stride, inner.begin, strict=True)),
        end=tuple(e2 * s + e1 for e2, s, e1 in zip(outer.end, inner.stride, inner.end, strict=True)),
        weight=lambda: _composed_weight(outer, inner, kernel, step, dilation),
        bias=bias,
        bias_extents=bias_extents,
    )


def _padding_read(form: LinearForm, extent: int | None, axis: int) -> tuple[bool, bool]:
    """Whether ``form`` reads padding before and behind an axis of ``extent`` elements."""
    behind = form.end[axis] > 0
    if behind and extent is not None:
        last = (extent + form.slack[axis]) // form.stride[axis] * form.stride[axis]
        behind = last - form.begin[axis] + form.span[axis] > extent
    return form.begin[axis] > 0, behind


def _sees_padding_before(form: LinearForm, axis: int) -> bool:
    """At output position -1 the window ends before element 0."""
    return -form.stride[axis] - form.begin[axis] + form.span[axis] - 1 < 0


def _sees_padding_behind(form: LinearForm, axis: int, extent: int | None) -> bool:
    """At the first output position past the last the window begins behind the last element."""
    if extent is None:
        return form.end[axis] >= form.span[axis] - 1
    past = (extent + form.slack[axis]) // form.stride[axis] + 1
    return past * form.stride[axis] - form.begin[axis] >= extent


def _common_step(*axes: tuple[int, int]) -> int:
    """Largest distance of which all taps are multiples apart; axes of one tap have none."""
    return int(np.gcd.reduce([step for taps, step in axes if taps > 1] or [1]))


def _composed_bias(
    outer: LinearForm, inner: LinearForm, extents: Extents, *, bordered: bool
) -> tuple[Lazy | None, Axes | None] | Inexact:
    """outer(inner's bias) + outer's bias, and the extents if it is a map."""
    if inner.bias is None:
        return outer.bias, outer.bias_extents
    middle = inner.applied_to(extents)
    mapped = inner.bias_extents is not None
    if mapped and not outer.pointwise:
        return Inexact(reason="a bias that varies over space passes pointwise operators only")
    if bordered and not _known(middle):
        return Inexact(reason="the first one's bias is missing where the second pads, and the extents are open")
    inner_bias, weight = inner.bias, outer.weight
    if bordered:
        reached: Axes = tuple(n for n in middle if n is not None)
        own: Lazy = lambda: _constant_field(outer, weight(), inner_bias(), reached)  # noqa: E731
        size = tuple(n for n in outer.applied_to(middle) if n is not None)
        return _sum_of_biases(own, outer.bias, outer.rank), size
    own = lambda: _mixed(outer, weight(), inner_bias())  # noqa: E731
    return _sum_of_biases(own, outer.bias, outer.rank), inner.bias_extents or outer.bias_extents


def _known(extents: Extents) -> bool:
    return all(n is not None for n in extents)


def _mixed(form: LinearForm, weight: Array, field: Array) -> Array:
    """[O, ...]: what a window makes of ``field`` [I, ...], constant over the window."""
    total = weight.reshape(*weight.shape[:2], -1).sum(2).reshape(form.group, form.outputs // form.group, -1)
    mixed = total @ field.reshape(form.group, form.inputs // form.group, -1)
    return mixed.reshape(form.outputs, *field.shape[1:])


def _constant_field(form: LinearForm, weight: Array, bias: Array, extents: Axes) -> Array:
    """[O, *extents of y]: ``form`` without its own bias, of an x that is bias[i] everywhere inside ``extents``."""
    channels = bias.reshape(form.group, form.inputs // form.group)
    grouped = weight.reshape(form.group, form.outputs // form.group, form.inputs // form.group, -1)
    field = np.einsum("goit,gi->got", grouped, channels).reshape(form.outputs, *form.kernel)
    for axis, extent in enumerate(extents):
        count = (extent + form.slack[axis]) // form.stride[axis] + 1
        at = np.arange(count)[:, None] * form.stride[axis] - form.begin[axis]
        at = at + np.arange(form.kernel[axis]) * form.dilation[axis]
        inside = ((at >= 0) & (at < extent)).astype(np.float64)
        field = np.moveaxis(np.tensordot(field, inside, (axis + 1, 1)), -1, axis + 1)
    return field


def _sum_of_biases(one: Lazy | None, other: Lazy | None, rank: int) -> Lazy | None:
    if one is None or other is None:
        return one or other
    first, second = one, other

    def total() -> Array:
        a, b = first(), second()
        if a.ndim != b.ndim:
            a, b = (v if v.ndim > 1 else v.reshape(-1, *[1] * rank) for v in (a, b))
        return a + b

    return total


def _composed_weight(outer: LinearForm, inner: LinearForm, kernel: Axes, step: Axes, dilation: Axes) -> Array:
    if outer.diagonal:
        return inner.weight() * scale_of(outer).reshape(-1, *[1] * (inner.rank + 1))
    if inner.diagonal:
        per_group = scale_of(inner).reshape(outer.group, 1, -1)
        factors = np.broadcast_to(per_group, (outer.group, outer.outputs // outer.group, per_group.shape[2]))
        return outer.weight() * factors.reshape(outer.outputs, -1, *[1] * outer.rank)
    group = int(np.gcd(outer.group, inner.group))
    second = regrouped(outer.weight(), outer.group, group)
    first = regrouped(inner.weight(), inner.group, group)
    second = second.reshape(group, outer.outputs // group, outer.inputs // group, *outer.kernel)
    first = first.reshape(group, inner.outputs // group, -1)
    result = np.zeros((group, outer.outputs // group, inner.inputs // group, *kernel))
    for tap in np.ndindex(outer.kernel):
        product = second[(slice(None),) * 3 + tap] @ first
        window = tuple(
            slice(at * far // d, at * far // d + (k - 1) * (near // d) + 1, max(near // d, 1))
            for at, far, k, near, d in zip(tap, step, inner.kernel, inner.dilation, dilation, strict=True)
        )
        result[(slice(None),) * 3 + window] += product.reshape(*result.shape[:3], *inner.kernel)
    return result.reshape(outer.outputs, inner.inputs // group, *kernel)


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


def _compose_transposed(outer: LinearForm, inner: LinearForm) -> LinearForm | Inexact:
    """A ConvTranspose takes factors and terms a channel behind it, factors before it."""
    if outer.diagonal and outer.bias_extents is None:
        bias = None if inner.bias is None else (lambda: _mixed(outer, outer.weight(), inner.bias()))  # type: ignore[misc]
        return replace(
            inner, weight=lambda: _scaled_transposed(inner, scale_of(outer)), bias=_sum_of_biases(bias, outer.bias, inner.rank)
        )  # fmt: skip
    if inner.diagonal and inner.bias is None:
        column = (-1, *[1] * (outer.rank + 1))
        return replace(outer, weight=lambda: outer.weight() * scale_of(inner).reshape(column))
    return Inexact(reason="ConvTranspose takes factors a channel, and terms behind it, only")


def _scaled_transposed(form: LinearForm, scale: Array) -> Array:
    per_group = (form.group, form.inputs // form.group, form.outputs // form.group, *form.kernel)
    factors = scale.reshape(form.group, 1, -1, *[1] * form.rank)
    return (form.weight().reshape(per_group) * factors).reshape(form.inputs, -1, *form.kernel)


# --- side by side ----------------------------------------------------------------------------------------------------


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
        bias=_sum_of_biases(one.bias, other.bias, one.rank),
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
    dilation = _common_step(*steps, (2 if apart else 1, apart))
    return _Axis(taps=(begin + last - 1) // dilation + 1, dilation=dilation, begin=begin, end=slacks[0] + last)


def _laid(form: LinearForm, group: int, kernel: Axes, begin: Axes, dilation: Axes) -> Array:
    """The weight with its taps where a kernel of this geometry has them."""
    weight = regrouped(form.weight(), form.group, group)
    if form.kernel == kernel and form.dilation == dilation:
        return weight
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
        one, weight=lambda: one.weight() + other.weight(), bias=_sum_of_biases(one.bias, other.bias, one.rank)
    )


# --- smaller ---------------------------------------------------------------------------------------------------------


def cropped(form: LinearForm, extents: Extents) -> LinearForm:
    """The same map without the rim's taps that read padding at every position of an x of these ``extents``.

    A kernel padded to keep the extent H, longer than 2H - 1, shrinks to 2H - 1.
    """
    if form.output_padding is not None:
        return form
    return _cut(form, [_dead_taps(form, axis, extent) for axis, extent in enumerate(extents)])


def _dead_taps(form: LinearForm, axis: int, extent: int | None) -> tuple[int, int]:
    """How many taps at the beginning and at the end of ``axis`` never read the input."""
    if extent is None:
        return 0, 0
    count = (extent + form.slack[axis]) // form.stride[axis] + 1
    at = np.arange(count)[:, None] * form.stride[axis] - form.begin[axis]
    at = at + np.arange(form.kernel[axis]) * form.dilation[axis]
    alive = np.flatnonzero(((at >= 0) & (at < extent)).any(0))
    if not len(alive):
        return 0, 0
    return int(alive[0]), form.kernel[axis] - 1 - int(alive[-1])


def trimmed(form: LinearForm) -> LinearForm:
    """The same map without rows, columns and taps at the rim whose weights are all zero. Computes the weights."""
    if form.output_padding is not None or form.taps == 1:
        return form
    used = (form.weight() != 0).any((0, 1))
    cuts = []
    for axis in range(form.rank):
        alive = np.flatnonzero(used.any(tuple(other for other in range(form.rank) if other != axis)))
        cuts.append((int(alive[0]), form.kernel[axis] - 1 - int(alive[-1])) if len(alive) else (0, 0))
    return _cut(form, cuts)


def _cut(form: LinearForm, cuts: list[tuple[int, int]]) -> LinearForm:
    """``form`` without so many taps at either end of each axis, fewer where the padding would become negative."""
    before, behind = zip(*cuts, strict=True) if cuts else ((), ())
    first = tuple(min(c, b // d) for c, b, d in zip(before, form.begin, form.dilation, strict=True))
    last = tuple(min(c, e // d) for c, e, d in zip(behind, form.end, form.dilation, strict=True))
    if not any(first) and not any(last):
        return form
    window = tuple(slice(f, k - b) for f, b, k in zip(first, last, form.kernel, strict=True))
    kernel = tuple(k - f - b for k, f, b in zip(form.kernel, first, last, strict=True))
    return replace(
        form,
        kernel=kernel,
        dilation=tuple(d if k > 1 else 1 for d, k in zip(form.dilation, kernel, strict=True)),
        begin=tuple(b - f * d for b, f, d in zip(form.begin, first, form.dilation, strict=True)),
        end=tuple(e - c * d for e, c, d in zip(form.end, last, form.dilation, strict=True)),
        weight=lambda: form.weight()[(slice(None), slice(None), *window)],
    )
