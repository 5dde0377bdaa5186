"""Latency of zoo networks beside onnxruntime's, measured on this machine: python -m benchmarks.latency [NAME...]

Each runtime has a process of its own, which is stopped while the other one runs: a pool that spins would spoil the
other's times. Bursts alternate and their order turns round, so that what changes slowly on the machine meets both.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import edgevision
from edgevision import runtime, zoo
from edgevision.measure.compare import compare
from edgevision.measure.reference import open_session

Array = NDArray[np.float32]
NETWORKS = ("ghostnet-1.0", "mobilenetv2-1.0", "mobilenetv3-large", "repvgg-a0")
ROUNDS, BURST, UNTIMED = 30, 5, 2
SEED = 0


def image() -> Array:
    return np.random.default_rng(SEED).normal(size=(1, 3, 224, 224)).astype(np.float32)


def open_edgevision(path: Path, threads: int) -> Callable[[], Array]:
    network, array = runtime.load(path, threads=threads), image()
    return lambda: network.run(array)[0]


def open_onnxruntime(path: Path, threads: int) -> Callable[[], Array]:
    session = open_session(path, threads)
    feed = {session.get_inputs()[0].name: image()}
    return lambda: session.run(None, feed)[0]


OPENERS = {"edgevision": open_edgevision, "onnxruntime": open_onnxruntime}


def serve(name: str, path: Path, threads: int, line: Connection) -> None:
    """The process of one runtime: sends an output, then the seconds of a burst of runs whenever it is asked."""
    run = OPENERS[name](path, threads)
    line.send(run())
    while line.recv():
        times = []
        for _ in range(UNTIMED + BURST):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        line.send(times[UNTIMED:])


class Contestant:
    """A runtime in its process, which runs only while a burst is asked of it."""

    def __init__(self, name: str, path: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(name, path, threads, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.output: Array = self._line.recv()
        self.seconds: list[float] = []
        self._signal(signal.SIGSTOP)

    def burst(self) -> None:
        self._signal(signal.SIGCONT)
        self._line.send(True)
        self.seconds += self._line.recv()
        self._signal(signal.SIGSTOP)

    def end(self) -> None:
        self._signal(signal.SIGCONT)
        self._line.send(False)
        self._process.join()

    def _signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


def compete(model: Path, library: Path, threads: int) -> tuple[Contestant, Contestant]:
    ours, theirs = Contestant("edgevision", library, threads), Contestant("onnxruntime", model, threads)
    try:
        for number in range(ROUNDS):
            for each in (ours, theirs) if number % 2 else (theirs, ours):
                each.burst()
    finally:
        ours.end()
        theirs.end()
    return ours, theirs


def main(names: Sequence[str]) -> None:
    table = Table("network", "threads", title=f"measured on this machine: median of {ROUNDS * BURST} runs")
    for heading in ("edgevision", "onnxruntime", "ratio", "error"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            model = zoo.export(name, Path(folder, f"{name}.onnx"), form="deploy")
            options = edgevision.Options(output=Path(folder, name), measure=False)
            (outcome,) = edgevision.compile(model, ["native"], options, progress=lambda what: None).outcomes
            for threads in sorted({1, outcome.target.cores}):
                ours, theirs = compete(model, outcome.artifact.path, threads)
                mine, other = median(ours.seconds) * 1e3, median(theirs.seconds) * 1e3
                error = compare("output", ours.output, theirs.output).error
                cells = (f"{mine:.2f} ms", f"{other:.2f} ms", f"{mine / other:.2f}", f"{error:.1e}")
                table.add_row(name, str(threads), *cells)
    Console().print(table)
    print("ratio: edgevision's time over onnxruntime's; below 1 edgevision is faster. Differences under 5 % are ties.")


if __name__ == "__main__":
    main(sys.argv[1:] or NETWORKS)
