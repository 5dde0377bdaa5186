"""How long things take to start: the command line, and an artifact from nothing to its first result.

    python -m benchmarks.startup mobilenetv2.so

Fresh processes, medians of 15 with the range; wall time of this machine, measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROUNDS = 15

FIRST_RESULT = """
import sys, time
start = time.perf_counter()
import numpy as np
from edgevision import runtime
imported = time.perf_counter()
network = runtime.load(sys.argv[1])
loaded = time.perf_counter()
inputs = [np.zeros(s.shape, s.dtype) for s in network.inputs]
network.run(*inputs)
first = time.perf_counter()
for _ in range(5):
    network.run(*inputs)
later = (time.perf_counter() - first) / 5
print(1e3 * (loaded - imported), 1e3 * (first - loaded - later), 1e3 * later)
"""


def help_ms() -> float:
    start = time.perf_counter()
    command = [sys.executable, "-c", "from edgevision.cli.main import main; main()", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    return 1e3 * (time.perf_counter() - start)


def python_ms(library: Path) -> tuple[float, ...]:
    """Load, first run beyond a later one, a later run."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_RESULT, str(library)], check=True, capture_output=True, text=True
    )
    return tuple(map(float, done.stdout.split()))


def c_ms(library: Path) -> tuple[float, ...]:
    """The static executable: create a session, first run."""
    bench = library.with_name(f"{library.stem}-bench")
    done = subprocess.run([str(bench), "--runs", "5", "--warmup", "0"], check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    later = median(report["samples_ns"])
    return report["create_ns"] / 1e6, (report["first_run_ns"] - later) / 1e6, later / 1e6


def table(title: str, labels: tuple[str, ...], sample: Callable[[], tuple[float, ...]]) -> None:
    rounds = [sample() for _ in range(ROUNDS)]
    for k, label in enumerate(labels):
        values = sorted(r[k] for r in rounds)
        print(f"{title}: {label:32} {median(values):7.2f} ms   ({values[0]:.2f} .. {values[-1]:.2f})")


def main() -> None:
    table("command line", ("edgevision --help, whole process",), lambda: (help_ms(),))
    for name in sys.argv[1:]:
        library = Path(name)
        rows = ("load", "first run beyond a later one", "a later run")
        table(f"{library.stem} in Python", rows, lambda path=library: python_ms(path))
        table(f"{library.stem} in C", ("create", *rows[1:]), lambda path=library: c_ms(path))


if __name__ == "__main__":
    main()
