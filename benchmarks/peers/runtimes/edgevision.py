"""edgevision itself, from the environment that runs the benchmark: compiled for this machine and the number of threads, with the
tuning logs that come with it and without any."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.peers.case import Case, Run, Runtime


def convert(case: Case, folder: Path, *, logs: bool) -> None:
    from edgevision.pipeline import Options, compile_model

    with tempfile.TemporaryDirectory() as scratch:
        options = Options(output=Path(scratch), measure=False, threads=len(os.sched_getaffinity(0)), shipped_logs=logs)
        (outcome,) = compile_model(case.onnx, ["native"], options).outcomes
        shutil.copy(outcome.artifact.path, folder / "network.so")


def load(case: Case, folder: Path, threads: int) -> Run:
    from edgevision import runtime

    network = runtime.load(folder / "network.so", threads=threads)
    return lambda array: network.run(array)[0].astype(np.float32, copy=False)


RUNTIME = Runtime(
    source=f"{__name__}:RUNTIME", name="edgevision", packages=(), convert=partial(convert, logs=True), load=load, per_threads=True
)  # fmt: skip
UNTUNED = replace(RUNTIME, source=f"{__name__}:UNTUNED", name="edgevision-untuned", convert=partial(convert, logs=False))
