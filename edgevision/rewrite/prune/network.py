"""Network: a normal-form proto as channel analysis reads it: nodes with Python attributes, constants, static shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]
Ids = npt.NDArray[np.intp]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator. ``op`` carries its domain unless that is ONNX's: "Conv", "edgevision:Silu"."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def output(self) -> str:
        """The first output."""
        return self.outputs[0]


class Network:
    """A view of one normal-form ModelProto, which is not changed; lives as long as one analysis or rewriting."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto
        graph = proto.graph
        self.nodes = tuple(_node(node) for node in graph.node)
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = tuple(value.name for value in graph.input)
        self.outputs = tuple(value.name for value in graph.output)
        values = [*graph.input, *graph.value_info, *graph.output]
        self.shapes: dict[str, Shape] = {value.name: _shape(value) for value in values}
        self.shapes.update({name: tuple(tensor.dims) for name, tensor in self.tensors.items()})
        self._arrays: dict[str, Array] = {}

    def is_constant(self, name: str) -> bool:
        return name in self.tensors

    def constant(self, name: str) -> Array:
        """The values of an initializer."""
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self.tensors[name])
        return self._arrays[name]

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """Tensor -> the nodes that read it."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}


def _node(proto: onnx.NodeProto) -> Node:
    values = {each.name: helper.get_attribute_value(each) for each in proto.attribute}
    return Node(
        name=proto.name,
        op=f"{proto.domain}:{proto.op_type}" if proto.domain not in ("", "ai.onnx") else proto.op_type,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()},
    )


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
