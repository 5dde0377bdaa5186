"""The process of one runtime: python -m benchmarks.peers.worker VERB SOURCE CASE FOLDER THREADS CORES NICE

It answers on its standard output, one JSON object a line; what the runtime prints goes to standard error.
convert  writes FOLDER.                             {"seconds": ...}
serve    loads and runs once, output to the path that is on the first line of its input.   {"ready": true}
         then, for each line with a number of runs:   {"seconds": [...], "ran_s": ..., "waited_s": ...}
cold     loads and runs once.                        {"import_load_s": ..., "first_run_s": ..., "peak_bytes": ..., ...}
bare     is a Python with numpy and the input.       {"peak_bytes": ...}
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from benchmarks.peers.case import Case, Run, Runtime
from edgevision.measure.cores import scheduled, settle

UNTIMED = 2


def peak_bytes() -> int:
    """VmHWM: the most this program had resident. Not getrusage's: that survives exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("no VmHWM in /proc/self/status")


def libraries() -> set[str]:
    """The shared objects of this environment's packages that are mapped now."""
    mapped = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    packages = str(Path(sys.prefix, "lib"))
    return {path for path in mapped if path.startswith(packages) and ".so" in Path(path).name}


def burst(run: Run, array: Any, runs: int) -> dict[str, Any]:
    """Seconds of each of ``runs`` runs, after the untimed ones, and how long the process ran and waited meanwhile."""
    for _ in range(UNTIMED):
        run(array)
    ran, waited = scheduled()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run(array)
        times.append(time.perf_counter() - start)
    ran_by_now, waited_by_now = scheduled()
    return {"seconds": times, "ran_s": (ran_by_now - ran) / 1e9, "waited_s": (waited_by_now - waited) / 1e9}


def serve(runtime: Runtime, case: Case, folder: Path, threads: int, answers: TextIO) -> None:
    array = case.input()
    run = runtime.load(case, folder, threads)
    np.save(sys.stdin.readline().rstrip("\n"), run(array))
    _answer(answers, {"ready": True})
    for line in sys.stdin:
        _answer(answers, burst(run, array, int(line)))


def cold(runtime: Runtime, case: Case, folder: Path, threads: int, answers: TextIO) -> None:
    array, before = case.input(), libraries()
    start = time.perf_counter()
    run = runtime.load(case, folder, threads)
    loaded = time.perf_counter()
    run(array)
    first = time.perf_counter()
    peak = peak_bytes()
    size = sum(Path(path).stat().st_size for path in libraries() - before)
    figures = {"import_load_s": loaded - start, "first_run_s": first - loaded}
    _answer(answers, figures | {"peak_bytes": peak, "library_bytes": size})


def convert(runtime: Runtime, case: Case, folder: Path, threads: int, answers: TextIO) -> None:
    start = time.perf_counter()
    runtime.convert(case, folder)
    _answer(answers, {"seconds": time.perf_counter() - start})


def bare(runtime: Runtime, case: Case, folder: Path, threads: int, answers: TextIO) -> None:
    case.input()
    _answer(answers, {"peak_bytes": peak_bytes()})


VERBS = {"convert": convert, "serve": serve, "cold": cold, "bare": bare}


def _answer(answers: TextIO, what: dict[str, Any]) -> None:
    print(json.dumps(what), file=answers, flush=True)


def main(verb: str, source: str, case: str, folder: str, threads: str, cores: str, nice: str) -> None:
    settle(int(nice), [int(core) for core in cores.split(",")])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = source.partition(":")
    VERBS[verb](getattr(import_module(module), name), Case(folder=Path(case)), Path(folder), int(threads), answers)
    os._exit(0)  # some runtimes crash while they unload


if __name__ == "__main__":
    main(*sys.argv[1:])
