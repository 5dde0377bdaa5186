"""What `edgevision prune --latency` reaches: networks pruned to shares of their time, then timed once more.

python -m benchmarks.prune_latency [--nice -20] [--threads 1] [--shares 0.75,0.5,0.35] [NETWORK...] prints the table of
docs/prune.md. "reached" comes from fresh processes that run the artifacts of `edgevision compile`, unpruned and pruned in
turn, not from the search.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgevision import ingest, zoo
from edgevision.artifact import Artifact
from edgevision.counting import count
from edgevision.errors import EdgevisionError
from edgevision.measure.interleaved import Turns, duel
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import inputs_for
from edgevision.model import Model
from edgevision.pipeline import Options, compile_model
from edgevision.rewrite.prune.ladder import LEAST_KEPT
from edgevision.rewrite.prune.latency import Timed, prune_to_latency
from edgevision.rewrite.prune.pruning import planned
from edgevision.timing import InterleavedTimer

NETWORKS = ("mobilenetv2-1.0", "ghostnet-1.0", "repvgg-a0")
SHARES = (0.75, 0.5, 0.35)
STARTS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How everything is timed, and to what widths are rounded."""

    nice: int
    threads: int
    round_to: int


def built(proto: onnx.ModelProto, folder: Path, threads: int) -> Artifact:
    options = Options(output=folder, measure=False, threads=threads)
    return compile_model(proto, ["native"], options).outcomes[0].artifact


def rows(name: str, shares: list[float], how: Conditions, folder: Path) -> Iterator[str]:
    model = ingest.read(zoo.export(name, folder / f"{name}.onnx", form="deploy"))
    plan = planned(
        model.proto, importance="l1", scope="global", round_to=how.round_to, frozen=(), least_kept=LEAST_KEPT, scales=None
    )
    whole = built(ingest.to_onnx(model.proto), folder / f"{name}-whole", how.threads)
    with InterleavedTimer(model, "native", turns=Turns(nice=how.nice), threads=how.threads) as timer:
        full_ms = timer(model.proto).ms
        for share in shares:
            started = time.monotonic()
            try:
                found = prune_to_latency(plan, share * full_ms, timer)
            except EdgevisionError as error:
                yield f"| {name} | {share:.2f} | {error} |"
                continue
            seconds = time.monotonic() - started
            narrow = built(ingest.to_onnx(found.pruned.proto), folder / f"{name}-{share}", how.threads)
            yield row(name, model, share, found, seconds, ratio(model, whole, narrow, how))


def ratio(model: Model, whole: Artifact, narrow: Artifact, how: Conditions) -> float:
    turns = Turns(starts=STARTS, nice=how.nice)
    return duel(whole, narrow, inputs_for(model.inputs, 1, 1)[0], turns, LocalDevice(threads=how.threads)).ratio


def row(name: str, model: Model, share: float, found: Timed, seconds: float, reached: float) -> str:
    macs = count(found.pruned.proto).macs / count(model.proto).macs
    return (f"| {name} | {found.full_ms:.2f} ms | {share:.2f} | {found.modelled_ms / found.full_ms:.3f} "
            f"| {found.achieved_ms / found.full_ms:.3f} | {reached:.3f} | {reached / share:.3f} | {macs:.3f} "
            f"| {found.candidates} | {seconds:.0f} s |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--round-to", type=int, default=8)
    parser.add_argument("--shares", default=",".join(map(str, SHARES)))
    given = parser.parse_args()
    how = Conditions(nice=given.nice, threads=given.threads, round_to=given.round_to)
    print("| network | unpruned | asked | model | search | reached | of the budget | MACs | candidates | search took |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.networks:
            for line in rows(name, [float(share) for share in given.shares.split(",")], how, Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
