"""TensorSpec to and from ONNX value types."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx
from onnx import helper

from edgevision.tensor import TensorSpec


def value_proto(spec: TensorSpec) -> onnx.ValueInfoProto:
    """ValueInfoProto of a tensor type."""
    return helper.make_tensor_value_info(spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape)


def spec_of(value: onnx.ValueInfoProto) -> TensorSpec:
    """TensorSpec of a ValueInfoProto whose shape is static."""
    kind = value.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return TensorSpec(name=value.name, shape=tuple(d.dim_value for d in kind.shape.dim), dtype=dtype)


def is_static(value: onnx.ValueInfoProto) -> bool:
    """True if the value is a tensor whose rank and every extent are known and positive."""
    if value.type.WhichOneof("value") != "tensor_type" or not value.type.tensor_type.HasField("shape"):
        return False
    return all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim)


def tensor_bytes(dims: Sequence[int], elem_type: int) -> int:
    """Size of a dense tensor in bytes."""
    return prod(dims) * int(helper.tensor_dtype_to_np_dtype(elem_type).itemsize)


def weight_bytes(proto: onnx.ModelProto) -> int:
    """Size of all initializers in bytes. (ModelProto.ByteSize fails over 2 GiB.)"""
    return sum(tensor_bytes(tensor.dims, tensor.data_type) for tensor in proto.graph.initializer)


def default_opset(proto: onnx.ModelProto) -> int:
    """Version of the ONNX operator set that the model imports; 0 if it imports none."""
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
