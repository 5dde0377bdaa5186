"""Compute at compile time what depends on constants and static shapes alone, until every shape is known."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgevision.errors import UnsupportedOperatorError
from edgevision.ingest.branches import inline_constant_ifs
from edgevision.ingest.proto_types import default_opset, is_static, tensor_bytes
from edgevision.ingest.shape_inference import infer_shapes

CONSTANT_LIMIT_BYTES = 1 << 30  # a folded tensor larger than this, and than what it is made of, is a mistake
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}
)
# RuntimeError: what onnxruntime raises for results that numpy has no type for.
ORT_CANNOT = (ort_errors.Fail, ort_errors.NotImplemented, ort_errors.InvalidGraph, ort_errors.RuntimeException,
              ort_errors.InvalidArgument, RuntimeError)  # fmt: skip


def fold(proto: onnx.ModelProto, where: str) -> None:
    """Fold constants and infer shapes in place, in turns, until neither finds more; then drop what nothing reads.

    Values are computed by onnxruntime with its optimisations off. Raises ModelFileError (shapes disagree) and
    UnsupportedOperatorError (a constant outgrows CONSTANT_LIMIT_BYTES).
    """
    constants_to_initializers(proto)
    infer_shapes(proto, where)
    while _resolve_cast_like(proto) or _fold_once(proto) or inline_constant_ifs(proto):
        constants_to_initializers(proto)
        infer_shapes(proto, where)
    remove_dead(proto)


def constants_to_initializers(proto: onnx.ModelProto) -> None:
    """Constant nodes become initializers of the same name."""
    kept: list[onnx.NodeProto] = []
    constants: set[str] = set()
    for node in proto.graph.node:
        if node.op_type == "Constant":
            proto.graph.initializer.append(_constant_value(node, default_opset(proto)))
            constants.add(node.output[0])
        else:
            kept.append(node)
    if constants:
        _set_nodes(proto, kept)
        _keep_outputs(proto, constants)


def remove_dead(proto: onnx.ModelProto) -> None:
    """Drop nodes and initializers that no output depends on."""
    wanted = {value.name for value in proto.graph.output}
    kept = []
    for node in reversed(proto.graph.node):
        if wanted.intersection(node.output):
            wanted.update(_reads(node))
            kept.append(node)
    _set_nodes(proto, kept[::-1])
    initializers = [tensor for tensor in proto.graph.initializer if tensor.name in wanted]
    if len(initializers) != len(proto.graph.initializer):
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(initializers)
    written = {name for node in kept for name in node.output}
    values = [value for value in proto.graph.value_info if value.name in written]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(values)


def _fold_once(proto: onnx.ModelProto) -> bool:
    """Replace every node that can be computed now by initializers; True if there was one."""
    opset = default_opset(proto)
    values = {v.name: v for v in [*proto.graph.input, *proto.graph.value_info, *proto.graph.output] if is_static(v)}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    outputs = {value.name for value in proto.graph.output}
    known, foldable, made = set(constants), [], []
    for node in proto.graph.node:
        if node.op_type in ("Shape", "Size") and node.input[0] in values:
            made.append(_shape_value(node, _dims(values[node.input[0]])))
            known.add(node.output[0])
        elif _is_pure(node, outputs) and all(t in known for t in node.input if t):
            results = [values[t] for t in node.output if t in values]
            result_bytes = sum(tensor_bytes(_dims(v), v.type.tensor_type.elem_type) for v in results)
            operands = [constants[t] for t in node.input if t in constants]
            _within_limit(node, result_bytes, sum(tensor_bytes(t.dims, t.data_type) for t in operands), opset)
            foldable.append(node)
            known.update(node.output)
    made += _evaluate(foldable, {**constants, **{t.name: t for t in made}}, proto)
    if not made:
        return False
    names = {tensor.name for tensor in made}
    _set_nodes(proto, [node for node in proto.graph.node if not names.intersection(node.output)])
    proto.graph.initializer.extend(made)
    _keep_outputs(proto, names)
    return True


def _resolve_cast_like(proto: onnx.ModelProto) -> bool:
    """CastLike -> Cast: what it imitates need not be constant, its type is known; True if there was one."""
    types = {v.name: v.type.tensor_type.elem_type for v in [*proto.graph.input, *proto.graph.value_info]}
    types |= {v.name: v.type.tensor_type.elem_type for v in proto.graph.output}
    types |= {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    found = False
    for node in proto.graph.node:
        to = types.get(node.input[1], 0) if node.op_type == "CastLike" else 0
        if to:
            node.op_type = "Cast"
            del node.input[1:]
            node.attribute.append(helper.make_attribute("to", to))
            found = True
    return found


def _evaluate(
    nodes: Sequence[onnx.NodeProto], constants: dict[str, onnx.TensorProto], proto: onnx.ModelProto
) -> list[onnx.TensorProto]:
    """Values of all outputs of ``nodes``: in one session, or node by node where onnxruntime lacks one of them."""
    if not nodes:
        return []
    try:
        return _session_values(nodes, constants, proto)
    except ORT_CANNOT:
        if len(nodes) == 1:
            return []
    made: list[onnx.TensorProto] = []
    for node in nodes:
        if all(name in constants for name in node.input if name):
            values = _evaluate([node], constants, proto)
            constants = {**constants, **{tensor.name: tensor for tensor in values}}
            made += values
    return made


def _session_values(
    nodes: Sequence[onnx.NodeProto], constants: dict[str, onnx.TensorProto], proto: onnx.ModelProto
) -> list[onnx.TensorProto]:
    names = [name for node in nodes for name in node.output if name]
    needed = {name for node in nodes for name in node.input if name in constants}
    graph = helper.make_graph(nodes, "constants", [], [onnx.ValueInfoProto(name=name) for name in names])
    graph.initializer.extend(constants[name] for name in sorted(needed))
    model = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=min(proto.ir_version, 10))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values: list[npt.NDArray[Any]] = session.run(names, {})
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, values, strict=True)]


def _keep_outputs(proto: onnx.ModelProto, folded: set[str]) -> None:
    """A folded graph output is still written by a node: an Identity of its constant."""
    for value in proto.graph.output:
        if value.name in folded:
            tensor = next(t for t in proto.graph.initializer if t.name == value.name)
            tensor.name = f"{value.name}/constant"
            for node in proto.graph.node:
                for index, name in enumerate(node.input):
                    if name == value.name:
                        node.input[index] = tensor.name
            proto.graph.node.append(helper.make_node("Identity", [tensor.name], [value.name], name=value.name))


def _constant_value(node: onnx.NodeProto, opset: int) -> onnx.TensorProto:
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
    elif attribute.name in ("value_int", "value_ints"):
        tensor = numpy_helper.from_array(np.array(value, np.int64))
    elif attribute.name in ("value_float", "value_floats"):
        tensor = numpy_helper.from_array(np.array(value, np.float32))
    else:
        raise UnsupportedOperatorError("Constant", node.name, opset, f"its value is given as {attribute.name}")
    tensor.name = node.output[0]
    return tensor


def _shape_value(node: onnx.NodeProto, shape: tuple[int, ...]) -> onnx.TensorProto:
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    value = np.array(shape[slice(bounds.get("start"), bounds.get("end"))], np.int64)
    return numpy_helper.from_array(np.array(prod(shape), np.int64) if node.op_type == "Size" else value, node.output[0])


def _within_limit(node: onnx.NodeProto, result_bytes: int, operand_bytes: int, opset: int) -> None:
    if result_bytes > max(CONSTANT_LIMIT_BYTES, operand_bytes):
        raise UnsupportedOperatorError(
            node.op_type, node.name, opset, f"it folds to a constant of {result_bytes >> 20} MiB"
        )


def require_static(proto: onnx.ModelProto) -> None:
    """Raise UnsupportedOperatorError at the first node with an output that is used and has no static shape."""
    values = {v.name: v for v in [*proto.graph.input, *proto.graph.value_info, *proto.graph.output]}
    used = {name for node in proto.graph.node for name in node.input} | {value.name for value in proto.graph.output}
    for node in proto.graph.node:
        for name in node.output:
            if name in used and not (name in values and is_static(values[name])):
                reason = f"the shape of its output {name!r} depends on run-time values"
                raise UnsupportedOperatorError(node.op_type, node.name, default_opset(proto), reason)


def _reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, its subgraphs' outer names included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs] if attribute.HasField("g") or attribute.graphs else []:
            names.update(name for inner in graph.node for name in _reads(inner))
            names.update(value.name for value in graph.output)
    return names


def _is_pure(node: onnx.NodeProto, outputs: set[str]) -> bool:
    """True if folding may compute the node: no chance in it, no subgraph, not the Identity that lets a constant out."""
    if node.op_type in RANDOM or (node.op_type == "Identity" and node.output[0] in outputs):
        return False
    return not any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _dims(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _set_nodes(proto: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    if len(nodes) != len(proto.graph.node):
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del proto.graph.node[:]
        proto.graph.node.extend(kept)
