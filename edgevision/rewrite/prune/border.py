"""What channels that hold one number each give a padded convolution: one value an output element, fewer at the border.

    map[o, p] = sum over channels c and taps t inside the image at p of weight[o, c, t] * value[c]

The taps that are inside factor by axis, so the map is the kernel summed over channels, contracted axis by axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.rewrite.prune.network import Array
from edgevision.rewrite.reparam.cost import CostModel, Work

FLOAT_BYTES = 4


def border_map(weight: Array, value: Array, extents: Sequence[int], attributes: Mapping[str, Any]) -> Array:
    """[O, *output extents] in float64, for ``weight`` [O, I/g, *kernel] and ``value`` [I]; ``extents``: of the input."""
    group = int(attributes["group"])
    parts = zip(np.split(weight.astype(np.float64), group), np.split(value, group), strict=True)
    result = np.concatenate([np.einsum("oc...,c->o...", block, part) for block, part in parts])
    rank = len(extents)
    for axis, extent in enumerate(extents):
        inside = _inside(
            extent, weight.shape[2 + axis], int(attributes["strides"][axis]), int(attributes["dilations"][axis]),
            (int(attributes["pads"][axis]), int(attributes["pads"][axis + rank])),
        )  # fmt: skip
        result = np.moveaxis(np.tensordot(result, inside, axes=(1 + axis, 1)), -1, 1 + axis)
    return result


def _inside(extent: int, taps: int, stride: int, dilation: int, pads: tuple[int, int]) -> Array:
    """[outputs, taps]: 1 where the tap reads the image, 0 where it reads padding."""
    outputs = (extent + sum(pads) - dilation * (taps - 1) - 1) // stride + 1
    place = np.arange(outputs)[:, None] * stride + np.arange(taps) * dilation - pads[0]
    return ((place >= 0) & (place < extent)).astype(np.float64)


def pays(channels: int, weight: Array, pixels: int, model: CostModel | None = None) -> bool:
    """Whether ``channels`` fewer save more time than reading a map of ``pixels`` an output channel costs."""
    model = model or CostModel()
    elements = channels * len(weight) * int(np.prod(weight.shape[2:]))
    saved = model.microseconds(Work(label="conv", macs=elements * pixels, weight_bytes=FLOAT_BYTES * elements))
    spent = model.microseconds(Work(label="elementwise", weight_bytes=FLOAT_BYTES * len(weight) * pixels))
    return saved > spent
