"""Small networks that hold every class of workload that has a device schedule of its own."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Nodes and random weights of a network while it is written down."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._generator = np.random.default_rng(seed)

    def weight(self, *shape: int, scale: float = 0.0) -> str:
        fan = int(np.prod(shape[1:])) or 1
        name = f"w{len(self.weights)}"
        array = self._generator.standard_normal(shape).astype(np.float32) * np.float32(scale or (2 / fan) ** 0.5)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def numbers(self, *values: int) -> str:
        """A shape, or axes."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, ci: int, co: int, kernel: int, *, group: int = 1, stride: int = 1) -> str:
        weight, bias = self.weight(co, ci // group, kernel, kernel), self.weight(co, scale=0.1)
        pads = [kernel // 2] * 4
        return self.add("Conv", x, weight, bias, kernel_shape=[kernel] * 2, pads=pads, strides=[stride] * 2, group=group)

    def ghost(self, x: str, channels: int) -> str:
        """A convolution beside a depthwise one of what it makes, as many channels each."""
        first = self.conv(x, channels, channels // 2, 1)
        return self.add("Concat", first, self.conv(first, channels // 2, channels // 2, 3, group=channels // 2), axis=1)

    def model(self, result: str, size: int, classes: int) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
        scores = helper.make_tensor_value_info(result, TensorProto.FLOAT, [1, classes])
        graph = helper.make_graph(self.nodes, "net", [image], [scores], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def small(size: int = 20, classes: int = 10, seed: int = 0) -> onnx.ModelProto:
    """Convolutions with and without borders, depthwise, concatenations, squeeze-and-excitation, a shortcut, pools, Softmax."""
    g = Graph(seed)
    x = g.add("Relu", g.conv("image", 3, 12, 3, stride=2))
    wide = g.add("Relu", g.conv(x, 12, 20, 1))
    cheap = g.add("Relu", g.conv(wide, 20, 20, 3, group=20))
    joined = g.add("Concat", wide, cheap, axis=1)
    gate = g.add("GlobalAveragePool", joined)
    gate = g.add("Relu", g.conv(gate, 40, 8, 1))
    gate = g.add("HardSigmoid", g.conv(gate, 8, 40, 1), alpha=1 / 6, beta=0.5)
    x = g.add("Mul", joined, gate)
    x = g.add("Add", g.conv(x, 40, 12, 1), g.conv(g.conv(x, 40, 40, 5, group=40), 40, 12, 1))
    x = g.add("Add", g.ghost(x, 12), x)
    x = g.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = g.add("Flatten", g.add("GlobalAveragePool", x))
    x = g.add("Gemm", x, g.weight(12, classes), g.weight(classes, scale=0.1))
    return g.model(g.add("Softmax", x, axis=1), size, classes)


def tiny(classes: int = 10, seed: int = 1) -> onnx.ModelProto:
    """A convolution, a pool and a matrix product: made quickly, many times."""
    g = Graph(seed)
    x = g.add("Relu", g.conv("image", 3, 8, 3, stride=2))
    x = g.add("Flatten", g.add("GlobalAveragePool", x))
    return g.model(g.add("Gemm", x, g.weight(8, classes), g.weight(classes, scale=0.1)), 8, classes)
