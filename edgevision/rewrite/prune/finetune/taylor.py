"""First-order Taylor importance: what the loss would change by if a filter were zero, to first order.

    score of a filter = sum over batches of sum over its weights |w * dL/dw|,   L = cross-entropy with the labels

Source: Molchanov et al., arXiv 1906.10771, equation 8, with the absolute value taken weight by weight.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import functional

from edgevision.rewrite.prune.cost import MULTIPLYING
from edgevision.rewrite.prune.finetune.torch_network import TorchNetwork
from edgevision.rewrite.prune.importance import Filters, Importance, Scores, rows
from edgevision.rewrite.prune.network import Array


def taylor(network: TorchNetwork, batches: Iterable[tuple[Array, Array]]) -> Importance:
    """An importance for the layers of ``network``.

    ``batches``: what the network takes ([N, ..] float32), and the labels [N]. BatchNormalizations use the statistics that
    they have.
    """
    network.eval()
    graph = network.network
    nodes = [node for node in graph.nodes if node.op in MULTIPLYING and graph.is_constant(node.inputs[1])]
    found: dict[str, Scores] = {}
    for images, labels in batches:
        network.zero_grad()
        loss = functional.cross_entropy(network(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()  # type: ignore[no-untyped-call]
        for node in nodes:
            weight = network.value(node.inputs[1])
            if weight.grad is not None:
                change = (weight.detach() * weight.grad).abs().double().numpy()
                found[node.name] = found.get(node.name, 0.0) + rows(node, change).sum(1)

    def score(filters: Filters) -> Scores:
        return found[filters.node]

    return score
