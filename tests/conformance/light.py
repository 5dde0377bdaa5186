"""The light_* networks of the onnx package: well-known graphs whose weights are constants of one value to save space."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = tuple(sorted(path.stem.removeprefix("light_") for path in FOLDER.glob("*.onnx")))


def light(name: str) -> onnx.ModelProto:
    """The network as it is; its outputs hardly depend on its input."""
    return onnx.load(FOLDER / f"light_{name}.onnx")


def alive(name: str, seed: int = 0) -> onnx.ModelProto:
    """The network with random weights, and what its last Softmax reads as a second output.

    Kernels by He et al. (2015); scales and variances between 0.5 and 1.5; biases and means with deviation 0.1.
    """
    model, generator = light(name), np.random.default_rng(seed)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    positive = set(_scales(model))
    kept = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            shape = tuple(int(n) for n in shapes[node.input[0]])
            weight = _weight(shape, generator, positive=node.output[0] in positive)
            model.graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
    _set_nodes(model, kept)
    model.graph.output.extend(onnx.ValueInfoProto(name=node.input[0]) for node in kept if node.op_type == "Softmax")
    return onnx.shape_inference.infer_shapes(model)


def _scales(model: onnx.ModelProto) -> Iterator[str]:
    """What is multiplied with, and the scale and variance of each BatchNormalization."""
    unsqueezed = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Unsqueeze"}
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            yield from (node.input[1], node.input[4])
        elif node.op_type == "Mul":
            yield from (unsqueezed.get(name, name) for name in node.input)


def _weight(shape: tuple[int, ...], generator: np.random.Generator, *, positive: bool) -> np.ndarray:
    if positive:
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    deviation = 0.1 if len(shape) < 2 else (2 / prod(shape[1:])) ** 0.5
    return generator.standard_normal(shape, np.float32) * np.float32(deviation)


def _set_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Replace the nodes; initializers and inputs that none of them reads go."""
    read = {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in read]
    names = {tensor.name for tensor in initializers}
    inputs = [value for value in model.graph.input if value.name in read - names]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    model.ir_version = 4  # until then an initializer had to be an input too
    del model.graph.node[:], model.graph.initializer[:], model.graph.input[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(initializers)
    model.graph.input.extend(inputs)


def image(model: onnx.ModelProto, seed: int) -> np.ndarray:
    """A random input with mean 0 and deviation 1."""
    constants = {tensor.name for tensor in model.graph.initializer}
    (value,) = [value for value in model.graph.input if value.name not in constants]
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return np.random.default_rng(seed).standard_normal(shape, np.float32)
