"""Small networks in the style of well-known ones, as normal forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from edgevision import ingest
from tests.rewrite.nets import Net


def _block(net: Net, x: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, group: int = 1) -> str:
    pads = [kernel // 2] * 4
    y = net.conv(x, inputs, outputs, kernel, bias=True, pads=pads, strides=[stride] * 2, group=group)
    return net.node("Relu", net.norm(y, outputs))


def _shuffled(net: Net, x: str, channels: int, side: int, groups: int) -> str:
    y = net.node("Reshape", x, net.constant([1, groups, channels // groups, side, side]))
    y = net.node("Transpose", y, perm=[0, 2, 1, 3, 4])
    return net.node("Reshape", y, net.constant([1, channels, side, side]))


def shufflenet() -> onnx.ModelProto:
    """Two units of ShuffleNet's first stage with 3 groups: 240 channels outside, 60 inside."""
    net = Net(dtype=np.float32)
    x = _block(net, net.input([1, 3, 16, 16]), 3, 240, stride=2)
    for _ in range(2):
        y = net.node("Relu", net.conv(x, 240, 60, 1, bias=True, group=3))
        y = net.conv(_shuffled(net, y, 60, 8, 3), 60, 60, 3, pads=[1] * 4, group=60)
        x = net.node("Relu", net.node("Add", x, net.conv(y, 60, 240, 1, bias=True, group=3)))
    flat = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.model(net.node("Gemm", flat, net.normal(10, 240), transB=1))


def shufflenet_v2() -> onnx.ModelProto:
    """Split in halves, one through a branch, Concat, shuffle by 2."""
    net = Net(dtype=np.float32)
    x = _block(net, net.input([1, 3, 16, 16]), 3, 64, stride=2)
    for _ in range(3):
        kept, y = net.node("Split", x, outputs=2, axis=1)
        y = _block(net, y, 32, 32, 1)
        y = net.conv(y, 32, 32, 3, pads=[1] * 4, group=32)
        x = _shuffled(net, net.node("Concat", kept, _block(net, y, 32, 32, 1), axis=1), 64, 8, 2)
    flat = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.model(net.node("Gemm", flat, net.normal(10, 64), transB=1))


def unet() -> onnx.ModelProto:
    """Two scales down and up; the skips meet in Concat, up by ConvTranspose and by Resize."""
    net = Net(dtype=np.float32)
    high = _block(net, net.input([1, 3, 16, 16]), 3, 16)
    middle = _block(net, net.node("MaxPool", high, kernel_shape=[2, 2], strides=[2, 2]), 16, 32)
    low = _block(net, net.node("MaxPool", middle, kernel_shape=[2, 2], strides=[2, 2]), 32, 64)
    up = net.node("ConvTranspose", low, net.normal(64, 32, 2, 2), strides=[2, 2])
    joined = _block(net, net.node("Concat", up, middle, axis=1), 64, 32)
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    wide = net.node("Resize", joined, "", scales, mode="nearest")
    last = _block(net, net.node("Concat", wide, high, axis=1), 48, 16)
    return net.model(net.conv(last, 16, 2, 1, bias=True))


def ssd() -> onnx.ModelProto:
    """A backbone of two scales with a box and a class head each; the maps of both scales are joined: two outputs."""
    net = Net(dtype=np.float32)
    x = _block(net, net.input([1, 3, 16, 16]), 3, 32, stride=2)
    maps = [(_block(net, x, 32, 32), 8)]
    maps.append((_block(net, maps[0][0], 32, 64, stride=2), 4))
    outputs = []
    for width in (4, 3):
        rows = []
        for (y, side), channels in zip(maps, (32, 64), strict=True):
            head = net.conv(y, channels, 2 * width, 3, bias=True, pads=[1] * 4)
            head = net.node("Transpose", head, perm=[0, 2, 3, 1])
            rows.append(net.node("Reshape", head, net.constant([1, side * side * 2, width])))
        outputs.append(net.node("Concat", *rows, axis=1))
    return net.model(outputs[0], net.node("Softmax", outputs[1], axis=2))


def densenet() -> onnx.ModelProto:
    """BatchNormalization, Relu, Conv on a Concat that grows; a transition between two blocks."""
    net = Net(dtype=np.float32)
    channels, x = 24, _block(net, net.input([1, 3, 12, 12]), 3, 24)
    for block in range(2):
        for _ in range(3):
            y = net.conv(net.node("Relu", net.norm(x, channels)), channels, 32, 1)
            y = net.conv(net.node("Relu", net.norm(y, 32)), 32, 16, 3, pads=[1] * 4)
            x = net.node("Concat", x, y, axis=1)
            channels += 16
        if block == 0:
            y = net.conv(net.node("Relu", net.norm(x, channels)), channels, channels // 2, 1)
            x, channels = net.node("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2]), channels // 2
    flat = net.node("Flatten", net.node("GlobalAveragePool", net.node("Relu", net.norm(x, channels))))
    return net.model(net.node("Gemm", flat, net.normal(10, channels), transB=1))


def ghost() -> onnx.ModelProto:
    """Ghost modules with a squeeze-excite and a residual; a 15-channel one is sliced off 16."""
    net = Net(dtype=np.float32)
    x = _block(net, net.input([1, 3, 12, 12]), 3, 32)
    for middle in (64, 48):
        y = _ghost(net, x, 32, middle)
        gate = net.node("GlobalAveragePool", y)
        gate = net.node("Relu", net.conv(gate, middle, 16, 1, bias=True))
        gate = net.node("HardSigmoid", net.conv(gate, 16, middle, 1, bias=True))
        x = net.node("Add", x, _ghost(net, net.node("Mul", y, gate), middle, 32))
    starts = [net.constant([value]) for value in (0, 15, 1)]
    x = net.node("Slice", _ghost(net, x, 32, 16), *starts)
    return net.model(net.node("Gemm", net.node("Flatten", x), net.normal(10, 15 * 144), transB=1))


def _ghost(net: Net, x: str, inputs: int, outputs: int) -> str:
    primary = _block(net, x, inputs, outputs // 2, 1)
    return net.node("Concat", primary, _block(net, primary, outputs // 2, outputs // 2, group=outputs // 2), axis=1)


STYLES: dict[str, Callable[[], onnx.ModelProto]] = {
    "shufflenet": shufflenet, "shufflenet-v2": shufflenet_v2, "unet": unet, "ssd": ssd, "densenet": densenet,
    "ghost": ghost,
}  # fmt: skip


def normal_form(name: str) -> onnx.ModelProto:
    return ingest.read(STYLES[name](), simplify=False).proto
