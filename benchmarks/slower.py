"""A network that does a bit more: the honest way to a slower candidate."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper, shape_inference
from onnx.helper import make_node


def with_branch(model: ModelProto, channels: int, at: float = 0.4) -> ModelProto:
    """y -> y + conv1x1(relu(conv1x1(y))) with ``channels`` between the two, after the Relu that lies ``at`` of the way into the
    network and has an image of more than one pixel. A branch that no exact rewriting merges."""
    slower = onnx.ModelProto()
    slower.CopyFrom(model)
    graph = slower.graph
    values = shape_inference.infer_shapes(slower).graph.value_info
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    images = [n for n in graph.node if n.op_type == "Relu" and len(s := shapes.get(n.output[0], [])) == 4 and s[2] * s[3] > 1]
    node = images[int(at * len(images))]
    name = node.output[0]
    wide = shapes[name][1]
    random = np.random.default_rng(0)
    for weight, shape in (("branch.in", (channels, wide, 1, 1)), ("branch.out", (wide, channels, 1, 1))):
        values_ = random.normal(scale=shape[1] ** -0.5, size=shape).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values_, weight))
    node.output[0] = "branch.y"
    place = list(graph.node).index(node) + 1
    added = [
        make_node("Conv", ["branch.y", "branch.in"], ["branch.hidden"]),
        make_node("Relu", ["branch.hidden"], ["branch.relu"]),
        make_node("Conv", ["branch.relu", "branch.out"], ["branch.add"]),
        make_node("Add", ["branch.y", "branch.add"], [name]),
    ]
    for offset, each in enumerate(added):
        graph.node.insert(place + offset, each)
    return slower
