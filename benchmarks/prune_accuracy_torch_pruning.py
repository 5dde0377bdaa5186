"""A teacher of `prune_accuracy`, pruned by Torch-Pruning 1.6 with its defaults to a share of its MACs.

    python -m benchmarks.prune_accuracy_torch_pruning NAME TEACHER.onnx OUTPUT.onnx SHARE

Needs torch-pruning==1.6.0 on the path (pip install --no-deps --target .cache/torch-pruning-1.6 torch-pruning==1.6.0).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
import torch_pruning
from torch import nn

from benchmarks.prune_accuracy_networks import INPUT, deployed, load, save
from edgevision import ingest
from edgevision.counting import count
from edgevision.zoo.ghostnet import Ghost


class Uncut(nn.Module):
    """A ghost module without its last step, which cuts to an even width that the maps already have.

    Torch-Pruning does not follow that slice: the pruned network then fails in its first depthwise convolution.
    """

    def __init__(self, ghost: Ghost) -> None:
        super().__init__()
        self.primary, self.cheap = ghost.primary, ghost.cheap

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] -> [N, O, H, W]."""
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], 1)


def uncut(module: nn.Module) -> None:
    """Every ghost module inside, in place."""
    for name, child in module.named_children():
        if isinstance(child, Ghost):
            setattr(module, name, Uncut(child))
        else:
            uncut(child)


RATIOS = [step / 100 for step in range(2, 70)]
"""Pruning ratios that are tried: its own unit is the share of the channels that go, not of the MACs."""


def pruned(name: str, teacher: str, ratio: float) -> nn.Module:
    """The teacher without the share ``ratio`` of the channels of every layer; the classifier keeps its classes."""
    network = deployed(name)
    load(network, teacher)
    uncut(network)
    network.requires_grad_(True)
    head = next(module for module in network.modules() if isinstance(module, nn.Linear))
    pruner = torch_pruning.pruner.BasePruner(
        network, torch.zeros(INPUT), torch_pruning.importance.GroupMagnitudeImportance(), pruning_ratio=ratio,
        ignored_layers=[head],
    )  # fmt: skip
    pruner.step()
    return network


def main() -> None:
    name, teacher, output, share = sys.argv[1:]
    budget = float(share) * count(ingest.read(teacher).proto).macs
    fitting: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        candidate = str(Path(folder) / "candidate.onnx")
        for ratio in RATIOS:
            try:
                save(pruned(name, teacher, ratio).requires_grad_(False), candidate)
            except RuntimeError as error:
                print(f"{name}: with pruning ratio {ratio} the pruned network does not run: {error}", file=sys.stderr)
                continue
            macs = count(ingest.read(candidate).proto).macs
            if macs <= budget:
                fitting.setdefault(macs, ratio)
    best = max(fitting)
    save(pruned(name, teacher, fitting[best]).requires_grad_(False), output)


if __name__ == "__main__":
    main()
