"""Runtimes against each other on one network: bursts in turn, all others stopped meanwhile."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.peers.case import Case, Entrant
from benchmarks.peers.child import Child, WorkerError
from benchmarks.peers.ratios import Burst
from edgevision.measure.compare import compare

T = TypeVar("T")

BURST_S = 0.06
"""Long enough that a burst holds several of the scheduler's slices of 3 ms (see `ratios.NOISY_SHARE`)."""
MOST_RUNS, FEWEST_RUNS = 20, 1
RETRIES = 2
"""A noisy burst is asked for again this many times, and the quietest one is kept."""
LOAD_TIMEOUT_S, BURST_TIMEOUT_S = 180, 120


@dataclass(slots=True, kw_only=True)
class Contestant:
    """A loaded runtime, stopped. ``error``: of its first output, as `compare` has it."""

    name: str
    child: Child
    error: float = math.inf
    runs: int = FEWEST_RUNS
    bursts: list[Burst] = field(default_factory=list)

    def burst(self) -> Burst:
        """Runs while everybody else is stopped."""
        self.child.go_on()
        try:
            answer = self.child.ask(str(self.runs), BURST_TIMEOUT_S)
            return Burst(seconds=tuple(answer["seconds"]), ran_s=answer["ran_s"], waited_s=answer["waited_s"])
        finally:
            self.child.stop()

    def quietest(self) -> Burst:
        best = self.burst()
        for _ in range(RETRIES):
            if best.quiet:
                break
            best = min(best, self.burst(), key=lambda burst: burst.waiting)
        return best


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one contest gave. ``failures``: runtime to reason; those are in neither of the other two."""

    bursts: Mapping[str, Sequence[Burst]]
    errors: Mapping[str, float]
    failures: Mapping[str, str]


def compete(
    case: Case, entrants: Sequence[Entrant], threads: int, cores: Sequence[int], rounds: int,
    deadline: float = math.inf, nice: int = 0,
) -> Result:  # fmt: skip
    """Bursts of each runtime in turn, the order rotated every round, for ``rounds`` rounds.

    ``deadline`` (time.monotonic): no round begins after.
    ``nice``: the priority of the runtimes' processes, -20 to 19; below 0 needs root.
    """
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there: list[Contestant] = []
        for entrant in entrants:
            name = entrant.runtime.name
            child = stack.enter_context(Child(entrant, "serve", case, threads, cores, logs / f"{name}.log", nice))
            try:
                there.append(_loaded(name, child, case, logs / f"{name}.npy"))
            except WorkerError as error:
                failures[name] = error.reason
        for number in range(rounds):
            if time.monotonic() > deadline:
                break
            _one_round(there, number, failures)
    return Result(
        bursts={each.name: each.bursts for each in there},
        errors={each.name: each.error for each in there},
        failures=failures,
    )


def rotated(items: Sequence[T], number: int) -> list[T]:
    start = number % len(items) if items else 0
    return [*items[start:], *items[:start]]


def _loaded(name: str, child: Child, case: Case, output: Path) -> Contestant:
    child.ask(str(output), LOAD_TIMEOUT_S)
    child.stop()
    contestant = Contestant(name=name, child=child)
    contestant.error = compare("output", np.load(output), case.reference()).error
    contestant.runs = min(MOST_RUNS, max(FEWEST_RUNS, math.ceil(BURST_S / contestant.burst().median_s)))
    return contestant


def _one_round(there: list[Contestant], number: int, failures: dict[str, str]) -> None:
    """One burst each; who fails leaves, and the others go on."""
    for each in rotated(there, number):
        try:
            each.bursts.append(each.quietest())
        except WorkerError as error:
            failures[each.name] = error.reason
            there.remove(each)
