"""Operators that slide a window: Conv, ConvTranspose, AveragePool, zero Pad; and Gemm, MatMul, which have no window."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgevision.rewrite.reparam.extents import Shape, number
from edgevision.rewrite.reparam.linear_form import Array, Axes, Lazy, LinearForm, constant
from edgevision.rewrite.reparam.scene import Leaf, Refusal, Scene, attributes, one_term

Outcome = Leaf | Refusal | None


def conv(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """Conv with constant weight and bias, of any stride, dilation, group and padding."""
    weight = node.input[1]
    reason = _unfit(node, scene)
    if reason:
        return Refusal(reason=reason)
    outputs, per_group, *kernel = scene.constants.shape(weight)
    given = attributes(node)
    group, rank = given.get("group", 1), len(kernel)
    stride, dilation = (tuple(given.get(name, [1] * rank)) for name in ("strides", "dilations"))
    pads = _pads(given, tuple(kernel), stride, dilation, scene.shape(node.input[0]))
    if isinstance(pads, Refusal):
        return pads
    return one_term(node.input[0], 1, LinearForm(
        inputs=per_group * group, outputs=outputs, group=group, kernel=tuple(kernel), stride=stride, dilation=dilation,
        begin=pads[0], end=pads[1], weight=lambda: scene.constants.floats(weight), bias=_bias(node, scene),
    ))  # fmt: skip


def conv_transpose(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """ConvTranspose with explicit padding."""
    weight = node.input[1]
    reason = _unfit(node, scene)
    if reason:
        return Refusal(reason=reason)
    given = attributes(node)
    if given.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in given:
        return Refusal(reason="its padding follows from an output shape")
    inputs, per_group, *kernel = scene.constants.shape(weight)
    rank = len(kernel)
    pads = given.get("pads", [0] * 2 * rank)
    return one_term(node.input[0], 1, LinearForm(
        inputs=inputs, outputs=per_group * given.get("group", 1), group=given.get("group", 1), kernel=tuple(kernel),
        stride=tuple(given.get("strides", [1] * rank)), dilation=tuple(given.get("dilations", [1] * rank)),
        begin=tuple(pads[:rank]), end=tuple(pads[rank:]), weight=lambda: scene.constants.floats(weight),
        bias=_bias(node, scene), output_padding=tuple(given.get("output_padding", [0] * rank)),
    ))  # fmt: skip


def average_pool(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """AveragePool as a depthwise convolution: linear without padding, or with count_include_pad=1."""
    given, tensor = attributes(node), node.input[0]
    channels, shape = scene.channels(tensor, 1), scene.shape(tensor)
    if channels is None or shape is None:
        return Refusal(reason="its number of channels is open")
    kernel = tuple(given["kernel_shape"])
    rank = len(kernel)
    stride, dilation = (tuple(given.get(name, [1] * rank)) for name in ("strides", "dilations"))
    pads = _pads(given, kernel, stride, dilation, shape)
    if isinstance(pads, Refusal):
        return pads
    if any(map(any, pads)) and not given.get("count_include_pad", 0):
        return Refusal(reason="at the border it divides by fewer elements (count_include_pad=0)")
    taps = int(np.prod(kernel))
    form = LinearForm(
        inputs=channels, outputs=channels, group=channels, kernel=kernel, stride=stride, dilation=dilation,
        begin=pads[0], end=pads[1], weight=lambda: np.full((channels, 1, *kernel), 1.0 / taps),
    )  # fmt: skip
    if given.get("ceil_mode", 0):
        extents = [number(n) for n in shape[2:]]
        if any(n is None or (n + t) % s for n, t, s in zip(extents, form.slack, stride, strict=True)):
            return Refusal(reason="ceil_mode lets a window reach past the edge, or extents are open")
    return one_term(tensor, 1, form)


def pad(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """Pad with zeros around the axes of space: an identity with padding."""
    tensor = node.input[0]
    channels, shape = scene.channels(tensor, 1), scene.shape(tensor)
    given = attributes(node)
    if given.get("mode", "constant") != "constant" or channels is None or shape is None or len(shape) < 3:
        return None
    amounts = _pad_amounts(node, given, len(shape), scene)
    if amounts is None:
        return Refusal(reason="its amounts or its value are computed")
    value, before, behind = amounts
    if value != 0:
        return Refusal(reason=f"it pads with {value:g}, not with zeros")
    if any((*before[:2], *behind[:2])) or min(*before, *behind) < 0:
        return Refusal(reason="it pads other axes than those of space, or crops")
    ones = (1,) * (len(shape) - 2)
    return one_term(tensor, 1, LinearForm(
        inputs=channels, outputs=channels, group=channels, kernel=ones, stride=ones, dilation=ones, begin=before[2:],
        end=behind[2:], weight=lambda: np.ones((channels, 1, *ones)),
    ))  # fmt: skip


def gemm(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """Gemm of an input and a constant: alpha * x B + beta * C."""
    reason = _unfit(node, scene)
    if reason:
        return Refusal(reason=reason)
    given = attributes(node)
    if given.get("transA", 0):
        return Refusal(reason="its input is transposed")
    weight, flipped, alpha = node.input[1], given.get("transB", 0), given.get("alpha", 1.0)
    rows, columns = scene.constants.shape(weight)
    outputs, inputs = (rows, columns) if flipped else (columns, rows)
    term = node.input[2] if len(node.input) > 2 else ""
    bias: Lazy | None = None
    if term:
        if scene.constants.shape(term) not in ((), (1,), (1, 1), (outputs,), (1, outputs)):
            return Refusal(reason="its C varies along the batch")
        beta = given.get("beta", 1.0)
        bias = constant(np.broadcast_to(scene.constants.floats(term).reshape(-1) * beta, (outputs,)))
    return one_term(node.input[0], 1, _matrix(inputs, outputs, lambda: _oriented(scene, weight, flipped) * alpha, bias))


def matmul(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """MatMul of an input with two or more axes and a constant matrix; channels are on the last axis."""
    shape = scene.shape(node.input[0])
    weight = node.input[1]
    if shape is None or len(shape) < 2 or weight not in scene.constants or len(scene.constants.shape(weight)) != 2:
        return None
    inputs, outputs = scene.constants.shape(weight)
    axis = 1 if len(shape) == 2 else -1
    return one_term(node.input[0], axis, _matrix(inputs, outputs, lambda: _oriented(scene, weight, 0), None))


def _matrix(inputs: int, outputs: int, weight: Lazy, bias: Lazy | None) -> LinearForm:
    return LinearForm(inputs=inputs, outputs=outputs, group=1, kernel=(), stride=(), dilation=(), begin=(), end=(),
                      weight=weight, bias=bias)  # fmt: skip


def _oriented(scene: Scene, weight: str, flipped: int) -> Array:
    value = scene.constants.floats(weight)
    return value if flipped else value.T


def _unfit(node: onnx.NodeProto, scene: Scene) -> str:
    return next((reason for name in node.input[1:] if name and (reason := scene.unfit(name))), "")


def _bias(node: onnx.NodeProto, scene: Scene) -> Lazy | None:
    """The bias, unless there is none or it is zero everywhere."""
    if len(node.input) < 3 or not node.input[2]:
        return None
    value = scene.constants.floats(node.input[2])
    return constant(value) if value.any() else None


def _pads(
    given: dict[str, Any], kernel: Axes, stride: Axes, dilation: Axes, shape: Shape | None
) -> tuple[Axes, Axes] | Refusal:
    """Zeros before and behind each axis, from pads or auto_pad."""
    how, rank = given.get("auto_pad", "NOTSET"), len(kernel)
    if how == "VALID":
        return (0,) * rank, (0,) * rank
    if how == "NOTSET":
        pads = given.get("pads", [0] * 2 * rank)
        if min(pads, default=0) < 0:
            return Refusal(reason="it crops: its pads are negative")
        return tuple(pads[:rank]), tuple(pads[rank:])
    begin, end = [], []
    for axis in range(rank):
        span = (kernel[axis] - 1) * dilation[axis] + 1
        extent = number(shape[axis + 2]) if shape is not None else None
        if stride[axis] == 1:
            total = span - 1
        elif extent is None:
            return Refusal(reason=f"with auto_pad={how} its padding depends on extents that are open")
        else:
            total = max((-(-extent // stride[axis]) - 1) * stride[axis] + span - extent, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if how == "SAME_UPPER" else large)
        end.append(large if how == "SAME_UPPER" else small)
    return tuple(begin), tuple(end)


def _pad_amounts(
    node: onnx.NodeProto, given: dict[str, Any], rank: int, scene: Scene
) -> tuple[float, tuple[int, ...], tuple[int, ...]] | None:
    """The value, and the amounts before and behind every axis."""
    if scene.opset < 11:
        pads = tuple(given["pads"])
        return float(given.get("value", 0.0)), pads[:rank], pads[rank:]
    names = [*node.input, "", "", ""][1:4]
    if any(name and name not in scene.constants for name in names):
        return None
    value = float(scene.constants.floats(names[1]).reshape(-1)[0]) if names[1] else 0.0
    pads = scene.constants.integers(names[0])
    axes = [a % rank for a in scene.constants.integers(names[2])] if names[2] else list(range(rank))
    before, behind = [0] * rank, [0] * rank
    for at, axis in enumerate(axes):
        before[axis], behind[axis] = pads[at], pads[at + len(axes)]
    return value, tuple(before), tuple(behind)
