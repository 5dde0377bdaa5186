"""Channel shuffle (ShuffleNet, arXiv 1707.01083) from its Reshape, Transpose, Reshape."""

from __future__ import annotations

from edgevision.ingest.graph import Graph, Node
from edgevision.ingest.normalise.algebra import escape
from edgevision.ingest.normalise.rule import Refusal, Rule
from edgevision.ingest.spelling.moved import EDGEVISION_DOMAIN


def channel_shuffle(graph: Graph, node: Node) -> bool | Refusal:
    """[N, C, H, W] -> [N, g, C / g, H, W] -> axes 1, 2 swapped -> [N, C, H, W]: ChannelShuffle with groups = g."""
    transpose = graph.producer(node.inputs[0], "Transpose")
    split = graph.producer(transpose.inputs[0], "Reshape") if transpose else None
    if transpose is None or split is None:
        return False
    before, middle, after = graph.shape(split.inputs[0]), graph.shape(split.output), graph.shape(node.output)
    perm = transpose.attributes["perm"]
    if len(before) != 4 or before != after or perm != [0, 2, 1, *range(3, len(middle))]:
        return False
    if middle[0] != before[0] or middle[1] * middle[2] != before[1]:
        return False
    outside = escape(graph, node, [transpose, split])
    if outside:
        return Refusal(reason=outside)
    graph.replace(node, "ChannelShuffle", split.inputs, {"groups": middle[1]}, domain=EDGEVISION_DOMAIN)
    return True


CHANNEL_SHUFFLE = Rule(name="channel-shuffle", anchors=("Reshape",), apply=channel_shuffle)
