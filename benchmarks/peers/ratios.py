"""From interleaved bursts to figures: what was quiet enough to count, medians, and ratios with their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

NOISY_SHARE = 0.05
"""A burst lasts 60 ms or more and the scheduler's slice is 3 ms: from this share on, at least one whole slice went to
another program."""
ENOUGH_ROUNDS = 10
"""With fewer quiet rounds than this a runtime's figures come from all its rounds, and are marked."""
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Consecutive runs, in seconds; ``ran_s`` and ``waited_s``: its threads were running, and ready but not running."""

    seconds: tuple[float, ...]
    ran_s: float
    waited_s: float

    @property
    def waiting(self) -> float:
        """Share of the time in which the threads wanted a core that they did not have one."""
        wanted = self.ran_s + self.waited_s
        return self.waited_s / wanted if wanted else 0.0

    @property
    def quiet(self) -> bool:
        return self.waiting < NOISY_SHARE

    @property
    def median_s(self) -> float:
        return median(self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """A runtime's runs, in milliseconds, over the rounds that count. ``noisy``: too few of its rounds were quiet."""

    min_ms: float
    median_ms: float
    p90_ms: float
    rounds: int
    waiting: float
    noisy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Median time over that of the fastest of the others, with its 95 % interval."""

    value: float
    low: float
    high: float
    best: str

    @property
    def tie(self) -> bool:
        """Differences under 5 % change sign from one run of the benchmark to the next."""
        return abs(self.value - 1) < 0.05


def counted(bursts: Sequence[Burst]) -> list[Burst | None]:
    """The bursts that count, None in place of others: the quiet ones, or all when fewer than ENOUGH_ROUNDS are."""
    if sum(burst.quiet for burst in bursts) < ENOUGH_ROUNDS:
        return list(bursts)
    return [burst if burst.quiet else None for burst in bursts]


def times(bursts: Sequence[Burst]) -> Times:
    """Figures over the bursts that count: the median of their medians, as in `ratio`; min and p90 over every run."""
    kept = [burst for burst in counted(bursts) if burst is not None]
    ranked = sorted(second * 1e3 for burst in kept for second in burst.seconds)
    return Times(
        min_ms=ranked[0],
        median_ms=1e3 * median(burst.median_s for burst in kept),
        p90_ms=ranked[-(-9 * len(ranked) // 10) - 1],
        rounds=len(kept),
        waiting=sum(b.waited_s for b in kept) / max(sum(b.ran_s + b.waited_s for b in kept), 1e-9),
        noisy=sum(burst.quiet for burst in bursts) < ENOUGH_ROUNDS,
    )


def ratio(ours: Sequence[Burst], others: Mapping[str, Sequence[Burst]], seed: int = 0) -> Ratio:
    """Our median over the smallest of theirs; interval by bootstrap over rounds.

    Each resample draws whole rounds, the same for all, and chooses the fastest of the others anew: that one is the
    fastest by its noise too, and a fixed choice would give too narrow an interval. Source: Efron and Tibshirani, An
    Introduction to the Bootstrap, chapter 13 (percentile intervals).
    """
    mine, theirs = _per_round([ours]), _per_round(list(others.values()))
    medians = np.nanmedian(theirs, axis=1)
    rounds = mine.shape[1]
    drawn = np.random.default_rng(seed).integers(rounds, size=(RESAMPLES, rounds))
    ours_again = _without_gaps(mine[0, drawn], float(np.nanmedian(mine)))
    again = [_without_gaps(row[drawn], middle) for row, middle in zip(theirs, medians, strict=True)]
    best_again = np.min(again, axis=0)
    low, high = np.nanquantile(ours_again / best_again, (0.025, 0.975))
    value = float(np.nanmedian(mine) / medians.min())
    return Ratio(value=value, low=float(low), high=float(high), best=list(others)[int(medians.argmin())])


def geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _per_round(runtimes: Sequence[Sequence[Burst]]) -> NDArray[np.float64]:
    """[runtime, round]: the median of each burst in seconds, NaN where it does not count."""
    return np.array([[b.median_s if b else np.nan for b in counted(bursts)] for bursts in runtimes])


def _without_gaps(resamples: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    """The median of each resample; ``middle`` for one that happened to draw only rounds that do not count."""
    empty = np.isnan(resamples).all(axis=1)
    resamples[empty] = middle
    result: NDArray[np.float64] = np.nanmedian(resamples, axis=1)
    return result
