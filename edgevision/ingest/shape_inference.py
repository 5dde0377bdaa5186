"""Infer every shape of a model without ever copying its weights."""

from __future__ import annotations

import onnx
from onnx import helper, shape_inference

from edgevision.errors import ModelFileError
from edgevision.ingest.proto_types import is_static

KEEPS_SHAPE = frozenset({"GroupNormalization"})
WEIGHT_ELEMENTS = 1024  # shapes depend on the values of shapes, axes, scales: none has this many elements


def skeleton(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its weights turned into inputs of the same type: valid, small, same shapes."""
    bare = onnx.ModelProto()
    for field in ("ir_version", "opset_import", "functions", "producer_name"):
        _copy(proto, bare, field)
    for field in ("node", "name", "input", "output", "value_info", "sparse_initializer"):
        _copy(proto.graph, bare.graph, field)
    present = {value.name for value in bare.graph.input}
    for tensor in proto.graph.initializer:
        elements = 1
        for extent in tensor.dims:
            elements *= extent
        if elements < WEIGHT_ELEMENTS:
            bare.graph.initializer.append(tensor)
        elif tensor.name not in present:
            bare.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return bare


def infer_shapes(proto: onnx.ModelProto, where: str) -> None:
    """Set value_info and output types of ``proto`` from its inputs, values of small integer tensors propagated.

    Raises ModelFileError where two operators disagree.
    """
    bare = skeleton(proto)
    del bare.graph.value_info[:]  # names that an earlier round gave to open dimensions would stay
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
        while _complete(inferred.graph):
            inferred = shape_inference.infer_shapes(inferred, check_type=True, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise ModelFileError(where, f"its shapes do not fit together: {' '.join(str(error).split())}") from error
    weights = {tensor.name for tensor in proto.graph.initializer}
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(value for value in inferred.graph.value_info if value.name not in weights)
    del proto.graph.output[:]
    proto.graph.output.extend(inferred.graph.output)


def _complete(graph: onnx.GraphProto) -> bool:
    """Give results of KEEPS_SHAPE the type of the first input where onnx 1.23 infers none; True if there was one."""
    values = {value.name: value for value in [*graph.input, *graph.value_info, *graph.output]}
    found = False
    for node in graph.node:
        source, result = values.get(node.input[0]) if node.input else None, values.get(node.output[0])
        if (
            node.op_type in KEEPS_SHAPE
            and source is not None
            and is_static(source)
            and not (result and is_static(result))
        ):
            target = result if result is not None else graph.value_info.add(name=node.output[0])
            target.type.CopyFrom(source.type)
            found = True
    return found


def _copy(source: onnx.ModelProto | onnx.GraphProto, target: onnx.ModelProto | onnx.GraphProto, field: str) -> None:
    value = getattr(source, field)
    if isinstance(value, int | str):
        setattr(target, field, value)
    else:
        getattr(target, field).extend(value)
