"""Runtimes that need no installing: each behaves in one way that a real one might."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.peers.case import Array, Case, Run, Runtime

PAUSE_S = 0.001


def write_something(case: Case, folder: Path) -> None:
    (folder / "network.fake").write_bytes(b"x" * 1000)


def refuse(case: Case, folder: Path) -> None:
    raise ValueError("no lowering for Mystery")


def answer(pause_s: float = PAUSE_S, scale: float = 1.0) -> Callable[[Case, Path, int], Run]:
    """A runtime that takes ``pause_s`` and answers the reference times ``scale``."""

    def load(case: Case, folder: Path, threads: int) -> Run:
        print("some runtimes greet whoever loads them")
        output = (case.reference() * scale).astype("float32")

        def run(array: Array) -> Array:
            time.sleep(pause_s)
            return output

        return run

    return load


def load_never(case: Case, folder: Path, threads: int) -> Run:
    raise ValueError("this file is for another version")


def load_and_die(case: Case, folder: Path, threads: int) -> Run:
    """Ends the process in its tenth run: after the calibration and the first round, within the second."""
    runs = []

    def run(array: Array) -> Array:
        runs.append(1)
        if len(runs) == 10:
            os._exit(3)
        return case.reference()

    return run


def load_and_hang(case: Case, folder: Path, threads: int) -> Run:
    time.sleep(3600)
    raise AssertionError("nobody waits that long")


def load_witness(case: Case, folder: Path, threads: int) -> Run:
    """Fails when another witness of the same case is not stopped while this one runs."""
    mine = case.folder / f"{os.getpid()}.witness"
    mine.touch()

    def run(array: Array) -> Array:
        for other in case.folder.glob("*.witness"):
            state = Path("/proc", other.stem, "stat").read_text().rpartition(")")[2].split()[0]
            if other != mine and state != "T":
                raise ValueError(f"process {other.stem} is in state {state}")
        return case.reference()

    return run


def load_where_told(case: Case, folder: Path, threads: int) -> Run:
    """Answers with the number of threads, of cores, and the priority that it was given."""
    cores = len(os.sched_getaffinity(0))
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    return lambda array: case.reference() * 0 + (100 * nice + 10 * cores + threads)


def _fake(name: str, load: Callable[[Case, Path, int], Run], convert: object = write_something) -> Runtime:
    assert callable(convert)
    return Runtime(name=name, source=f"{__name__}:{name.upper()}", packages=(name,), convert=convert, load=load)


FAST = _fake("fast", answer())
SLOW = _fake("slow", answer(4 * PAUSE_S))
WRONG = _fake("wrong", answer(scale=1.01))
REFUSES = _fake("refuses", answer(), refuse)
BROKEN = _fake("broken", load_never)
MORTAL = _fake("mortal", load_and_die)
HANGING = _fake("hanging", load_and_hang)
PER_THREADS = replace(_fake("per_threads", answer()), per_threads=True)
WITNESS = _fake("witness", load_witness)
OBSERVER = _fake("observer", load_witness)
OBEDIENT = _fake("obedient", load_where_told)
