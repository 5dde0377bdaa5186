"""Conv, ConvTranspose, Gemm and MatMul."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.compute import convolution as compute
from edgevision.lower.compute.indexing import broadcast
from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node
from edgevision.lower.placed import Placed


def conv(e: Emitter, node: Node) -> None:
    """Kernel [co, ci / groups, kh, kw] (OIHW). One spatial axis is treated as two, the first of extent 1."""
    x = e.last(node.inputs[0])
    spatial = x.rank - 2
    if spatial not in (1, 2):
        raise e.unsupported(node, f"{spatial} spatial axes; 1 and 2 are supported")
    strides, dilations, pads = _two_axes(node, spatial)
    groups = node["group"]
    image = _as_image(e, x)
    var = _convolve(e, node, image, strides, pads, dilations, groups, spatial)
    _finish(e, node, var, spatial)


def conv_transpose(e: Emitter, node: Node) -> None:
    """A convolution of the input spread by its strides, with the kernel [ci, co / groups, kh, kw] turned round."""
    x = e.last(node.inputs[0])
    spatial = x.rank - 2
    if spatial not in (1, 2):
        raise e.unsupported(node, f"{spatial} spatial axes; 1 and 2 are supported")
    weight = e.constant(node.inputs[1])
    if weight is None:
        raise e.unsupported(node, "a kernel that is computed")
    if weight.ndim == 3:
        weight = weight[:, :, None]
    groups = node["group"]
    strides, dilations, pads = _two_axes(node, spatial)
    extra = (0,) * (2 - spatial) + tuple(node.get("output_padding") or (0,) * spatial)
    ci, co, kh, kw = weight.shape
    top, left, bottom, right = pads
    reach = ((kh - 1) * dilations[0], (kw - 1) * dilations[1])
    border = (reach[0] - top, reach[1] - left, reach[0] - bottom + extra[0], reach[1] - right + extra[1])
    turned = weight.reshape(groups, ci // groups, co, kh, kw)[..., ::-1, ::-1]
    hwio = turned.transpose(3, 4, 1, 0, 2).reshape(kh, kw, ci // groups, groups * co)
    image = _as_image(e, x)

    def function(data: Any, kernel: Any) -> Any:
        spread = compute.padded(data, border, strides)
        return compute.conv2d(
            spread, kernel, strides=(1, 1), pads=(0, 0, 0, 0), dilations=dilations, groups=groups
        )  # fmt: skip

    var = e.compute("convtranspose", function, image, e.array(hwio), pattern=ANCHOR)
    _finish(e, node, var, spatial)


def gemm(e: Emitter, node: Node) -> None:
    """Y = alpha * A' B' + beta * C."""
    a_name, b_name = node.inputs[:2]
    weight = e.constant(b_name)
    a = e.value(a_name)
    if weight is not None and not node["transA"]:
        matrix = weight.T if node["transB"] else weight
        if a.flat:
            c, *spatial = a.flat
            rows = np.moveaxis(matrix.reshape(c, *spatial, -1), 0, len(spatial))
            matrix = rows.reshape(matrix.shape)
        else:
            a = e.in_order(a)
        var = e.compute("matmul", compute.matmul, a.var, e.array(matrix * np.asarray(node["alpha"], matrix.dtype)),
                        pattern=ANCHOR)  # fmt: skip
    else:
        var = _product(e, e.plain(a_name), e.plain(b_name), bool(node["transA"]), bool(node["transB"]), node["alpha"])
    if node.has(2):
        var = _add(e, var, node.inputs[2], node["beta"])
    e.result(node, var)


def matmul(e: Emitter, node: Node) -> None:
    """numpy.matmul."""
    a, b = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    if e.constant(node.inputs[1]) is not None and b.rank == 2 and a.rank >= 2:
        e.result(node, e.compute("matmul", compute.matmul, a.var, b.var, pattern=ANCHOR))
        return
    shape = e.shape(node.outputs[0])
    left = a.shape if a.rank > 1 else (1, *a.shape)
    right = b.shape if b.rank > 1 else (*b.shape, 1)
    wide = np.broadcast_shapes(left[:-2], right[:-2]) + (left[-2], right[-1])
    depth = left[-1]

    def function(x: Any, y: Any) -> Any:
        k = te.reduce_axis((0, depth), "k")
        return te.compute(
            wide,
            lambda *at: te.sum(
                x[(*_batch(at[:-2], left[:-2]), at[-2], k)] * y[(*_batch(at[:-2], right[:-2]), k, at[-1])], axis=k
            ),
            name="matmul",
        )

    var = e.compute("matmul", function, e.reshape(a.var, left), e.reshape(b.var, right), pattern=ANCHOR)
    e.result(node, e.reshape(var, shape))


def _batch(at: Sequence[Any], shape: Sequence[int]) -> tuple[Any, ...]:
    own = at[len(at) - len(shape) :]
    return tuple(tirx.const(0, "int64") if n == 1 else i for n, i in zip(shape, own, strict=True))


def _product(e: Emitter, a: Placed, b: Placed, turn_a: bool, turn_b: bool, alpha: float) -> Any:
    rows, depth = (a.shape[1], a.shape[0]) if turn_a else a.shape
    columns = b.shape[0] if turn_b else b.shape[1]

    def function(x: Any, y: Any) -> Any:
        k = te.reduce_axis((0, depth), "k")
        return te.compute(
            (rows, columns),
            lambda i, j: te.sum((x[k, i] if turn_a else x[i, k]) * (y[j, k] if turn_b else y[k, j]), axis=k),
            name="matmul",
        )

    var = e.compute("matmul", function, a.var, b.var, pattern=ANCHOR)
    return var if alpha == 1.0 else _scaled(e, var, alpha)


def _scaled(e: Emitter, var: Any, factor: float) -> Any:
    return e.compute(
        "mul", lambda t: te.compute(t.shape, lambda *i: t[i] * tirx.const(factor, t.dtype), name="mul"), var
    )


def _add(e: Emitter, var: Any, name: str, beta: float) -> Any:
    """var + beta * C, C broadcast to var's shape from the right."""
    array = e.constant(name)
    term = e.array(array) if array is not None else e.plain(name).var

    def function(t: Any, c: Any) -> Any:
        shape = [int(d) for d in t.shape]

        def element(*at: Any) -> Any:
            value = broadcast(c, at, shape)
            return t[at] + (value if beta == 1.0 else value * tirx.const(beta, t.dtype))

        return te.compute(t.shape, element, name="add")

    return e.compute("add", function, var, term)


