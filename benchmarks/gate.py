"""How often the gate is wrong: trials on this machine, and a simulation with the noise that these recorded.

    python -m benchmarks.gate trials --folder DIR [--count 300]     continues where it was stopped
    python -m benchmarks.gate simulate --folder DIR
    python -m benchmarks.gate table --folder DIR

A trial is one whole gate: baseline against candidate, at most two minutes. In every second one the candidate is the baseline's
own code in a file of its own; in the others it is the network with a residual branch more, as wide as makes it 5 % slower here.
Each trial's figures are one line of DIR/trials.jsonl: what was decided, how long it took, and the median of every process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from pathlib import Path
from statistics import mean, median
from typing import Any

import onnx

from benchmarks.slower import with_branch
from edgevision.artifact import Artifact
from edgevision.bout import Block, Bout, Start
from edgevision.measure.bout import Plan, alternate
from edgevision.measure.local_transport import LocalTransport
from edgevision.measure.transport import LostDeviceError
from edgevision.pipeline import Options, compile_model
from edgevision.report import signed_rank
from edgevision.report.gate import Gate, Terms
from edgevision.report.manifest import artifact_of

SLOWER = 0.05
NETWORK = "zoo:ghostnet-1.0"
STEP_CHANNELS = 16
CALIBRATION_S = 45.0
SIMULATED = 1000
SHIFTS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A candidate's name, and the artifact."""

    kind: str
    artifact: Artifact


# --- trials -----------------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> tuple[Artifact, tuple[Pair, Pair]]:
    """The baseline, its copy, and the slower one: compiled and calibrated once, then found in ``folder``."""
    baseline = compiled(folder, NETWORK, "baseline")
    copy = folder / "copy-bench"
    if not copy.is_file():
        shutil.copy(baseline.bench, copy)
        with copy.open("ab") as file:
            file.write(b"\0")
    slower = folder / "slower"
    if not (slower / "slower.so").is_file():
        calibrated(folder, baseline).rename(slower)
    same = Pair(kind="A/A", artifact=replace(baseline, bench=copy))
    return baseline, (same, Pair(kind="A/B", artifact=artifact_of(slower / "slower.so")))


def compiled(folder: Path, source: Any, name: str) -> Artifact:
    place = folder / name
    if not place.is_dir():
        compile_model(source, ("native",), Options(output=place, measure=False))
    return artifact_of(next(place.glob("*.so")))


def calibrated(folder: Path, baseline: Artifact) -> Path:
    """The folder of a network that takes `SLOWER` longer: hidden channels are added until it does, then the two widths around
    it are compared."""
    model = onnx.load(baseline.model)
    found: dict[int, float] = {}
    channels = 6 * STEP_CHANNELS
    while channels not in found and len(found) < 6:
        place = folder / f"branch-{channels}" / "slower"
        path = place.parent / "slower.onnx"
        path.parent.mkdir(exist_ok=True)
        onnx.save(with_branch(model, channels), path)
        found[channels] = ratio(baseline, compiled(place.parent, str(path), "slower"))
        print(f"{channels} more channels: {found[channels]:+.4f}", flush=True)
        channels = max(1, round(channels * SLOWER / max(found[channels], 0.01) / STEP_CHANNELS)) * STEP_CHANNELS
    best = min(found, key=lambda each: abs(found[each] - SLOWER))
    return folder / f"branch-{best}" / "slower"


def ratio(baseline: Artifact, candidate: Artifact) -> float:
    """candidate / baseline - 1, from all blocks of `CALIBRATION_S`."""
    gate = Gate(terms=Terms(limit_s=CALIBRATION_S))

    def enough(blocks: Sequence[Block], elapsed_s: float, throttled: str) -> bool:
        gate.look(blocks, elapsed_s, throttled)
        return elapsed_s >= CALIBRATION_S

    alternate(machine(baseline.path.parent), baseline, candidate, Plan(limit_s=CALIBRATION_S), enough)
    return gate.checks[0].measured or 0.0


def trials(folder: Path, count: int) -> None:
    """Goes on until ``folder`` has ``count`` trials. A trial's number is its seed."""
    baseline, pairs = prepare(folder)
    log = folder / "trials.jsonl"
    for number in range(len(recorded(log)), count):
        pair = pairs[number % 2]
        load = os.getloadavg()[0]
        line = {"kind": pair.kind, "load": load, **trial(machine(folder), baseline, pair.artifact, number)}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{number} {pair.kind} {line['decision']} {line['seconds']:.0f} s: {line['reason']}", flush=True)


def machine(folder: Path) -> LocalTransport:
    """This machine, under a lock and in a folder of its own: whoever else measures here is part of the noise, and need not wait."""
    return LocalTransport(folder=folder.absolute() / "device", lock=str(folder.absolute() / "lock"))


def trial(transport: LocalTransport, baseline: Artifact, candidate: Artifact, seed: int) -> dict[str, Any]:
    gate = Gate(terms=Terms())
    try:
        bout = alternate(transport, baseline, candidate, Plan(seed=seed), gate.look)
    except LostDeviceError as error:
        return {"decision": "LOST", "seconds": 0.0, "reason": str(error), "blocks": []}
    return {
        "decision": gate.checks[0].decision, "seconds": round(bout.seconds, 2), "reason": gate.checks[0].reason,
        "blocks": blocks_entry(bout),
    }  # fmt: skip


