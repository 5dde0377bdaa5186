"""Convolution and matrix product. Data [n, h, w, c]; weights [kh, kw, ci, co] (HWIO), depthwise [kh, kw, c]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

Tensor = Any
Pads = Sequence[int]
"""One begin for each spatial axis, then one end for each, as in ONNX."""


def padded(data: Tensor, pads: Pads, spread: Sequence[int] = ()) -> Tensor:
    """``data`` [n, spatial..., c] with ``spread - 1`` zeros between neighbours along each spatial axis and then ``pads`` zeros
    around; negative pads crop."""
    extents = [int(d) for d in data.shape[1:-1]]
    rank = len(extents)
    spread, before, after = spread or (1,) * rank, pads[:rank], pads[rank:]
    if not any(pads) and all(s == 1 for s in spread):
        return data
    sizes = [(n - 1) * s + 1 + b + e for n, s, b, e in zip(extents, spread, before, after, strict=True)]
    zero = tirx.const(0, data.dtype)
    crops_only = max(pads) <= 0 and all(s == 1 for s in spread)

    def element(*at: Any) -> Any:
        where = [i - b for i, b in zip(at[1:-1], before, strict=True)]
        inside = [c for v, n, s, b, e in zip(where, extents, spread, before, after, strict=True) for c in _within(v, n, s, b, e)]
        value = data[(at[0], *(v // s if s > 1 else v for v, s in zip(where, spread, strict=True)), at[-1])]
        return value if crops_only else tirx.if_then_else(tirx.all(*inside), value, zero)

    return te.compute((int(data.shape[0]), *sizes, int(data.shape[-1])), element, name="crop" if crops_only else "pad")


def _within(at: Any, extent: int, spread: int, before: int, after: int) -> list[Any]:
    conditions = []
    if before > 0:
        conditions.append(at >= 0)
    if after > 0:
        conditions.append(at < (extent - 1) * spread + 1)
    if spread > 1:
        conditions.append(at % spread == 0)
    return conditions


def conv(
    data: Tensor, weight: Tensor, *, strides: Sequence[int], pads: Pads, dilations: Sequence[int], groups: int,
    template: bool,
) -> Tensor:  # fmt: skip
    """out[n, p..., o] = sum over k..., i of data[n, p*s + k*d - pad..., g(o)*ci + i] * weight[k..., i, o].

    ``template``: the schedule may use its template for two spatial axes, which re-lays ``weight`` and so wants a constant.
    """
    source = padded(data, pads)
    *kernel, ci, co = (int(d) for d in weight.shape)
    taps = [te.reduce_axis((0, k), f"k{i}") for i, k in enumerate(kernel)]
    i = te.reduce_axis((0, ci), "ci")
    images, *extents, _ = (int(d) for d in source.shape)
    steps = list(zip(extents, kernel, strides, dilations, strict=True))
    shape = (images, *((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in steps), co)

    def element(*at: Any) -> Any:
        where = [p * s + t * d for p, t, (_, _, s, d) in zip(at[1:-1], taps, steps, strict=True)]
        channel = i if groups == 1 else at[-1] // (co // groups) * ci + i
        return te.sum(source[(at[0], *where, channel)] * weight[(*taps, i, at[-1])], axis=[*taps, i])

    attrs = _anchor("conv2d", strides, pads, dilations, groups) if template and len(kernel) == 2 else {}
    return te.compute(shape, element, name="conv", attrs=attrs)


def depthwise_conv2d(data: Tensor, weight: Tensor, *, strides: Sequence[int], pads: Pads, dilations: Sequence[int]) -> Tensor:
    """out[n, y, x, c] = sum over ky, kx of data[n, y*s + ky*d - p, x*s + kx*d - p, c] * weight[ky, kx, c]."""
    source = padded(data, pads)
    n, h, w, c = (int(d) for d in source.shape)
    kh, kw, _ = (int(d) for d in weight.shape)
    (sh, sw), (dh, dw) = strides, dilations
    ky, kx = te.reduce_axis((0, kh), "ky"), te.reduce_axis((0, kw), "kx")
    shape = (n, (h - (kh - 1) * dh - 1) // sh + 1, (w - (kw - 1) * dw - 1) // sw + 1, c)
    return te.compute(
        shape,
        lambda b, y, x, ch: te.sum(source[b, y * sh + ky * dh, x * sw + kx * dw, ch] * weight[ky, kx, ch], axis=[ky, kx]),
        name="depthwise",
        attrs=_anchor("depthwise", strides, pads, dilations, c),
    )


def matmul(data: Tensor, weight: Tensor) -> Tensor:
    """out[..., n] = sum over k of data[..., k] * weight[k, n] for a constant weight."""
    *prefix, depth = (int(d) for d in data.shape)
    k = te.reduce_axis((0, depth), "k")
    return te.compute(
        (*prefix, int(weight.shape[1])),
        lambda *at: te.sum(data[(*at[:-1], k)] * weight[k, at[-1]], axis=k),
        name="matmul",
        attrs=_anchor("conv2d", (1, 1), (0, 0, 0, 0), (1, 1), 1),
    )


def _anchor(name: str, strides: Sequence[int], pads: Pads, dilations: Sequence[int], groups: int) -> dict[str, Any]:
    return {
        "ev.anchor": name, "ev.strides": list(strides), "ev.pads": list(pads), "ev.dilations": list(dilations),
        "ev.groups": groups,
    }  # fmt: skip
