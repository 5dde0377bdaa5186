"""Extents: the shape of every tensor, where open axes are symbols that can be compared.

An open extent is a symbol plus a number. Strided windows give new symbols, the same one for the same window of the same
extent, so that two branches of one input are known to agree although nobody knows their size. Each symbol carries a
guess, which costs are estimated with; nothing else may depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import helper, shape_inference

from edgevision.rewrite.reparam.constants import Constants

GUESSED_BATCH, GUESSED_INPUT, GUESSED_INSIDE = 1, 224, 28


@dataclass(frozen=True, slots=True)
class Open:
    """An extent ``symbol`` + ``offset``, about ``guess``."""

    symbol: str
    offset: int
    guess: int = field(compare=False)


Extent = int | Open
Shape = tuple[Extent, ...]

_ELEMENTWISE = frozenset([
    "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Clip", "Tanh", "Erf", "Gelu", "Elu", "Selu", "Celu",
    "Softplus", "Softsign", "Mish", "Identity", "Cast", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Floor",
    "Ceil", "Round", "Softmax", "LayerNormalization", "BatchNormalization", "Swish", "ThresholdedRelu", "PRelu",
    "InstanceNormalization", "GroupNormalization", "Dropout",
])  # fmt: skip
_BROADCASTING = frozenset(["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean"])


def number(extent: Extent) -> int | None:
    """The extent, or None where it is open."""
    return extent if isinstance(extent, int) else None


def guess(extent: Extent) -> int:
    """The extent, or what costs are estimated with."""
    return extent if isinstance(extent, int) else max(1, extent.guess)


def window(extent: Extent, slack: int, stride: int) -> Extent:
    """(extent + slack) // stride + 1."""
    if isinstance(extent, int):
        return (extent + slack) // stride + 1
    offset = extent.offset + slack
    if stride == 1:
        return Open(extent.symbol, offset + 1, extent.guess + slack + 1)
    return Open(f"({extent.symbol}{offset:+d})//{stride}", 1, (extent.guess + slack) // stride + 1)


def broadcast(shapes: Sequence[Shape]) -> Shape | None:
    """The shape of an elementwise result; None where open extents leave it open which one wins."""
    rank = max(len(shape) for shape in shapes)
    result: list[Extent] = []
    for axis in range(rank):
        extents = {shape[axis - rank + len(shape)] for shape in shapes if axis >= rank - len(shape)} - {1}
        if len(extents) > 1:
            return None
        result.append(extents.pop() if extents else 1)
    return tuple(result)


class Shapes:
    """Shape and element type of every tensor of a graph, as far as they are known."""

    def __init__(self, proto: onnx.ModelProto, constants: Constants) -> None:
        self.shapes: dict[str, Shape] = {}
        self.types: dict[str, int] = {}
        self._constants = constants
        light = _without_weights(proto)
        inferred = shape_inference.infer_shapes(light, data_prop=True).graph
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            self.types[value.name] = value.type.tensor_type.elem_type
        values = {value.name: value for value in (*inferred.value_info, *inferred.output)}
        for value in inferred.input:
            self._take(value, GUESSED_INPUT)
        for tensor in proto.graph.initializer:
            self.types[tensor.name] = tensor.data_type
        for node in proto.graph.node:
            self._visit(node, values)

    def __getitem__(self, tensor: str) -> Shape:
        return self.shapes[tensor]

    def __contains__(self, tensor: str) -> bool:
        return tensor in self.shapes

    def _take(self, value: onnx.ValueInfoProto, open_guess: int) -> None:
        if not value.type.tensor_type.HasField("shape"):
            return
        self.shapes[value.name] = tuple(
            dim.dim_value if dim.HasField("dim_value") else
            Open(dim.dim_param or f"{value.name}[{axis}]", 0, open_guess if axis else GUESSED_BATCH)
            for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        )  # fmt: skip

    def _visit(self, node: onnx.NodeProto, values: Mapping[str, onnx.ValueInfoProto]) -> None:
        for name in filter(None, node.output):
            if name in values:
                self._take(values[name], GUESSED_INSIDE)
        output = node.output[0] if node.output else ""
        if any(not isinstance(n, int) for n in self.shapes.get(output, (None,))):
            shape = self._followed(node)
            if shape is not None and len(shape) == len(self.shapes.get(output, shape)):
                self.shapes[output] = shape

    def _followed(self, node: onnx.NodeProto) -> Shape | None:
        """The shape of the first output, from those of the inputs; None where this operator is not followed."""
        read = [self._shape(name) for name in node.input if name]
        if not read or read[0] is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type in _ELEMENTWISE:
            return read[0]
        if node.op_type in _BROADCASTING:
            return broadcast([shape for shape in read if shape is not None]) if None not in read else None
        if node.op_type in ("Conv", "MaxPool", "AveragePool"):
            return self._windowed(node, read[0])
        if node.op_type == "Concat":
            return _joined([s for s in read if s is not None], _attributes(node)["axis"]) if None not in read else None
        if node.op_type in ("GlobalAveragePool", "GlobalMaxPool"):
            return (*read[0][:2], *[1] * (len(read[0]) - 2))
        if node.op_type == "Transpose" and "perm" in _attributes(node):
            return tuple(read[0][axis] for axis in _attributes(node)["perm"])
        return None

    def _shape(self, name: str) -> Shape | None:
        return self._constants.shape(name) if name in self._constants else self.shapes.get(name)

    def _windowed(self, node: onnx.NodeProto, shape: Shape) -> Shape | None:
        attributes = _attributes(node)
        rank = len(shape) - 2
        if attributes.get("ceil_mode") or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            return None
        channels: Extent = shape[1]
        kernel = attributes.get("kernel_shape")
        if node.op_type == "Conv":
            weight = self._shape(node.input[1])
            if weight is None or not all(isinstance(n, int) for n in weight):
                return None
            channels, kernel = weight[0], [n for n in weight[2:] if isinstance(n, int)]
        assert kernel is not None
        pads = attributes.get("pads", [0] * 2 * rank)
        strides, dilations = (attributes.get(name, [1] * rank) for name in ("strides", "dilations"))
        space = (window(shape[2 + a], pads[a] + pads[a + rank] - (kernel[a] - 1) * dilations[a] - 1, strides[a])
                 for a in range(rank))  # fmt: skip
        return (shape[0], channels, *space)


def _joined(shapes: Sequence[Shape], axis: int) -> Shape | None:
    along = [number(shape[axis]) for shape in shapes]
    if any(n is None for n in along):
        return None
    joined = list(shapes[0])
    joined[axis] = sum(n for n in along if n is not None)
    return tuple(joined)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large initializers keep their shape but not their values: inference serializes the model."""
    light = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions)
    for name in ("input", "output", "value_info", "sparse_initializer", "node"):
        getattr(light.graph, name).extend(getattr(proto.graph, name))
    light.graph.name = proto.graph.name
    for tensor in proto.graph.initializer:
        if len(tensor.dims) > 1 or any(n > 64 for n in tensor.dims):
            light.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        else:
            light.graph.initializer.add().CopyFrom(tensor)
    return light
