"""What the tuning logs gain: each network compiled without and with them, the two artifacts timed in turn.

    python -m benchmarks.tuned --tuning-logs tuning_logs mobilenetv2-1.0 ghostnet-1.0

A ratio below 1 says how much of its time the untuned network needs when it is tuned. Measured, on this machine.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from edgevision import ingest
from edgevision.artifact import Artifact
from edgevision.measure.interleaved import Duel, Turns, duel
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import inputs_for
from edgevision.outcome import coverage
from edgevision.pipeline import Options, compile_model

SEED = 0


def compiled(source: str, folder: Path, logs: Path | None, target: str) -> Artifact:
    options = Options(
        output=folder, verify=False, measure=False, shipped_logs=False, tuning_logs=() if logs is None else (logs,)
    )
    return compile_model(source, [target], options).outcomes[0].artifact


def compare(name: str, logs: Path, threads: int, turns: Turns, target: str) -> tuple[Duel, dict[str, int]]:
    """The untuned artifact is the first, the tuned one the second; how many operators of that run which schedule."""
    source = name if name.endswith(".onnx") else f"zoo:{name}"
    with tempfile.TemporaryDirectory() as scratch:
        plain = compiled(source, Path(scratch) / "untuned", None, target)
        tuned = compiled(source, Path(scratch) / "tuned", logs, target)
        inputs = inputs_for(ingest.read(source).inputs, SEED, 1)[0]
        return duel(plain, tuned, inputs, turns, LocalDevice(threads=threads)), coverage(tuned.steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", help="names of the zoo, or .onnx files")
    parser.add_argument("--tuning-logs", type=Path, default=Path("tuning_logs"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--target", default="native")
    parser.add_argument("--starts", type=int, default=5, help="processes, one after the other")
    parser.add_argument("--nice", type=int, default=0, help="priority of what is timed; below 0 needs root")
    given = parser.parse_args()
    print("| network | threads | untuned ms | tuned ms | ratio | quiet rounds | schedules |")
    print("|---|---|---|---|---|---|---|")
    turns = Turns(starts=given.starts, nice=given.nice)
    for name in given.networks:
        found, kinds = compare(name, given.tuning_logs, given.threads, turns, given.target)
        schedules = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        print(
            f"| {Path(name).stem if name.endswith('.onnx') else name} | {given.threads} | {found.first_ms:.2f} | "
            f"{found.second_ms:.2f} | {found.ratio:.3f} | {found.quiet}/{found.rounds} | {schedules} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