def _two_axes(node: Node, spatial: int) -> tuple[tuple[int, int], tuple[int, int], compute.Pads]:
    lead = (0,) * (2 - spatial)
    ones = (1,) * (2 - spatial)
    sh, sw = ones + tuple(node["strides"])
    dh, dw = ones + tuple(node["dilations"])
    pads = tuple(node["pads"])
    top, left = lead + pads[:spatial]
    bottom, right = lead + pads[spatial:]
    return (sh, sw), (dh, dw), (top, left, bottom, right)


def _as_image(e: Emitter, x: Placed) -> Any:
    """[n, l, c] -> [n, 1, l, c]."""
    if x.rank == 4:
        return x.var
    n, c, length = x.shape
    return e.reshape(x.var, (n, 1, length, c))


def _convolve(
    e: Emitter, node: Node, image: Any, strides: tuple[int, int], pads: compute.Pads, dilations: tuple[int, int],
    groups: int, spatial: int,
) -> Any:  # fmt: skip
    weight = e.constant(node.inputs[1])
    if weight is None:
        kernel, shape = _computed_kernel(e, node, spatial)
    else:
        array = weight[:, :, None] if spatial == 1 else weight
        kernel, shape = e.array(array.transpose(2, 3, 1, 0)), array.shape
    co, ci = shape[:2]
    channels = int(image.ty.shape[3])
    if weight is not None and groups == channels == co and ci == 1 and groups > 1:
        lanes = e.array(array.transpose(2, 3, 1, 0)[:, :, 0])
        return e.compute(
            "depthwise",
            lambda x, w: compute.depthwise_conv2d(x, w, strides=strides, pads=pads, dilations=dilations),
            image, lanes, pattern=ANCHOR,
        )  # fmt: skip
    return e.compute(
        "conv",
        lambda x, w: compute.conv2d(x, w, strides=strides, pads=pads, dilations=dilations, groups=groups),
        image, kernel, pattern=ANCHOR,
    )  # fmt: skip


def _computed_kernel(e: Emitter, node: Node, spatial: int) -> tuple[Any, tuple[int, ...]]:
    weight = e.plain(node.inputs[1])
    shape = weight.shape if spatial == 2 else (*weight.shape[:2], 1, weight.shape[2])
    return e.transpose(e.reshape(weight.var, shape), (2, 3, 1, 0)), shape


def _finish(e: Emitter, node: Node, var: Any, spatial: int) -> None:
    if node.has(2):
        var = _add(e, var, node.inputs[2], 1.0)
    if spatial == 1:
        n, _, length, c = (int(d) for d in var.ty.shape)
        var = e.reshape(var, (n, length, c))
    e.result(node, var, channels_last=True)
