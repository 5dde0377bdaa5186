"""Operators that ONNX itself defines by others are written out, since nothing lowers them whole."""

from __future__ import annotations

import onnx
from onnx import defs, helper, inliner

from edgevision.errors import UnsupportedOperatorError
from edgevision.ingest.proto_types import default_opset

EXPANDED = frozenset({"Attention", "CenterCropPad", "MeanVarianceNormalization"})


def without_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model's own functions written out; the domain "ai.onnx" spelled ""."""
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    for node in proto.graph.node:
        node.domain = "" if node.domain == "ai.onnx" else node.domain
    return proto


def expand(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The operators of EXPANDED as the nodes that their definitions hold.

    Raises UnsupportedOperatorError where the inliner cannot write one out.
    """
    opset = default_opset(proto)
    found = [node for node in proto.graph.node if node.op_type in EXPANDED]
    for node in found:
        _write_defaults(node, opset)
    if found:
        # The inliner looks for types among values only.
        typed = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in proto.graph.initializer]
        proto.graph.value_info.extend(typed)
    for op in sorted({node.op_type for node in found}):
        try:
            proto = inliner.inline_selected_functions(proto, [("", op)], inline_schema_functions=True)
        except RuntimeError as error:  # onnx 1.23: an optional input left out between two that are given
            name = next(node.name for node in found if node.op_type == op)
            raise UnsupportedOperatorError(op, name, opset, "its definition cannot be written out") from error
    return proto


def _write_defaults(node: onnx.NodeProto, opset: int) -> None:
    """The inliner drops what a definition reads from an attribute that is not written, although it has a default."""
    present = {attribute.name for attribute in node.attribute}
    for name, attribute in defs.get_schema(node.op_type, opset, "").attributes.items():
        if attribute.default_value.name and name not in present:
            node.attribute.append(attribute.default_value)
