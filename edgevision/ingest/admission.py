"""Whether a model is one that edgevision reads: operator set, domains, training mode; after folding, number types."""

from __future__ import annotations

from typing import NoReturn

import onnx
from onnx import checker, defs, helper

from edgevision.errors import ModelFileError, UnsupportedError, UnsupportedOperatorError
from edgevision.ingest.proto_types import default_opset
from edgevision.ingest.shape_inference import skeleton

OLDEST_OPSET, NEWEST_OPSET = 9, 23
QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
                       "ConvInteger", "MatMulInteger"})  # fmt: skip
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
MAY_FOLD = frozenset({"If", "QuantizeLinear", "DequantizeLinear"})  # where they depend on constants alone
DTYPES = frozenset(
    {"FLOAT", "DOUBLE", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL"}
)


def admit(proto: onnx.ModelProto, where: str) -> None:
    """Refuse what no later stage could make sense of.

    Raises UnsupportedError (operator set, value types), UnsupportedOperatorError (custom or unknown operators, training
    mode) and ModelFileError (the ONNX checker's findings).
    """
    opset = default_opset(proto)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise UnsupportedError(
            f"{where}: opset {opset} is outside {OLDEST_OPSET} to {NEWEST_OPSET}, which edgevision reads; "
            f"export again with an opset in that range, or convert with onnx.version_converter"
        )
    for value in proto.graph.input:
        _number_tensor(value)
    if proto.graph.sparse_initializer:
        raise UnsupportedError(f"{where}: holds sparse initializers, which are not read; export with dense weights")
    for node in proto.graph.node:
        _known(node, opset)
        _inference_mode(node, opset)
        if node.op_type in (CONTROL_FLOW | QUANTIZED) - MAY_FOLD:
            _refuse(node, opset)
    try:
        checker.check_model(_with_ranks(skeleton(proto)))
    except checker.ValidationError as error:
        raise ModelFileError(where, f"is not valid ONNX: {_first_sentence(error)}") from error


def admit_folded(proto: onnx.ModelProto) -> None:
    """Refuse what folding has left and nothing lowers yet: control flow, quantized operators, other number types.

    Needs complete value types. Raises UnsupportedOperatorError and UnsupportedError.
    """
    opset = default_opset(proto)
    for node in proto.graph.node:
        if node.op_type in CONTROL_FLOW | QUANTIZED:
            _refuse(node, opset)
    for value in [*proto.graph.input, *proto.graph.value_info, *proto.graph.output]:
        _number_tensor(value)
    for tensor in proto.graph.initializer:
        _number_type(tensor.name, tensor.data_type)


def _refuse(node: onnx.NodeProto, opset: int) -> NoReturn:
    reason = "quantized networks are not compiled yet, give the float32 network"
    if node.op_type in CONTROL_FLOW:
        reason = "control flow that depends on data is not compiled"
    raise UnsupportedOperatorError(node.op_type, node.name, opset, reason)


def _with_ranks(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The checker wants a rank for every input, which --input-shape may give later."""
    for value in proto.graph.input:
        value.type.tensor_type.shape.SetInParent()
    return proto


def _known(node: onnx.NodeProto, opset: int) -> None:
    if node.domain not in ("", "ai.onnx"):
        name = f"{node.domain}::{node.op_type}"
        raise UnsupportedOperatorError(name, node.name, opset, "custom operators have no definition here")
    try:
        schema = defs.get_schema(node.op_type, opset, "")
    except defs.SchemaError:
        raise UnsupportedOperatorError(
            node.op_type, node.name, opset, f"ONNX opset {opset} has no such operator"
        ) from None
    if schema.deprecated:
        raise UnsupportedOperatorError(node.op_type, node.name, opset, f"ONNX opset {opset} has withdrawn it")


def _inference_mode(node: onnx.NodeProto, opset: int) -> None:
    """BatchNormalization with training_mode=1 (before opset 14: with more than one output) normalises by the batch."""
    if node.op_type != "BatchNormalization":
        return
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.get("training_mode", 0) or len([name for name in node.output if name]) > 1:
        reason = "it is in training mode; call model.eval() and export with training=TrainingMode.EVAL or PRESERVE"
        raise UnsupportedOperatorError("BatchNormalization", node.name, opset, reason)


def _number_tensor(value: onnx.ValueInfoProto) -> None:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        what = (kind or "value").removesuffix("_type")
        raise UnsupportedError(f"{value.name!r} is of type {what}, which is not compiled; only tensors of numbers are")
    _number_type(value.name, value.type.tensor_type.elem_type)


def _number_type(tensor: str, elem_type: int) -> None:
    name = onnx.TensorProto.DataType.Name(elem_type)
    if name not in DTYPES:
        raise UnsupportedError(
            f"tensor {tensor!r} is {name.lower()}, which is not compiled yet; export the network in float32"
        )


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
