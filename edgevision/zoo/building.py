"""Name, form and seed (or weights) to a torch module, and on to an ONNX file. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import nn

from edgevision.zoo.exporting import to_onnx
from edgevision.zoo.folding import deploy
from edgevision.zoo.networks import NETWORKS
from edgevision.zoo.seeding import seed_weights
from edgevision.zoo.weights import load_weights


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one thread while open: beside other programs its threads spin while they wait for each other.

    Measured with both cores of a machine busy: MobileNet V3 small exported in 18 s on two threads, in 1 s on one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def skeleton(name: str, form: str) -> nn.Module:
    """The network without values, on torch's meta device: for counting."""
    with torch.device("meta"):
        network = NETWORKS[name]().eval()
    return network if form == "train" else deploy(network)


def build(name: str, form: str, seed: int, weights: Path | None) -> nn.Module:
    """The network in eval mode, float32, no gradients."""
    network = skeleton(name, "train").to_empty(device="cpu").requires_grad_(False)
    for key, buffer in network.named_buffers():
        if key.endswith("num_batches_tracked"):
            buffer.zero_()
    if weights is None:
        with _one_thread():
            seed_weights(network, name, seed)
    else:
        load_weights(network, name, weights)
    return network if form == "train" else deploy(network)


def export(name: str, form: str, seed: int, weights: Path | None, batch: int) -> onnx.ModelProto:
    """The network as an ONNX model."""
    network = build(name, form, seed, weights)
    with _one_thread():
        return to_onnx(network, name, batch)
