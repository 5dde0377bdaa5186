"""Conv and ConvTranspose over one, two and three spatial axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te

from edgevision.lower.compute import convolution as compute
from edgevision.lower.emitter import ANCHOR, Emitter, constant_array
from edgevision.lower.node import Node
from edgevision.lower.operators.products import add_scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The attributes of a convolution. One spatial axis is treated as two, the first of extent 1: templates know two."""

    lifted: bool
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    extra: tuple[int, ...]
    groups: int

    @property
    def spatial(self) -> int:
        return len(self.strides)


def conv(e: Emitter, node: Node) -> None:
    """Kernel [co, ci / groups, k...]."""
    window, image = _window(node), _image(e, node)
    weight = e.constant(node.inputs[1])
    co, ci = e.shape(node.inputs[1])[:2]
    geometry = {"strides": window.strides, "pads": (*window.begins, *window.ends), "dilations": window.dilations}
    to_last = (*range(2, 2 + window.spatial), 1, 0)
    kernel = e.transpose(_kernel(e, node, window), to_last)
    if weight is not None and window.spatial == 2 and window.groups == int(image.ty.shape[3]) == co > 1 and ci == 1:
        kh, kw, *_ = (int(d) for d in kernel.ty.shape)
        lanes = e.reshape(kernel, (kh, kw, co))
        var = e.compute("depthwise", lambda x, w: compute.depthwise_conv2d(x, w, **geometry), image, lanes, pattern=ANCHOR)
    else:
        var = e.compute(
            "conv",
            lambda x, w: compute.conv(x, w, **geometry, groups=window.groups, template=weight is not None),
            image, kernel, pattern=ANCHOR,
        )  # fmt: skip
    _finish(e, node, var, window)


def conv_transpose(e: Emitter, node: Node) -> None:
    """A convolution of the input spread by its strides, with the kernel [ci, co / groups, k...] turned round."""
    window, image = _window(node), _image(e, node)
    constant = e.constant(node.inputs[1]) is not None
    kernel = _turned(e, _kernel(e, node, window), window.groups)
    reach = [(int(k) - 1) * d for k, d in zip(kernel.ty.shape, window.dilations, strict=False)]
    border = (
        *(r - b for r, b in zip(reach, window.begins, strict=True)),
        *(r - b + x for r, b, x in zip(reach, window.ends, window.extra, strict=True)),
    )
    around = border if min(border) >= 0 and max(window.strides) == 1 else (0,) * len(border)

    def function(x: Any, w: Any) -> Any:
        source = x if around is border else compute.padded(x, border, window.strides)
        return compute.conv(
            source, w, strides=(1,) * window.spatial, pads=around, dilations=window.dilations, groups=window.groups,
            template=constant,
        )  # fmt: skip

    var = e.compute("convtranspose", function, image, kernel, pattern=ANCHOR)
    _finish(e, node, var, window)


def _window(node: Node) -> Window:
    strides, dilations, pads = (tuple(node[key]) for key in ("strides", "dilations", "pads"))
    spatial = len(strides)
    extra = tuple(node.get("output_padding") or (0,) * spatial)
    lifted = spatial == 1
    one, zero = ((1,), (0,)) if lifted else ((), ())
    return Window(
        lifted=lifted, strides=one + strides, dilations=one + dilations, begins=zero + pads[:spatial],
        ends=zero + pads[spatial:], extra=zero + extra, groups=node["group"],
    )  # fmt: skip


def _image(e: Emitter, node: Node) -> Any:
    """[n, spatial..., c]; [n, l, c] as [n, 1, l, c]."""
    x = e.last(node.inputs[0])
    return e.reshape(x.var, (x.shape[0], 1, x.shape[2], x.shape[1])) if x.rank == 3 else x.var


def _kernel(e: Emitter, node: Node, window: Window) -> Any:
    weight = e.plain(node.inputs[1])
    return e.reshape(weight.var, (*weight.shape[:2], 1, weight.shape[2])) if window.lifted else weight.var


def _turned(e: Emitter, kernel: Any, groups: int) -> Any:
    """[ci, co / groups, k...] -> [k..., ci / groups, co] with every spatial axis reversed."""
    ci, columns, *extents = (int(d) for d in kernel.ty.shape)
    array = constant_array(kernel)
    if array is not None:
        grouped = array.reshape(groups, ci // groups, columns, *extents)
        turned = np.flip(grouped, tuple(range(3, 3 + len(extents))))
        order = (*range(3, 3 + len(extents)), 1, 0, 2)
        return e.array(turned.transpose(order).reshape(*extents, ci // groups, groups * columns))

    def function(w: Any) -> Any:
        def element(*at: Any) -> Any:
            *taps, i, o = at
            where = [n - 1 - t for n, t in zip(extents, taps, strict=True)]
            return w[(o // columns * (ci // groups) + i, o % columns, *where)]

        return te.compute((*extents, ci // groups, groups * columns), element, name="turn")

    return e.compute("turn", function, kernel)


def _finish(e: Emitter, node: Node, var: Any, window: Window) -> None:
    if node.has(2):
        var = add_scaled(e, var, node.inputs[2], 1.0)
    if window.lifted:
        n, _, length, c = (int(d) for d in var.ty.shape)
        var = e.reshape(var, (n, length, c))
    e.result(node, var, channels_last=True)
