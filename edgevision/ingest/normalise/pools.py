"""Pools over the whole image, and zero padding in front of a convolution."""

from __future__ import annotations

from edgevision.ingest.graph import Graph, Node
from edgevision.ingest.normalise.algebra import escape
from edgevision.ingest.normalise.rule import Refusal, Rule

GLOBAL = {
    "ReduceMean": "GlobalAveragePool",
    "ReduceMax": "GlobalMaxPool",
    "AveragePool": "GlobalAveragePool",
    "MaxPool": "GlobalMaxPool",
}


def global_reduction(graph: Graph, node: Node) -> bool:
    """ReduceMean, ReduceMax over the pixels of [N, C, H, W] -> GlobalAveragePool, GlobalMaxPool (and a Reshape)."""
    shape = graph.shape(node.inputs[0])
    if len(shape) != 4 or node.attributes["axes"] != [2, 3]:
        return False
    if node.attributes["keepdims"]:
        graph.replace(node, GLOBAL[node.op], node.inputs)
        return True
    pooled = graph.add(GLOBAL[node.op], node.inputs, (*shape[:2], 1, 1), at=node)
    graph.replace(node, "Reshape", [pooled], {"shape": list(shape[:2])})
    return True


def global_window(graph: Graph, node: Node) -> bool:
    """A pool whose only window is the image -> GlobalAveragePool, GlobalMaxPool."""
    a, shape = node.attributes, graph.shape(node.inputs[0])
    is_whole = tuple(a["kernel_shape"]) == shape[2:] and not any(a["pads"])
    if len(node.outputs) > 1 or len(shape) != 4 or not is_whole:
        return False
    graph.replace(node, GLOBAL[node.op], node.inputs)
    return True


def pad_into_conv(graph: Graph, node: Node) -> bool | Refusal:
    """Conv(Pad(x, zeros around the image)) -> Conv with larger pads."""
    pad = graph.producer(node.inputs[0], "Pad")
    if pad is None:
        return False
    if pad.attributes.get("mode", "constant") != "constant" or pad.attributes["value"] != 0:
        return Refusal(reason=f"Pad {pad.name!r} does not pad with zeros")
    pads, rank = pad.attributes["pads"], len(graph.shape(node.output))
    if any(pads[axis] or pads[rank + axis] for axis in (0, 1)):
        return Refusal(reason=f"Pad {pad.name!r} pads batch or channels")
    outside = escape(graph, node, [pad])
    if outside:
        return Refusal(reason=outside)
    more = pads[2:rank] + pads[rank + 2 :]
    node.attributes["pads"] = [own + extra for own, extra in zip(node.attributes["pads"], more, strict=True)]
    graph.set_inputs(node, [pad.inputs[0], *node.inputs[1:]])
    return True


GLOBAL_REDUCTION = Rule(name="global-pool", anchors=("ReduceMean", "ReduceMax"), apply=global_reduction)
GLOBAL_WINDOW = Rule(name="global-pool-window", anchors=("AveragePool", "MaxPool"), apply=global_window)
PAD_INTO_CONV = Rule(name="pad-into-conv", anchors=("Conv",), apply=pad_into_conv)
