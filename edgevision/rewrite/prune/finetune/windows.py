"""Convolutions and pools of the normal form in torch, with ONNX's padding: before and after may differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgevision.rewrite.prune.network import Node, Shape

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_SPREAD: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d,
}  # fmt: skip
_LARGEST: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d,
}  # fmt: skip
_MEAN: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d,
}  # fmt: skip


def torch_pads(pads: Sequence[int]) -> list[int]:
    """ONNX [before of every axis, after of every axis] -> torch's [before, after] a axis, the last axis first."""
    rank = len(pads) // 2
    return [int(each) for axis in reversed(range(rank)) for each in (pads[axis], pads[axis + rank])]


def conv(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    """[N, C, ..] by [O, C/g, ..] -> [N, O, ..]."""
    image, weight, *bias = x
    given, rank = node.attributes, weight.ndim - 2
    pads = list(given["pads"])
    padding: Any = pads[:rank]
    if pads[:rank] != pads[rank:]:
        image, padding = functional.pad(image, torch_pads(pads)), 0
    return _CONVOLVE[rank](
        image, weight, bias[0] if bias else None, tuple(given["strides"]), padding, tuple(given["dilations"]),
        int(given["group"]),
    )  # fmt: skip


def conv_transpose(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    """[N, C, ..] by [C, O/g, ..] -> [N, O, ..]; the whole map, cut to its pads."""
    image, weight, *bias = x
    given, rank = node.attributes, weight.ndim - 2
    after = [int(each) for each in given["output_padding"]]
    whole = _SPREAD[rank](
        image, weight, bias[0] if bias else None, tuple(given["strides"]), 0, tuple(after), int(given["group"]),
        tuple(given["dilations"]),
    )  # fmt: skip
    pads = given["pads"]
    for axis in range(rank):
        whole = whole.narrow(2 + axis, int(pads[axis]), out[2 + axis])
    return whole


def _beyond(node: Node, image: Tensor, out: Shape) -> list[int]:
    """What the last windows reach over the padded end, with ceil_mode: ONNX pads, as many after as that is more."""
    given, rank = node.attributes, image.ndim - 2
    strides, kernel, pads = given["strides"], given["kernel_shape"], given["pads"]
    dilations = given.get("dilations", [1] * rank)
    reach = []
    for axis in range(rank):
        needed = (out[2 + axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1
        reach.append(max(0, int(needed - image.shape[2 + axis] - pads[axis] - pads[axis + rank])))
    return [0] * rank + reach


def max_pool(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    """The largest of every window; padding never wins."""
    image, given = x[0], node.attributes
    pads = [int(a) + b for a, b in zip(given["pads"], _beyond(node, image, out), strict=True)]
    if any(pads):
        image = functional.pad(image, torch_pads(pads), value=float("-inf"))
    return _LARGEST[image.ndim - 2](
        image, tuple(given["kernel_shape"]), tuple(given["strides"]), 0, tuple(given["dilations"])
    )


def average_pool(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    """The sum of every window divided by how many of its places count."""
    image, given = x[0], node.attributes
    pads, beyond = [int(each) for each in given["pads"]], _beyond(node, image, out)
    if not any(pads) and not any(beyond):
        return _means(image, node)
    counts = torch.ones_like(image[:1, :1])
    counts = functional.pad(counts, torch_pads(pads), value=float(given["count_include_pad"]))
    image = functional.pad(image, torch_pads([a + b for a, b in zip(pads, beyond, strict=True)]))
    return _means(image, node) / _means(functional.pad(counts, torch_pads(beyond)), node)


def _means(image: Tensor, node: Node) -> Tensor:
    """Of every window, no padding; torch's pools know no dilation, so then it is a convolution."""
    given, rank = node.attributes, image.ndim - 2
    window, strides = tuple(given["kernel_shape"]), tuple(given["strides"])
    if set(given["dilations"]) == {1}:
        return _MEAN[rank](image, window, strides)
    kernel = torch.full((1, 1, *window), 1.0 / prod(window))
    alone = _CONVOLVE[rank](image.flatten(0, 1).unsqueeze(1), kernel, None, strides, 0, tuple(given["dilations"]))
    return alone.reshape(*image.shape[:2], *alone.shape[2:])
