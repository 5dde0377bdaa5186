"""Convolution and matrix product. Data [n, h, w, c]; weights [kh, kw, ci, co] (HWIO), depthwise [kh, kw, c]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

Tensor = Any
Pads = tuple[int, int, int, int]
"""(top, left, bottom, right)"""


def padded(data: Tensor, pads: Pads, spread: tuple[int, int] = (1, 1)) -> Tensor:
    """``data`` with ``spread - 1`` zeros between neighbouring pixels and then ``pads`` zeros around; negative pads crop."""
    if not any(pads) and spread == (1, 1):
        return data
    n, h, w, c = (int(d) for d in data.shape)
    top, left, bottom, right = pads
    sh, sw = spread
    shape = (n, (h - 1) * sh + 1 + top + bottom, (w - 1) * sw + 1 + left + right, c)
    zero = tirx.const(0, data.dtype)

    def element(b: Any, y: Any, x: Any, ch: Any) -> Any:
        v, u = y - top, x - left
        inside = [*_within(v, h, sh, top, bottom), *_within(u, w, sw, left, right)]
        value = data[b, v // sh if sh > 1 else v, u // sw if sw > 1 else u, ch]
        return tirx.if_then_else(tirx.all(*inside), value, zero) if inside else value

    return te.compute(shape, element, name="pad")


def _within(at: Any, extent: int, spread: int, before: int, after: int) -> list[Any]:
    conditions = []
    if before > 0:
        conditions.append(at >= 0)
    if after > 0:
        conditions.append(at < (extent - 1) * spread + 1)
    if spread > 1:
        conditions.append(at % spread == 0)
    return conditions


def conv2d(
    data: Tensor, weight: Tensor, *, strides: Sequence[int], pads: Pads, dilations: Sequence[int], groups: int
) -> Tensor:
    """out[n, y, x, o] = sum over ky, kx, i of data[n, y*s + ky*d - p, x*s + kx*d - p, g(o)*ci + i] * weight[ky, kx, i, o]."""
    source = padded(data, pads)
    n, h, w, _ = (int(d) for d in source.shape)
    kh, kw, ci, co = (int(d) for d in weight.shape)
    (sh, sw), (dh, dw) = strides, dilations
    ky, kx, i = te.reduce_axis((0, kh), "ky"), te.reduce_axis((0, kw), "kx"), te.reduce_axis((0, ci), "ci")
    shape = (n, (h - (kh - 1) * dh - 1) // sh + 1, (w - (kw - 1) * dw - 1) // sw + 1, co)

    def channel(o: Any) -> Any:
        return i if groups == 1 else o // (co // groups) * ci + i

    return te.compute(
        shape,
        lambda b, y, x, o: te.sum(
            source[b, y * sh + ky * dh, x * sw + kx * dw, channel(o)] * weight[ky, kx, i, o], axis=[ky, kx, i]
        ),
        name="conv2d",
        attrs=_anchor("conv2d", strides, pads, dilations, groups),
    )


def depthwise_conv2d(
    data: Tensor, weight: Tensor, *, strides: Sequence[int], pads: Pads, dilations: Sequence[int]
) -> Tensor:
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
    """out[..., n] = sum over k of data[..., k] * weight[k, n]."""
    *prefix, depth = (int(d) for d in data.shape)
    columns = int(weight.shape[1])
    k = te.reduce_axis((0, depth), "k")
    return te.compute(
        (*prefix, columns),
        lambda *at: te.sum(data[(*at[:-1], k)] * weight[k, at[-1]], axis=k),
        name="matmul",
        attrs=_anchor("conv2d", (1, 1), (0, 0, 0, 0), (1, 1), 1),
    )


def _anchor(name: str, strides: Sequence[int], pads: Pads, dilations: Sequence[int], groups: int) -> dict[str, Any]:
    return {
        "ev.anchor": name, "ev.strides": list(strides), "ev.pads": list(pads), "ev.dilations": list(dilations),
        "ev.groups": groups,
    }  # fmt: skip