def blocks_entry(bout: Bout) -> list[list[list[Any]]]:
    return [[[s.side, round(s.ns), round(s.waiting, 4)] for s in block.starts] for block in bout.blocks]


def recorded(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []


# --- simulation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    decision: str
    seconds: float


def simulate(lines: Sequence[dict[str, Any]], shift: float, seed: int, plan: Plan | None = None) -> Simulated:
    """A gate on blocks that were recorded between the baseline and its copy, in the order they were recorded, from a random one on;
    which side is the candidate is tossed anew for each, and the candidate takes ``1 + shift`` times as long."""
    plan, random_ = plan or Plan(), random.Random(seed)
    gate = Gate(terms=Terms())
    source = stream(lines, random_)
    blocks: list[Block] = []
    elapsed_s, wanted = START_S, 1
    while True:
        late = False
        for block, took_s in islice(source, wanted):
            late = elapsed_s + took_s > plan.limit_s
            if late:
                break
            elapsed_s += took_s
            blocks.append(shifted(block, shift, swapped=random_.random() < 0.5))
        if gate.look(blocks, plan.limit_s if late else elapsed_s):
            return Simulated(decision=gate.checks[0].decision, seconds=elapsed_s)
        wanted = plan.first - 1 if len(blocks) == 1 else max(1, round(len(blocks) * (plan.growth - 1)))


START_S = 1.5
"""For the session, the two files and the two profiles, as measured on this machine."""


def stream(lines: Sequence[dict[str, Any]], random_: random.Random) -> Iterator[tuple[list[list[Any]], float]]:
    at = random_.randrange(len(lines))
    first = random_.randrange(len(lines[at]["blocks"]))
    while True:
        blocks = lines[at % len(lines)]["blocks"]
        for block in blocks[first:]:
            yield block, (lines[at % len(lines)]["seconds"] - START_S) / len(blocks)
        at, first = at + 1, 0


def shifted(block: list[list[Any]], shift: float, *, swapped: bool) -> Block:
    starts = []
    for side, ns, _ in block:
        candidate = (side == "B") != swapped
        took = round(ns * (1 + shift)) if candidate else ns
        starts.append(Start(side="B" if candidate else "A", threads=1, samples_ns=(took,), elapsed_ns=took))
    return Block(starts=tuple(starts))


# --- tables -----------------------------------------------------------------------------------------------------------


def table(lines: Sequence[dict[str, Any]]) -> str:
    """What the trials decided, in Markdown."""
    rows = ["| trials | number | PASS | FAIL | INCONCLUSIVE | measured, all blocks | median time | longest |", "|" + "---|" * 8]
    for kind in ("A/A", "A/B"):
        these = [line for line in lines if line["kind"] == kind]
        counted = [sum(line["decision"] == d for line in these) for d in ("PASS", "FAIL", "INCONCLUSIVE")]
        values = [shifted(block, 0.0, swapped=False).log_ratio for line in these for block in line["blocks"]]
        seconds = sorted(line["seconds"] for line in these)
        shares = " | ".join(f"{each} ({each / len(these):.1%})" for each in counted)
        rows.append(
            f"| {kind} | {len(these)} | {shares} | {pooled(values)} | {median(seconds):.0f} s | {seconds[-1]:.0f} s |"
        )
    loads = [line["load"] for line in lines]
    return "\n".join([*rows, "", f"Load average while they ran: {min(loads):.1f} to {max(loads):.1f}, mean {mean(loads):.1f}."])


def pooled(values: Sequence[float], part: int = 2000) -> str:
    """The mean of the centres of parts of all blocks: the pairs of tens of thousands do not fit into memory."""
    size = ceil(len(values) / ceil(len(values) / part))
    return f"{mean(signed_rank.centre(values[at : at + size]) for at in range(0, len(values), size)):+.2%}"


def simulation_table(lines: Sequence[dict[str, Any]]) -> str:
    same = [line for line in lines if line["kind"] == "A/A" and line["blocks"]]
    rows = ["| truly slower by | PASS | FAIL | INCONCLUSIVE | median time | 95 % within |", "|" + "---|" * 6]
    for shift in SHIFTS:
        found = [simulate(same, shift, seed) for seed in range(SIMULATED)]
        shares = " | ".join(f"{mean(f.decision == d for f in found):.1%}" for d in ("PASS", "FAIL", "INCONCLUSIVE"))
        seconds = sorted(f.seconds for f in found)
        rows.append(f"| {shift:.0%} | {shares} | {median(seconds):.0f} s | {seconds[int(0.95 * len(seconds))]:.0f} s |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("trials", "simulate", "table"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.what == "trials":
        trials(given.folder, given.count)
    else:
        lines = recorded(given.folder / "trials.jsonl")
        print(simulation_table(lines) if given.what == "simulate" else table(lines))


if __name__ == "__main__":
    main()
