"""Graph -> ModelProto in the normal form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.ingest.graph import Graph, Node
from edgevision.ingest.proto_types import value_proto
from edgevision.ingest.spelling.moved import EDGEVISION_DOMAIN, NORMAL_OPSET
from edgevision.ingest.spelling.spell import complete

FLOAT_LISTS = frozenset({"scales", "roi", "activation_alpha", "activation_beta"})


def to_proto(graph: Graph, name: str) -> onnx.ModelProto:
    """The graph as a ModelProto: nodes sorted and uniquely named, all tensors typed, equal bytes for equal graphs."""
    graph.remove_dead()
    nodes: list[onnx.NodeProto] = []
    taken: set[str] = set()
    for index, node in enumerate(graph.in_order()):
        complete(graph, node)
        unique = node.name if node.name not in taken else f"{node.name}_{index}"
        taken.add(unique)
        nodes.append(_node_proto(node, unique))
    inner = [tensor for node in nodes for tensor in node.output if tensor and tensor not in graph.outputs]
    proto_graph = helper.make_graph(
        nodes,
        name,
        [value_proto(spec) for spec in graph.inputs],
        [value_proto(graph.specs[tensor]) for tensor in graph.outputs],
        [numpy_helper.from_array(np.asarray(value, order="C"), key) for key, value in sorted(graph.constants.items())],
        value_info=[value_proto(graph.specs[tensor]) for tensor in inner],
    )
    opsets = [helper.make_opsetid("", NORMAL_OPSET), helper.make_opsetid(EDGEVISION_DOMAIN, 1)]
    return helper.make_model(proto_graph, opset_imports=opsets, ir_version=10, producer_name="edgevision")


def _node_proto(node: Node, name: str) -> onnx.NodeProto:
    proto = helper.make_node(node.op, node.inputs, node.outputs, name=name, domain=node.domain)
    proto.attribute.extend(attribute_proto(key, value) for key, value in sorted(node.attributes.items()))
    return proto


def attribute_proto(key: str, value: Any) -> onnx.AttributeProto:
    """An attribute from its Python value; the type of a list does not hang on its first element."""
    if isinstance(value, np.ndarray):
        return helper.make_attribute(key, numpy_helper.from_array(value))
    if key in FLOAT_LISTS:
        return helper.make_attribute(key, [float(v) for v in value], attr_type=onnx.AttributeProto.FLOATS)
    if isinstance(value, list | tuple) and not value:
        return helper.make_attribute(key, value, attr_type=onnx.AttributeProto.INTS)
    return helper.make_attribute(key, value)


def attributes_of(node: onnx.NodeProto) -> Mapping[str, Any]:
    """The attributes of a node as Python values."""
    return {a.name: v.decode() if isinstance(v := helper.get_attribute_value(a), bytes) else v for a in node.attribute}
