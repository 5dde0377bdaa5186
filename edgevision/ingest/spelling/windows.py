"""Conv, ConvTranspose and the pools with every attribute of their window written out and auto_pad resolved."""

from __future__ import annotations

from edgevision.ingest.graph import Graph, Node


def conv(graph: Graph, node: Node, opset: int) -> None:
    """kernel_shape from W; strides, dilations, group and pads in full."""
    del opset
    kernel = list(graph.shape(node.inputs[1])[2:])
    node.attributes["kernel_shape"] = kernel
    _window(graph, node, kernel)


def pool(graph: Graph, node: Node, opset: int) -> None:
    """Strides, dilations and pads in full."""
    del opset
    _window(graph, node, node.attributes["kernel_shape"])


def conv_transpose(graph: Graph, node: Node, opset: int) -> None:
    """pads and output_padding such that in each axis

    out = stride (in - 1) + output_padding + dilation (kernel - 1) + 1 - pad_begin - pad_end.

    An output_shape splits the total padding as the ONNX page says: SAME_UPPER puts the odd one at the end, everything
    else at the beginning (ONNX ConvTranspose, from opset 11). Padding that would be negative becomes output_padding.
    """
    del opset
    kernel = list(graph.shape(node.inputs[1])[2:])
    rank = len(kernel)
    a = node.attributes
    a["kernel_shape"] = kernel
    strides, dilations = a.setdefault("strides", [1] * rank), a.setdefault("dilations", [1] * rank)
    extra = list(a.get("output_padding") or [0] * rank)
    mode = a.pop("auto_pad", "NOTSET")
    if "output_shape" in a or mode.startswith("SAME"):
        a.pop("output_shape", None)
        extents, results = graph.shape(node.inputs[0])[2:], graph.shape(node.output)[2:]
        begins, ends = [], []
        for axis in range(rank):
            full = strides[axis] * (extents[axis] - 1) + extra[axis] + dilations[axis] * (kernel[axis] - 1) + 1
            total = full - results[axis]
            extra[axis] += max(-total, 0)
            total = max(total, 0)
            begins.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
            ends.append(total - begins[-1])
        a["pads"] = begins + ends
    elif mode == "VALID":
        a["pads"] = [0] * (2 * rank)
    a.setdefault("pads", [0] * (2 * rank))
    a["output_padding"] = extra


def _window(graph: Graph, node: Node, kernel: list[int]) -> None:
    rank = len(kernel)
    a = node.attributes
    strides, dilations = a.setdefault("strides", [1] * rank), a.setdefault("dilations", [1] * rank)
    mode = a.pop("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        begins, ends = [], []
        for axis, extent in enumerate(graph.shape(node.inputs[0])[2:]):
            reach = dilations[axis] * (kernel[axis] - 1) + 1
            total = max((-(-extent // strides[axis]) - 1) * strides[axis] + reach - extent, 0)
            small = total // 2
            begins.append(small if mode == "SAME_UPPER" else total - small)
            ends.append(total - begins[-1])
        a["pads"] = begins + ends
    elif mode == "VALID":
        a["pads"] = [0] * (2 * rank)
    a.setdefault("pads", [0] * (2 * rank))


SPELLINGS = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": pool,
    "AveragePool": pool,
    "LpPool": pool,
}
