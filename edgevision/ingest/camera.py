"""Fold a camera's preprocessing into a network, so that its artifact takes pixels as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.errors import InputError
from edgevision.ingest.proto_types import value_proto
from edgevision.ingest.spelling.write import attribute_proto
from edgevision.model import Camera, Model
from edgevision.tensor import TensorSpec

LAYOUTS = ("NCHW", "NHWC")
DTYPES = ("float32", "uint8")
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def fold_camera(
    model: Model,
    *,
    input_layout: str = "NCHW",
    input_dtype: str = "float32",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Model:
    """``model`` taking its image in another layout and type: y = (float(x) - mean) / std, then the network.

    ``mean`` and ``std`` hold one value a channel, or one for all, in units of the pixel as it arrives (0 to 255 for
    uint8); empty means 0 and 1. One float32 subtraction and one division an element, as numpy does them. Raises
    InputError.
    """
    spec = _image(model)
    layout, dtype = input_layout.upper(), input_dtype.lower()
    if layout not in LAYOUTS or dtype not in DTYPES:
        wrong, known = (input_layout, LAYOUTS) if layout not in LAYOUTS else (input_dtype, DTYPES)
        raise InputError(f"a camera cannot deliver {wrong!r}; choose from {', '.join(known).lower()}")
    own_layout = spec.layout or "NCHW"
    channels = spec.shape[1 if own_layout == "NCHW" else 3]
    camera = Camera(
        input=spec.name,
        layout=layout,
        dtype=dtype,
        mean=_per_channel("mean", mean, 0.0, channels),
        std=_per_channel("std", std, 1.0, channels),
        original_layout=own_layout,
    )
    perm = [0, 1, 2, 3] if layout == own_layout else TO_LAST if layout == "NHWC" else TO_FIRST
    pixels = TensorSpec(name=spec.name, shape=tuple(spec.shape[axis] for axis in perm), dtype=dtype, layout=layout)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    _prepend(proto, spec, pixels, camera)
    inputs = tuple(pixels if own.name == spec.name else own for own in model.inputs)
    return replace(model, proto=proto, inputs=inputs, camera=camera)


def _image(model: Model) -> TensorSpec:
    images = [spec for spec in model.inputs if len(spec.shape) == 4 and spec.dtype == "float32"]
    if model.camera is not None or len(images) != 1:
        found = "a camera already" if model.camera is not None else f"{len(images)} float32 inputs of four dimensions"
        raise InputError(
            f"{model.name} has {found}; --input-layout, --input-dtype, --mean and --std need exactly one image input"
        )
    return images[0]


def _per_channel(option: str, values: Sequence[float], default: float, channels: int) -> tuple[float, ...]:
    full = tuple(map(float, values)) or (default,)
    full = full * channels if len(full) == 1 else full
    if len(full) != channels:
        raise InputError(
            f"--{option} has {len(full)} values, but the image has {channels} channels; give {channels}, or one for all"
        )
    if not all(np.isfinite(full)) or (option == "std" and 0 in full):
        raise InputError(
            f"--{option} {','.join(map(str, values))}: every value must be finite"
            f"{', and not 0' if option == 'std' else ''}"
        )
    return full


def _prepend(proto: onnx.ModelProto, spec: TensorSpec, pixels: TensorSpec, camera: Camera) -> None:
    """Cast, Transpose, Sub, Div in front of all that reads the image, but those that would change nothing."""
    graph = proto.graph
    column = (-1, 1, 1) if camera.original_layout == "NCHW" else (-1,)
    perm = TO_FIRST if camera.original_layout == "NCHW" else TO_LAST
    steps: list[tuple[str, dict[str, object], tuple[float, ...]]] = []
    if pixels.dtype != "float32":
        steps.append(("Cast", {"to": onnx.TensorProto.FLOAT, "saturate": 1}, ()))
    if pixels.layout != camera.original_layout:
        steps.append(("Transpose", {"perm": perm}, ()))
    steps += [("Sub", {}, camera.mean)] if any(camera.mean) else []
    steps += [("Div", {}, camera.std)] if any(value != 1.0 for value in camera.std) else []
    if not steps:
        return
    nodes, tensor, shape = [], spec.name, pixels.shape
    for op, attributes, constant in steps:
        output = f"{spec.name}/camera/{op}"
        inputs = [tensor]
        if constant:
            inputs.append(f"{output}/constant")
            graph.initializer.append(numpy_helper.from_array(np.array(constant, np.float32).reshape(column), inputs[1]))
        nodes.append(helper.make_node(op, inputs, [output], name=output))
        nodes[-1].attribute.extend(attribute_proto(key, value) for key, value in sorted(attributes.items()))
        shape = spec.shape if op == "Transpose" else shape
        graph.value_info.append(value_proto(TensorSpec(name=output, shape=shape)))
        tensor = output
    for node in graph.node:
        node.input[:] = [tensor if name == spec.name else name for name in node.input]
    rest = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    for value in graph.input:
        if value.name == spec.name:
            value.CopyFrom(value_proto(pixels))
