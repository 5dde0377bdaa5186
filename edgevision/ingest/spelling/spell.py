"""From a folded, static ModelProto of any opset to the Graph that normalisation works on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from edgevision.errors import UnsupportedOperatorError
from edgevision.ingest.graph import Graph, Node
from edgevision.ingest.proto_types import default_opset, spec_of
from edgevision.ingest.spelling import arithmetic, indexing, linear, reductions, resize, shaping, windows
from edgevision.ingest.spelling.moved import MOVED, NORMAL_OPSET, OMITTED, SCALARS, SHAPE_IS_ENOUGH

SPELLINGS: dict[str, Callable[[Graph, Node, int], None]] = {
    **arithmetic.SPELLINGS,
    **indexing.SPELLINGS,
    **linear.SPELLINGS,
    **reductions.SPELLINGS,
    **resize.SPELLINGS,
    **shaping.SPELLINGS,
    **windows.SPELLINGS,
}


def spell(proto: onnx.ModelProto) -> Graph:
    """The graph of a static model in the normal form (before any rule of `normalise`).

    Raises UnsupportedOperatorError where an input that must be constant is computed.
    """
    opset = default_opset(proto)
    graph = _read(proto)
    for node in list(graph.nodes()):
        if node in graph:
            _move_inputs(graph, node, opset)
            if node.op in SPELLINGS:
                SPELLINGS[node.op](graph, node, opset)
    for node in graph.nodes():
        complete(graph, node)
    return graph


def complete(graph: Graph, node: Node) -> None:
    """What holds for every operator: schema defaults written out, no foreign attribute, axes not negative."""
    if node.domain:
        return
    schema = defs.get_schema(node.op, NORMAL_OPSET, "")
    own = set(schema.attributes) | set(MOVED.get(node.op, {}).values())
    node.attributes = {key: value for key, value in node.attributes.items() if key in own - OMITTED}
    for name, attribute in schema.attributes.items():
        if attribute.default_value.name and name not in node.attributes and name not in OMITTED:
            node.attributes[name] = _value(attribute.default_value)
    if isinstance(node.attributes.get("axis"), int):
        rank = len(graph.shape(node.inputs[0])) + (node.op == "OneHot")
        node.attributes["axis"] %= max(rank, 1)
    while node.inputs and not node.inputs[-1]:
        node.inputs.pop()


def _read(proto: onnx.ModelProto) -> Graph:
    graph = Graph([spec_of(value) for value in proto.graph.input], [value.name for value in proto.graph.output])
    for value in [*proto.graph.value_info, *proto.graph.output]:
        graph.specs[value.name] = spec_of(value)
    for tensor in proto.graph.initializer:
        graph.set_constant(tensor.name, numpy_helper.to_array(tensor))
    for position, node in enumerate(proto.graph.node):
        attributes = {attribute.name: _value(attribute) for attribute in node.attribute}
        inputs, outputs = list(node.input), [name if name in graph.specs else "" for name in node.output]
        while not outputs[-1]:
            outputs.pop()
        name = node.name or f"{node.op_type}_{position}"
        graph.insert(Node(node.op_type, inputs, outputs, attributes, name, "", position))
    return graph


def _value(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if attribute.type == onnx.AttributeProto.TENSOR:
        return numpy_helper.to_array(value)
    if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return list(value)
    return value


def _move_inputs(graph: Graph, node: Node, opset: int) -> None:
    """Turn the constant inputs of MOVED into attributes."""
    moved = MOVED.get(node.op, {})
    if node.op == "Resize" and opset == 10:
        moved = {1: "scales"}
    kept = list(node.inputs)
    for index, attribute in moved.items():
        if index >= len(node.inputs) or not node.inputs[index]:
            continue
        value = graph.constants.get(node.inputs[index])
        if value is None and node.op in SHAPE_IS_ENOUGH:
            kept[index] = ""
        elif value is not None:
            kept[index] = ""
            node.attributes[attribute] = value.item() if attribute in SCALARS else np.ravel(value).tolist()
        elif node.op != "Clip":
            reason = f"its {attribute} {'is' if attribute in SCALARS else 'are'} computed at run time"
            raise UnsupportedOperatorError(node.op, node.name, opset, reason)
    if node.op == "OneHot":
        kept = [kept[0], kept[2]]
    while kept and not kept[-1]:
        kept.pop()
    graph.set_inputs(node, kept)
