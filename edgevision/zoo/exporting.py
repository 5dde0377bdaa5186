"""A torch module to an ONNX file that keeps its structure: BatchNorms and branches stay as they are written."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

OPSET = 17
CLASSES = 1000


def to_onnx(network: nn.Module, name: str, batch: int) -> onnx.ModelProto:
    """``network`` (in eval mode) with input "input" [batch, 3, 224, 224] and output "output" [batch, 1000].

    torch's tracing exporter with training=PRESERVE: its default folds every BatchNorm that follows a convolution, and
    so does the exporter on top of torch.export.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "traced"
        # The tracing exporter announces its own end, and that it folds no constants when it preserves BatchNorms.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        torch.onnx.export(
            network,
            (torch.zeros(batch, 3, 224, 224),),
            file,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
        )
        proto = onnx.load(file, format="protobuf")
    proto.graph.name = name
    _fold_constants(proto.graph)
    # The exporter leaves the shape open behind a Pad; the checker compares what is written here with what it infers.
    output = helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [batch, CLASSES])
    proto.graph.output[0].CopyFrom(output)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _fold_constants(graph: onnx.GraphProto) -> None:
    """Evaluate what depends on nothing but Constant nodes: the exporter computes the amounts of a Pad in ten nodes."""
    values = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in graph.node if node.op_type == "Constant"
    }
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" or any(name and name not in values for name in node.input):
            kept.append(node)
            continue
        results = ReferenceEvaluator(node).run(None, {name: values[name] for name in node.input if name})
        for name, result in zip(node.output, results, strict=True):
            values[name] = result
            kept.append(helper.make_node("Constant", [], [name], name=node.name, value=numpy_helper.from_array(result)))
    read = {name for node in kept for name in node.input} | {value.name for value in graph.output}
    del graph.node[:]
    graph.node.extend(node for node in kept if not read.isdisjoint(node.output))
