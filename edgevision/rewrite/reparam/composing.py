"""compose: one linear form after another, as one form where that is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgevision.rewrite.reparam.linear_form import (
    Array,
    Axes,
    Extents,
    Inexact,
    Lazy,
    LinearForm,
    common_step,
    regrouped,
    scale_of,
    sum_of_biases,
)  # fmt: skip


def compose(outer: LinearForm, inner: LinearForm, extents: Extents) -> LinearForm | Inexact:
    """x -> outer(inner(x)) as one form; ``extents`` are those of x.

    Taps of ``outer`` lie inner.stride * outer.dilation apart in x, strides multiply, and the padding is
    outer.begin * inner.stride + inner.begin: with it the extents of y agree for every extent of x. Where ``outer``
    pads, it reads zeros and not inner(zeros): exact if inner's window reads nothing but padding there and inner has no
    bias. A bias becomes a map, one value a position, if extents are known.
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
            return Inexact(reason="at the border the second reads zeros where the first would still see the input")
    biased = _composed_bias(outer, inner, extents, bordered=any(map(any, padded)))
    if isinstance(biased, Inexact):
        return biased
    bias, bias_extents = biased
    step = tuple(d * s for d, s in zip(outer.dilation, inner.stride, strict=True))
    dilation = tuple(
        common_step((k2, d2), (k1, d1))
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
    if extent is None:
        return form.begin[axis] > 0, form.end[axis] > 0
    last = (extent + form.slack[axis]) // form.stride[axis] * form.stride[axis]
    return form.begin[axis] > 0, last - form.begin[axis] + form.span[axis] > extent


def _sees_padding_before(form: LinearForm, axis: int) -> bool:
    """At output position -1 the window ends before element 0."""
    return -form.stride[axis] - form.begin[axis] + form.span[axis] - 1 < 0


def _sees_padding_behind(form: LinearForm, axis: int, extent: int | None) -> bool:
    """At the first output position past the last the window begins behind the last element."""
    if extent is None:
        return form.end[axis] >= form.span[axis] - 1
    past = (extent + form.slack[axis]) // form.stride[axis] + 1
    return past * form.stride[axis] - form.begin[axis] >= extent


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
        return sum_of_biases(own, outer.bias, outer.rank), size
    own = lambda: _mixed(outer, weight(), inner_bias())  # noqa: E731
    return sum_of_biases(own, outer.bias, outer.rank), inner.bias_extents or outer.bias_extents


def _known(extents: Extents) -> bool:
    return all(n is not None for n in extents)


def _mixed(form: LinearForm, weight: Array, field: Array) -> Array:
    """[O, ...]: what a window makes of ``field`` [I, ...], constant over the window."""
    total = weight.reshape(*weight.shape[:2], -1).sum(2).reshape(form.group, form.outputs // form.group, -1)
    mixed: Array = total @ field.reshape(form.group, form.inputs // form.group, -1)
    return mixed.reshape(form.outputs, *field.shape[1:])


def _constant_field(form: LinearForm, weight: Array, bias: Array, extents: Axes) -> Array:
    """[O, *extents of y]: ``form`` without its own bias, of an x that is bias[i] everywhere inside ``extents``."""
    channels = bias.reshape(form.group, form.inputs // form.group)
    grouped = weight.reshape(form.group, form.outputs // form.group, form.inputs // form.group, -1)
    field: Array = np.einsum("goit,gi->got", grouped, channels).reshape(form.outputs, *form.kernel)
    for axis, extent in enumerate(extents):
        count = (extent + form.slack[axis]) // form.stride[axis] + 1
        at = np.arange(count)[:, None] * form.stride[axis] - form.begin[axis]
        at = at + np.arange(form.kernel[axis]) * form.dilation[axis]
        inside = ((at >= 0) & (at < extent)).astype(np.float64)
        field = np.moveaxis(np.tensordot(field, inside, (axis + 1, 1)), -1, axis + 1)
    return field


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


def _compose_transposed(outer: LinearForm, inner: LinearForm) -> LinearForm | Inexact:
    """A ConvTranspose takes factors and terms a channel behind it, factors before it."""
    if outer.diagonal and outer.bias_extents is None:
        weight: Lazy = lambda: _scaled_transposed(inner, scale_of(outer))  # noqa: E731
        own = inner.bias
        bias: Lazy | None = None if own is None else (lambda: _mixed(outer, outer.weight(), own()))
        return replace(inner, weight=weight, bias=sum_of_biases(bias, outer.bias, inner.rank))
    if inner.diagonal and inner.bias is None:
        column = (-1, *[1] * (outer.rank + 1))
        return replace(outer, weight=lambda: outer.weight() * scale_of(inner).reshape(column))
    return Inexact(reason="ConvTranspose takes factors a channel, and terms behind it, only")


def _scaled_transposed(form: LinearForm, scale: Array) -> Array:
    per_group = (form.group, form.inputs // form.group, form.outputs // form.group, *form.kernel)
    factors = scale.reshape(form.group, 1, -1, *[1] * form.rank)
    return (form.weight().reshape(per_group) * factors).reshape(form.inputs, -1, *form.kernel)
