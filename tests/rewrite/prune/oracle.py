"""What removal means: the original with the weights of channel-mixing consumers set to zero, in float64."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgevision import ingest
from edgevision.model import Model
from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.reparam.interpreter import Interpreter

EXACT = 1e-12
Array = np.ndarray[Any, Any]


def zeroed(network: Network, channels: Channels, removed: Collection[int]) -> onnx.ModelProto:
    """The original, every weight that multiplies a removed channel in Conv, ConvTranspose, Gemm or MatMul at zero."""
    result = onnx.ModelProto()
    result.CopyFrom(network.proto)
    gone = np.isin(channels.root, list(removed))
    for index, node in enumerate(network.nodes):
        labels = channels.labels.get(node.inputs[0]) if node.inputs else None
        if labels is None or node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        if not network.is_constant(node.inputs[1]):
            continue
        into = gone[labels.ids]
        weight = network.constant(node.inputs[1]).copy()
        group = int(node.attributes.get("group", 1))
        if group == len(into) > 1:
            continue
        for block, mask in enumerate(np.split(into, group)):
            if node.op == "Conv":
                rows = slice(block * len(weight) // group, (block + 1) * len(weight) // group)
                weight[rows, np.flatnonzero(mask)] = 0
            elif node.op == "ConvTranspose":
                weight[block * len(mask) + np.flatnonzero(mask)] = 0
            elif node.op == "Gemm" and node.attributes["transB"]:
                weight[:, mask] = 0
            else:
                weight[mask] = 0
        name = f"zeroed{index}"
        result.graph.node[index].input[1] = name
        result.graph.initializer.append(numpy_helper.from_array(weight, name))
    return result


def outputs(proto: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """What the normal-form ``proto`` answers in float64 to random inputs."""
    random = np.random.default_rng(seed)
    feeds = {
        value.name: random.standard_normal([axis.dim_value for axis in value.type.tensor_type.shape.dim])
        for value in proto.graph.input
    }
    return Interpreter(ingest.to_onnx(proto), np.float64).final(feeds)


def error(
    pruned: onnx.ModelProto, network: Network, channels: Channels, removed: Collection[int], *, may_vanish: bool = False
) -> float:
    """Largest difference of any output, relative to that output's largest value.

    An output that does not change from pixel to pixel proves nothing, unless it ``may_vanish`` (a random network can
    lose all that keeps it alive).
    """
    expected, got = outputs(zeroed(network, channels, removed)), outputs(pruned)
    assert expected.keys() == got.keys()
    worst = 0.0
    for name, value in expected.items():
        assert value.shape == got[name].shape
        assert np.isfinite(value).all()
        assert may_vanish or np.ptp(value) > 0, f"{name} is constant: agreeing with it proves nothing"
        worst = max(worst, float(np.abs(value - got[name]).max() / max(np.abs(value).max(), 1e-300)))
    return worst


def check_shapes(pruned: onnx.ModelProto) -> None:
    """The shapes that the removal wrote are those that inference finds, and nothing of the normal form is broken."""
    from edgevision.ingest.legal import flaws

    inferred = ingest.infer(pruned)
    assert {v.name: v.type for v in pruned.graph.value_info} == {v.name: v.type for v in inferred.graph.value_info}
    assert list(pruned.graph.output) == list(inferred.graph.output)
    assert flaws(pruned) == []


def resized(path: Path, size: int, *, simplify: bool = True) -> Model:
    """The network at ``size`` x ``size``, where its only spatial extents are its input's and those of its shuffles."""
    proto = onnx.load(path)
    shape = proto.graph.input[0].type.tensor_type.shape
    full = shape.dim[2].dim_value
    for axis in (2, 3):
        shape.dim[axis].dim_value = size
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in proto.graph.node if node.op_type == "Constant"}
    for node in proto.graph.node:
        target = numpy_helper.to_array(constants[node.input[1]]) if node.op_type == "Reshape" else np.empty(0, np.int64)
        if len(target) > 3:
            shrunk = [*target[:-2], *(target[-2:] * size // full)]
            constants[node.input[1]].CopyFrom(numpy_helper.from_array(np.array(shrunk, np.int64), node.input[1]))
    del proto.graph.value_info[:]
    return ingest.read(proto, simplify=simplify)
