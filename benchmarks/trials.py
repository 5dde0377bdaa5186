"""Trials per second of `edgevision tune` beside those of TVM's own tuner with its LocalBuilder and LocalRunner.

    python -m benchmarks.trials --seconds 60 mobilenetv2-1.0

Both search one network on this machine, one after the other, each for as long, TVM's as its own ONNX reader lowers it. A trial
is a candidate that was measured and gave a time. TVM's database says late which did: there all count that were built and sent to
the runner, also those that it is still busy with; what its builder gave up on, or had in hand, failed.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from edgevision import ingest, target
from edgevision.lower.phases import lower
from edgevision.tune.network import tune_program
from edgevision.tune.options import Options
from edgevision.tune.state import Budget
from edgevision.tuning_log import FILE, folder_name, read

STOCK = "stock"


def ours(source: str, seconds: float) -> str:
    """Of a run from an empty log, defaults and start included."""
    network, native = lower(ingest.read(source)), target.load("native")
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        tune_program(
            network, native, Path(folder), Options(budget=Budget(seconds=seconds)), lambda _: None, Path(source).stem
        )
        took = time.monotonic() - began
        outcomes = Counter(r.outcome for r in read(Path(folder) / folder_name(native) / FILE).records)
    return _row("edgevision tune", outcomes["right"], sum(outcomes.values()) - outcomes["right"], took)


def stock(source: str, seconds: float) -> str:
    """`tune_relax` in a process of its own, ended when its time is up: it knows no limit of time."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.trials", "--child", folder, source]
        began = time.monotonic()
        with (Path(folder) / "words").open("w+b") as words:
            process = subprocess.Popen(command, stdout=words, stderr=words, start_new_session=True)
            try:
                if process.wait(seconds):
                    sys.exit(f"tune_relax ended by itself:\n{(Path(folder) / 'words').read_text()[-2000:]}")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        took, words = time.monotonic() - began, (Path(folder) / "words").read_text()
    built, measured = (sum(map(int, re.findall(rf"Sending (\d+) {what}", words))) for what in ("sample", "valid sample"))
    return _row("tune_relax, LocalBuilder and LocalRunner", measured, built - measured, took)


def _child(folder: str, source: str) -> None:
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.s_tir import meta_schedule

    from edgevision.link.codegen import llvm_target

    # By TVM's own reader: its tuner ends on expressions that ours writes ("Do not have a default for prim.Let").
    module = relax.get_pipeline("zero")(from_onnx(ingest.to_onnx(ingest.read(source).proto)))
    meta_schedule.relax_integration.tune_relax(
        module, {}, llvm_target(target.load("native")), folder, max_trials_global=100_000, seed=0
    )


def _row(name: str, trials: int, failed: int, seconds: float) -> str:
    return f"| {name} | {trials} | {failed} | {seconds:.0f} | {trials / seconds:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="a name of the zoo, or an .onnx file")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--child", metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    source = given.network if given.network.startswith("zoo:") or given.network.endswith(".onnx") else f"zoo:{given.network}"
    if given.child:
        _child(given.child, source)
        return
    print("| tuner | trials with a time | failed | seconds | trials a second |")
    print("|---|---|---|---|---|")
    print(ours(source, given.seconds), flush=True)
    print(stock(source, given.seconds), flush=True)


if __name__ == "__main__":
    main()
