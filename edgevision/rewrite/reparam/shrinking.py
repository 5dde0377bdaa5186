"""Smaller kernels of the same map: taps that never read the input, or whose weights are zero, go from the rim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgevision.rewrite.reparam.linear_form import Extents, LinearForm


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
        begin=tuple(b - f * d for b, f, d in zip(form.begin, first, form.dilation, strict=True)),
        end=tuple(e - c * d for e, c, d in zip(form.end, last, form.dilation, strict=True)),
        weight=lambda: form.weight()[(slice(None), slice(None), *window)],
    )
