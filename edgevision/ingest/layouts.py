"""Whether an input holds an image, and where its channels are."""

from __future__ import annotations

from edgevision.ingest.graph import Graph
from edgevision.tensor import TensorSpec

CHANNELS_FIRST = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
                            "BatchNormalization", "InstanceNormalization", "ChannelShuffle",
                            "ChannelLayerNormalization", "DepthToSpace", "SpaceToDepth"})  # fmt: skip


def input_layout(spec: TensorSpec, graph: Graph) -> TensorSpec:
    """``spec`` with layout "NCHW" if a convolution or pool reads it, "NHWC" if they read it transposed, else as it is.

    Looks through operators that keep the shape, and Pad.
    """
    if len(spec.shape) != 4:
        return spec
    stack, seen = [spec.name], set[str]()
    while stack:
        tensor = stack.pop()
        for node in graph.readers(tensor):
            if node.op in CHANNELS_FIRST and node.inputs[0] == tensor:
                return spec._replace(layout="NCHW")
            if node.op == "Transpose" and node.attributes["perm"] == [0, 3, 1, 2]:
                return spec._replace(layout="NHWC")
            if node.output not in seen and (node.op == "Pad" or graph.shape(node.output) == spec.shape):
                seen.add(node.output)
                stack.append(node.output)
    return spec
