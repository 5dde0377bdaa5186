"""A teacher of `prune_accuracy`, pruned by Torch-Pruning 1.6 with its defaults to a share of its MACs.

    python -m benchmarks.prune_accuracy_torch_pruning NAME TEACHER.onnx OUTPUT.onnx SHARE

Needs torch-pruning==1.6.0 on the path (pip install --no-deps --target .cache/torch-pruning-1.6 torch-pruning==1.6.0).
"""

from __future__ import annotations

import sys
from itertools import product

import torch
import torch_pruning
from torch import nn

from benchmarks.prune_accuracy_networks import INPUT, deployed, load, save
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


def pruned(name: str, teacher: str, ratio: float, across: bool) -> nn.Module:
    """The teacher without the share ``ratio`` of its channels, of every layer or ``across`` layers.

    The classifier keeps its classes.
    """
    network = deployed(name)
    load(network, teacher)
    uncut(network)
    network.requires_grad_(True)
    head = next(module for module in network.modules() if isinstance(module, nn.Linear))
    pruner = torch_pruning.pruner.BasePruner(
        network, torch.zeros(INPUT), torch_pruning.importance.GroupMagnitudeImportance(), pruning_ratio=ratio,
        ignored_layers=[head], global_pruning=across,
    )  # fmt: skip
    pruner.step()
    return network


def macs(network: nn.Module) -> int:
    """Multiply-accumulates of Conv2d and Linear for one image. Raises: RuntimeError, where the network does not run."""
    total = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d | nn.Linear):
            total += output.numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    network(torch.zeros(INPUT))
    for hook in hooks:
        hook.remove()
    return total


def main() -> None:
    name, teacher, output, share = sys.argv[1:]
    budget = float(share) * macs(deployed(name))
    fitting: dict[int, tuple[float, bool]] = {}
    for ratio, across in product(RATIOS, (False, True)):
        try:
            found = macs(pruned(name, teacher, ratio, across))
        except RuntimeError as error:
            print(f"{name}: pruning ratio {ratio}, global {across}: the pruned network does not run: {error}", file=sys.stderr)
            continue
        if found <= budget:
            fitting.setdefault(found, (ratio, across))
    best = max(fitting)
    ratio, across = fitting[best]
    left = best / budget * float(share)
    print(f"{name}: pruning ratio {ratio}, global {across}: {left:.1%} of the MACs stay", file=sys.stderr)
    save(pruned(name, teacher, ratio, across).requires_grad_(False), output)


if __name__ == "__main__":
    main()
