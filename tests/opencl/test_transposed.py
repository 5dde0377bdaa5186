"""Transposed convolutions by constant kernels: what stands in front of their products is no border of zeros."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import executor
from tests.opencl import device

CASES = {  # strides, kernel, pads, output padding
    "stride 1": (1, 3, (1, 1, 1, 1), 0),
    "stride 1, no pads": (1, 3, (0, 0, 0, 0), 0),
    "stride 1, other borders": (1, 3, (0, 1, 2, 0), 0),
    "stride 1, cropped": (1, 3, (2, 1, 3, 0), 0),
    "moved by crops": (1, 3, (1, 1, 3, 3), 0),
    "stride 2": (2, 3, (1, 1, 1, 1), 1),
    "kernel of the stride": (2, 2, (0, 0, 0, 0), 0),
    "kernel of twice the stride": (2, 4, (1, 1, 1, 1), 0),
}


def network(stride: int, kernel: int, pads: tuple[int, ...], more: int, channels: int = 16, size: int = 10) -> onnx.ModelProto:
    weights = np.random.default_rng(0).standard_normal((channels, channels, kernel, kernel)).astype(np.float32)
    node = helper.make_node(
        "ConvTranspose", ["x", "w"], ["y"], strides=[stride] * 2, pads=pads, kernel_shape=[kernel] * 2, output_padding=[more] * 2
    )  # fmt: skip
    data = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, size, size])
    graph = helper.make_graph([node], "net", [data], [onnx.ValueInfoProto(name="y")], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    model = network(*request.param)
    image = np.random.default_rng(1).standard_normal((1, 16, 10, 10)).astype(np.float32)
    return model, image, executor.onnxruntime_outputs(model, [image])[0]


def test_on_the_cpu(case):
    model, image, expected = case
    (found,) = executor.run(model, [image])
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_on_the_device(case, pocl):
    model, image, expected = case
    (found,) = device.run(model, [image])
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
