"""How many runs a latency needs: warm up until times stop falling, sample until the median is known well enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgevision.latency import median_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """When to stop.

    Warm-up ends when the median of the last ``window`` runs is no more than ``settled`` below the median of the
    ``window`` runs before them, or after ``warmup_s``. Sampling ends when the 95 % confidence interval of the median is
    narrower than ``precision`` (half its width over the median) and at least ``least`` runs were timed, or after
    ``most`` runs or ``limit_s``; ``few`` runs are made even when a single one takes longer than the limit.
    The interval is looked at every ``block`` runs, because looking costs cache lines of the network under test.
    """

    window: int = 5
    settled: float = 0.02
    warmup_s: float = 1.0
    precision: float = 0.01
    few: int = 5
    least: int = 30
    block: int = 10
    most: int = 2000
    limit_s: float = 3.0


STANDARD = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Times of single runs in seconds, in the order they ran; ``warmup`` runs before them were not kept."""

    seconds: tuple[float, ...]
    warmup: int


def collect(
    run: Callable[[], object], plan: Sampling = STANDARD, clock: Callable[[], float] = time.perf_counter
) -> Samples:
    """Warm ``run`` up and time it, one clock reading before and one after each call."""
    warmup = _warm_up(run, plan, clock)
    seconds: list[float] = []
    start = clock()
    while not _enough(seconds, clock() - start, plan):
        seconds.append(_timed(run, clock))
    return Samples(seconds=tuple(seconds), warmup=warmup)


def is_settled(seconds: Sequence[float], plan: Sampling) -> bool:
    """Whether the last ``window`` times are hardly faster than the ``window`` before them."""
    if len(seconds) < 2 * plan.window:
        return False
    before = np.median(seconds[-2 * plan.window : -plan.window])
    return bool(np.median(seconds[-plan.window :]) >= (1 - plan.settled) * before)


def relative_precision(seconds: Sequence[float]) -> float:
    """Half the width of the median's 95 % confidence interval, over the median; infinite while there are too few."""
    interval = median_interval(seconds)
    return float((interval[1] - interval[0]) / 2 / np.median(seconds)) if interval else float("inf")


def _warm_up(run: Callable[[], object], plan: Sampling, clock: Callable[[], float]) -> int:
    seconds: list[float] = []
    start = clock()
    while not seconds or (clock() - start < plan.warmup_s and not is_settled(seconds, plan)):
        seconds.append(_timed(run, clock))
    return len(seconds)


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def _enough(seconds: Sequence[float], elapsed_s: float, plan: Sampling) -> bool:
    if len(seconds) < plan.few:
        return False
    if elapsed_s >= plan.limit_s or len(seconds) >= plan.most:
        return True
    if len(seconds) < plan.least or len(seconds) % plan.block:
        return False
    return relative_precision(seconds) <= plan.precision
