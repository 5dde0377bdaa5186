"""From the normal form back to plain ONNX, and shape inference by that way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.ingest.proto_types import spec_of
from edgevision.ingest.shape_inference import infer_shapes
from edgevision.ingest.spelling.moved import MOVED, SCALARS
from edgevision.ingest.spelling.write import attributes_of
from edgevision.tensor import TensorSpec

BEFORE_THE_FIRST = -(2**62)  # a Slice's end of -1 means the last index to ONNX
OPERAND_DTYPES: dict[str, type[np.generic]] = {"roi": np.float32, "scales": np.float32}


def to_onnx(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Valid ONNX of opset 23 that computes what the normal-form ``proto`` computes, with the same tensor names.

    Moved attributes become initializers again and edgevision operators the standard ones that define them. Weights are
    copied once.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    del plain.opset_import[:]
    plain.opset_import.append(helper.make_opsetid("", 23))
    _set_plain_nodes(plain, proto)
    return plain


def infer(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the normal-form ``proto`` with value_info and output types inferred anew from its inputs.

    Raises ModelFileError where the shapes do not fit together.
    """
    plain, result = to_onnx(proto), onnx.ModelProto()
    infer_shapes(plain, proto.graph.name or "model")
    result.CopyFrom(proto)
    written = {name for node in proto.graph.node for name in node.output}
    del result.graph.value_info[:]
    result.graph.value_info.extend(value for value in plain.graph.value_info if value.name in written)
    del result.graph.output[:]
    result.graph.output.extend(plain.graph.output)
    return result


def _set_plain_nodes(plain: onnx.ModelProto, proto: onnx.ModelProto) -> None:
    graph = proto.graph
    specs = {value.name: spec_of(value) for value in [*graph.input, *graph.value_info, *graph.output]}
    del plain.graph.node[:]
    for node in graph.node:
        if node.domain == "edgevision":
            plain.graph.node.extend(_EXPANSIONS[node.op_type](node, specs, plain.graph))
        elif node.op_type in MOVED:
            plain.graph.node.append(_with_operands(node, specs, plain.graph))
        else:
            plain.graph.node.append(node)


def _with_operands(node: onnx.NodeProto, specs: dict[str, TensorSpec], graph: onnx.GraphProto) -> onnx.NodeProto:
    """The node with its moved attributes as initializers."""
    attributes = dict(attributes_of(node))
    if node.op_type == "Resize":
        _choose_scales_or_sizes(node, attributes, specs)
    if node.op_type == "Slice":
        attributes["ends"] = [end if end >= 0 else BEFORE_THE_FIRST for end in attributes["ends"]]
    inputs = list(node.input)
    if node.op_type == "OneHot":
        inputs = [inputs[0], "", inputs[1]]
    for index, key in MOVED[node.op_type].items():
        if key not in attributes:
            continue
        dtype = OPERAND_DTYPES.get(key, np.int64)
        if key in ("min", "max", "value"):
            dtype = np.dtype(specs[node.output[0]].dtype).type
        value = np.array(attributes.pop(key), dtype)
        inputs += [""] * (index + 1 - len(inputs))
        inputs[index] = f"{node.output[0]}/{key}"
        graph.initializer.append(
            numpy_helper.from_array(value if key in SCALARS and key != "k" else _row(node, value), inputs[index])
        )
    plain = helper.make_node(node.op_type, inputs, node.output, name=node.name)
    plain.attribute.extend(attribute for attribute in node.attribute if attribute.name in attributes)
    return plain


def _row(node: onnx.NodeProto, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A list operand; k is a list of one for TopK and a scalar for Trilu."""
    return value if node.op_type == "Trilu" else np.atleast_1d(value)


def _choose_scales_or_sizes(node: onnx.NodeProto, attributes: dict[str, Any], specs: dict[str, TensorSpec]) -> None:
    """ONNX takes one of the two: sizes where they imply the scales, else scales."""
    before = np.array(_extents(node, specs), np.float32)
    implied = np.array(attributes["sizes"], np.float32) / before
    attributes.pop("scales" if np.array_equal(implied, np.array(attributes["scales"], np.float32)) else "sizes")


def _extents(node: onnx.NodeProto, specs: dict[str, TensorSpec]) -> tuple[int, ...]:
    return specs[node.input[0]].shape


def _silu(node: onnx.NodeProto, specs: dict[str, TensorSpec], graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    del specs, graph
    x, y = node.input[0], node.output[0]
    yield helper.make_node("Sigmoid", [x], [f"{y}/sigmoid"], name=f"{node.name}/sigmoid")
    yield helper.make_node("Mul", [x, f"{y}/sigmoid"], [y], name=node.name)


def _channel_shuffle(
    node: onnx.NodeProto, specs: dict[str, TensorSpec], graph: onnx.GraphProto
) -> Iterator[onnx.NodeProto]:
    x, y, groups = node.input[0], node.output[0], attributes_of(node)["groups"]
    n, c, *image = specs[x].shape
    for key, shape in (("grouped", [n, groups, c // groups, *image]), ("shape", [n, c, *image])):
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{y}/{key}"))
    perm = [0, 2, 1, *range(3, 3 + len(image))]
    yield helper.make_node("Reshape", [x, f"{y}/grouped"], [f"{y}/split"], name=f"{node.name}/split")
    yield helper.make_node("Transpose", [f"{y}/split"], [f"{y}/mixed"], perm=perm, name=f"{node.name}/mix")
    yield helper.make_node("Reshape", [f"{y}/mixed", f"{y}/shape"], [y], name=node.name)


def _channel_layer_normalization(
    node: onnx.NodeProto, specs: dict[str, TensorSpec], graph: onnx.GraphProto
) -> Iterator[onnx.NodeProto]:
    del specs, graph
    (x, scale, bias), y, epsilon = node.input, node.output[0], attributes_of(node)["epsilon"]
    there, back = [0, 2, 3, 1], [0, 3, 1, 2]
    yield helper.make_node("Transpose", [x], [f"{y}/last"], perm=there, name=f"{node.name}/last")
    normalised = [f"{y}/normalised"]
    yield helper.make_node(
        "LayerNormalization",
        [f"{y}/last", scale, bias],
        normalised,
        axis=-1,
        epsilon=epsilon,
        name=f"{node.name}/normalise",
    )
    yield helper.make_node("Transpose", normalised, [y], perm=back, name=node.name)


_EXPANSIONS = {
    "Silu": _silu,
    "ChannelShuffle": _channel_shuffle,
    "ChannelLayerNormalization": _channel_layer_normalization,
}
