"""Latency at equal multiply-accumulates: pruned by edgevision, and by Torch-Pruning 1.6 with its defaults.

    PYTHONPATH=.cache/torch-pruning-1.6 python -m benchmarks.prune_peers_latency [--nice -20] [--threads 1] [NETWORK...]

Torch-Pruning prunes first, to at most half the MACs; edgevision then gets the MACs that it reached. Both networks are
compiled by edgevision and timed in turn with the unpruned one. Needs torch-pruning==1.6.0 on the path
(pip install --no-deps --target .cache/torch-pruning-1.6 torch-pruning==1.6.0).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
import torch_pruning
from torch import nn

from benchmarks.prune_latency import STARTS, Conditions, built
from edgevision import ingest
from edgevision.artifact import Artifact
from edgevision.counting import count
from edgevision.measure.interleaved import Turns, duel
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import inputs_for
from edgevision.model import Model
from edgevision.rewrite.prune import prune
from edgevision.zoo import building
from edgevision.zoo.exporting import to_onnx

NETWORKS = ("mobilenetv2-1.0", "repvgg-a0")
SHARE = 0.5
RATIOS = [step / 100 for step in range(20, 40, 2)]
"""Of the channels that go in every layer: about 1 - sqrt(SHARE)."""


def theirs(name: str) -> onnx.ModelProto:
    """The widest network of Torch-Pruning's within `SHARE` of the MACs."""
    whole = count(ingest.read(to_onnx(torch_network(name), name, 1)).proto).macs
    for ratio in RATIOS:
        network = torch_network(name).requires_grad_(True)
        head = next(module for module in network.modules() if isinstance(module, nn.Linear))
        torch_pruning.pruner.BasePruner(
            network, torch.zeros(1, 3, 224, 224), torch_pruning.importance.GroupMagnitudeImportance(p=1), pruning_ratio=ratio,
            ignored_layers=[head],
        ).step()  # fmt: skip
        proto = to_onnx(network.requires_grad_(False), name, 1)
        if count(ingest.read(proto).proto).macs <= SHARE * whole:
            return proto
    raise ValueError(f"{name}: no ratio up to {RATIOS[-1]} halves the MACs")


def torch_network(name: str) -> nn.Module:
    return building.build(name, "deploy", 0, None).eval()


def odd(proto: onnx.ModelProto) -> str:
    """Convolutions whose width 8 does not divide, of all."""
    kernels = {tensor.name: tensor.dims[0] for tensor in proto.graph.initializer if len(tensor.dims) == 4}
    widths = [kernels[node.input[1]] for node in proto.graph.node if node.op_type == "Conv"]
    return f"{sum(width % 8 != 0 for width in widths)} of {len(widths)}"


def ratio(model: Model, whole: Artifact, narrow: Artifact, how: Conditions) -> float:
    turns = Turns(starts=STARTS, nice=how.nice)
    return duel(whole, narrow, inputs_for(model.inputs, 1, 1)[0], turns, LocalDevice(threads=how.threads)).ratio


def rows(name: str, how: Conditions, folder: Path) -> Sequence[str]:
    model = ingest.read(to_onnx(torch_network(name), name, 1))
    peer = theirs(name)
    share = count(ingest.read(peer).proto).macs / count(model.proto).macs
    ours = prune(model.proto, share, measure="macs")
    whole = built(ingest.to_onnx(model.proto), folder / f"{name}-whole", how.threads)
    found = []
    for label, proto in (("Torch-Pruning 1.6", peer), ("edgevision", ingest.to_onnx(ours.proto))):
        narrow = built(proto, folder / f"{name}-{label[0]}", how.threads)
        macs = count(ingest.read(proto).proto).macs / count(model.proto).macs
        found.append(f"| {name} | {label} | {macs:.3f} | {odd(proto)} | {ratio(model, whole, narrow, how):.3f} |")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    how = Conditions(nice=given.nice, threads=given.threads, round_to=8)
    print("| network | pruned by | MACs | widths that 8 does not divide | time |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.networks:
            for line in rows(name, how, Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
