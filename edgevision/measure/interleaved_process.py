"""The process in which `edgevision.measure.interleaved` times two artifacts: a request on stdin, the answer on stdout.

    python -m edgevision.measure.interleaved_process FIRST SECOND FOLDER

The inputs are .npy files in FOLDER (in0.0.npy: input 0).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgevision import runtime
from edgevision.errors import DeviceError, EdgevisionError
from edgevision.measure.cores import scheduled, settle
from edgevision.measure.interleaved import Turns
from edgevision.measure.local import fetch

UNTIMED = 2


def answer(libraries: Sequence[Path], fallbacks: Sequence[str], folder: Path, threads: int, turns: Turns) -> dict[str, Any]:
    """Bursts of the libraries in turn, who begins changing every round, and a profile of each."""
    with ExitStack() as stack:
        chosen = zip(libraries, fallbacks, strict=True)
        networks = [stack.enter_context(runtime.load(path, threads=threads, fallback=each)) for path, each in chosen]
        inputs = fetch(folder, "in0", len(networks[0].inputs))
        profiles = [network.profile(*inputs, runs=turns.profiled) for network in networks]
        runs = [_bound(network, inputs, stack) for network in networks]
        counts = [max(1, round(turns.burst_s / burst(run, 3)[0])) for run in runs]
        rounds: list[dict[str, Any]] = []
        quiet, end = 0, time.monotonic() + turns.limit_s
        while not rounds or (quiet < turns.rounds and time.monotonic() < end):
            order = (0, 1) if len(rounds) % 2 else (1, 0)
            found = {index: burst(runs[index], counts[index]) for index in order}
            seconds, fastest, waiting = zip(found[0], found[1], strict=True)
            rounds.append({"seconds": seconds, "fastest": fastest, "waiting": waiting})
            quiet += max(waiting) < turns.noisy
    # The lower quartile: another program can only add to a step.
    quartiles = [[(name, float(np.quantile(times, 0.25)) / 1e6) for name, times in profile] for profile in profiles]
    return {"rounds": rounds, "profiles": quartiles}


def _bound(network: runtime.LoadedModel, inputs: Sequence[Any], stack: ExitStack) -> Callable[[], None]:
    session, bound = stack.enter_context(network.session()), network.bind(*inputs)
    return lambda: bound.run(session)


def burst(run: Callable[[], None], count: int) -> tuple[float, float, float]:
    """The median and the fastest of ``count`` runs in seconds, and the share of the time in which threads that were ready to
    run did not run."""
    for _ in range(UNTIMED):
        run()
    ran, waited = scheduled()
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    ran_by_now, waited_by_now = scheduled()
    wanted = ran_by_now - ran + waited_by_now - waited
    return median(seconds), min(seconds), (waited_by_now - waited) / wanted if wanted else 0.0


def main() -> int:
    *libraries, folder = map(Path, sys.argv[1:])
    request = json.load(sys.stdin)
    threads, fallbacks, turns = request.pop("threads"), request.pop("fallbacks"), Turns(**request)
    try:
        settle(turns.nice)
        print(json.dumps(answer(libraries, fallbacks, folder, threads, turns)))
    except EdgevisionError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        print(f"priority {turns.nice}: {error.strerror}; root may have it", file=sys.stderr)
        return DeviceError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
