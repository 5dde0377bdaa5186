"""Counts: the multiply-accumulates, parameters and weight bytes of an ONNX graph, node by node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import onnx
import onnx.inliner
import onnx.shape_inference
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

Shape = tuple[int, ...]

_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_BYTES = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}
# Inputs that are constants but not weights: BatchNormalization's running mean and variance are statistics (torch calls
# them buffers), the region and the scales of a Resize are geometry.
_NOT_PARAMETERS = {"BatchNormalization": {3, 4}, "Resize": {1, 2}, "Upsample": {1}}
_MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCount:
    """One node. ``macs`` is None where a shape that it needs is open; weights shared by nodes count for the first.

    ``output`` is its first output, ``output_bytes`` that one's size where its shape is known.
    """

    name: str
    op: str
    macs: int | None
    parameters: int
    weight_bytes: int
    output: str
    output_shape: Shape | None
    output_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Sums over all nodes, those in the bodies of If, Loop and Scan once each.

    ``macs`` leaves out the nodes named in ``uncounted``, whose shapes are open; ``parameters`` are constants of more
    than one element that are floating, or 8-bit or narrower with at least two axes.
    """

    macs: int
    parameters: int
    weight_bytes: int
    per_node: tuple[NodeCount, ...]

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Nodes that multiply, but whose shapes are not all known."""
        return tuple(node.name for node in self.per_node if node.macs is None)

    def macs_of(self, *ops: str) -> int:
        """MACs of the operators named, for instance ``macs_of("Conv", "Gemm")``."""
        return sum(node.macs or 0 for node in self.per_node if node.op in ops)


def count(proto: ModelProto) -> Counts:
    """Count ``proto``, whose shapes are inferred where they are missing; ``proto`` itself is left alone.

    Conv: N*O*H*W * I/g*kh*kw, with every tap counted, those on padding too. ConvTranspose: input elements * O/g*kh*kw.
    Gemm and MatMul: output elements * length of the reduced axis. All else: 0. 1 MAC = 2 FLOPs.
    """
    graph = _with_shapes(proto).graph
    shapes = {value.name: shape for value in _values(graph) if (shape := _static_shape(value)) is not None}
    constants = dict(_constants(graph))
    shapes.update({name: tuple(tensor.dims) for name, tensor in constants.items()})
    bits = {value.name: _bits(value.type.tensor_type.elem_type) for value in _values(graph)}
    taken: set[str] = set()
    nodes = tuple(_count_node(node, at, shapes, bits, constants, taken) for at, node in enumerate(_nodes(graph)))
    return Counts(
        macs=sum(node.macs or 0 for node in nodes),
        parameters=sum(node.parameters for node in nodes),
        weight_bytes=sum(node.weight_bytes for node in nodes),
        per_node=nodes,
    )


def _count_node(
    node: NodeProto,
    at: int,
    shapes: Mapping[str, Shape],
    bits: Mapping[str, int],
    constants: Mapping[str, TensorProto],
    taken: set[str],
) -> NodeCount:
    """``taken`` holds the constants that earlier nodes have counted; this node's are added to it."""
    skip = _NOT_PARAMETERS.get(node.op_type, set())
    mine = [name for position, name in enumerate(node.input) if name in constants and position not in skip]
    fresh = [name for name in dict.fromkeys(mine) if name not in taken and _is_parameter(constants[name])]
    taken.update(fresh)
    output = next((name for name in node.output if name), "")
    return NodeCount(
        name=node.name or f"{node.op_type}_{at}",
        op=node.op_type,
        macs=_macs(node, shapes),
        parameters=sum(_size(constants[name]) for name in fresh),
        weight_bytes=sum(_nbytes(constants[name]) for name in fresh),
        output=output,
        output_shape=shapes.get(output),
        output_bytes=(prod(shapes[output]) * bits[output] + 7) // 8 if output in shapes and bits.get(output) else None,
    )


def _macs(node: NodeProto, shapes: Mapping[str, Shape]) -> int | None:
    if node.op_type not in _MULTIPLYING or node.domain not in ("", "ai.onnx"):
        return 0
    data, weight, output = (shapes.get(name) for name in (node.input[0], node.input[1], node.output[0]))
    if data is None or weight is None or output is None:
        return None
    match node.op_type:
        case "Conv":
            return prod(output) * prod(weight[1:])
        case "ConvTranspose":
            return prod(data) * prod(weight[1:])
        case "Gemm":
            return prod(output) * data[0 if _int_attribute(node, "transA") else 1]
        case _:
            return prod(output) * data[-1]


def _int_attribute(node: NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def _is_parameter(tensor: TensorProto) -> bool:
    if _size(tensor) < 2:
        return False
    return tensor.data_type in _FLOATS or (tensor.data_type in _BYTES and len(tensor.dims) >= 2)


def _size(tensor: TensorProto) -> int:
    return int(prod(tensor.dims))


def _nbytes(tensor: TensorProto) -> int:
    return (_size(tensor) * _bits(tensor.data_type) + 7) // 8


def _bits(element_type: int) -> int:
    """Bits that an element takes; 0 for text and for no tensor at all."""
    if element_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    if element_type in (TensorProto.INT4, TensorProto.UINT4):
        return 4
    return 8 * int(onnx.helper.tensor_dtype_to_np_dtype(element_type).itemsize)


def _with_shapes(proto: ModelProto) -> ModelProto:
    """``proto``, or a copy of it with functions inlined and every shape inferred that can be."""
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    known = {value.name for value in _values(proto.graph) if _static_shape(value) is not None}
    if all(name in known for node in _nodes(proto.graph) for name in node.output if name):
        return proto
    light = _without_weights(proto)
    return onnx.shape_inference.infer_shapes(light, data_prop=True)


def _without_weights(proto: ModelProto) -> ModelProto:
    """A copy whose large float initializers keep their shape but not their values, which no shape depends on.

    Shape inference serializes the model, which at 2 GB fails and at 400 MB is slow.
    """
    light = ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(light.graph, field).extend(getattr(proto.graph, field))
    light.graph.name = proto.graph.name
    for tensor in proto.graph.initializer:
        if tensor.data_type in _FLOATS and _size(tensor) > 64:
            light.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        else:
            light.graph.initializer.add().CopyFrom(tensor)
    return light


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for body in _bodies(node):
            yield from _nodes(body)


def _bodies(node: NodeProto) -> Iterable[GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.type == AttributeProto.GRAPH]


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in _nodes(graph):
        yield from _bodies(node)


def _values(graph: GraphProto) -> Iterator[ValueInfoProto]:
    for part in _graphs(graph):
        yield from (*part.input, *part.value_info, *part.output)


def _constants(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    for part in _graphs(graph):
        yield from ((tensor.name, tensor) for tensor in part.initializer)
    for node in _nodes(graph):
        if node.op_type == "Constant":
            values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            yield from ((node.output[0], tensor) for tensor in values)


def _static_shape(value: ValueInfoProto) -> Shape | None:
    """The shape when every extent is a number, else None."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(axis.HasField("dim_value") for axis in tensor.shape.dim):
        return None
    return tuple(axis.dim_value for axis in tensor.shape.dim)
