"""One trial: a candidate is run, its results are compared with the reference, and it is timed beside the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Protocol

import numpy as np

from edgevision.latency import median_interval
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import Array, Device, Samples
from edgevision.tune.request import Built
from edgevision.tuning_log import Outcome

GLANCE_BLOCKS, SLOW = 2, 1.5
"""Most time goes to candidates that take several times as long, which two blocks show: a quarter of all."""
SCREEN_S, SCREEN_BLOCKS = 0.02, (4, 16)
DOUBT_S, DOUBT_BLOCKS = 0.06, (8, 20)
"""Between the two: most candidates that are about as fast as the best do not look faster any more."""
CONFIRM_S, CONFIRM_BLOCKS = 0.25, (16, 80)
HOPELESS = 1.03
"""A ratio of a first few blocks above which more of them are not taken."""
CLEARLY = 0.95
"""The upper end of the 95 % interval of a first few blocks below which more of them are not taken either."""
BETTER = 0.995
"""The upper end of the 95 % interval that a new best must stay below. Of hundreds of trials, chance alone would
otherwise promote some."""
SLOWEST = 100.0
"""A candidate that takes so many times as long as the default hangs, for what it is worth."""
LEAST_LIMIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Stage:
    """``blocks`` of a comparison, after which it ends where the ratio is above ``most``."""

    blocks: int
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """``candidate`` beside ``incumbent``, the best so far. ``default``: of the same workload; ``default_s``: about how long it
    takes, ``cooling_s`` what lies before each sample, for limits and the number of samples. ``reference``: what this machine can
    open to compute the results that are right, for devices that are given them; others take what the default computes there.
    ``whole``: no first few blocks end it."""

    workload: str
    default: Built
    incumbent: Built
    candidate: Built
    default_s: float
    cooling_s: float = 0.0
    reference: Built | None = None
    whole: bool = False

    @property
    def limit_s(self) -> float:
        return LEAST_LIMIT_S + SLOWEST * self.default_s

    @property
    def screen_blocks(self) -> int:
        return blocks(self.default_s + self.cooling_s, SCREEN_S, SCREEN_BLOCKS)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Before it is confirmed; none of the default, which is compared with itself for its time alone."""
        if self._is_whole:
            return ()
        return Stage(GLANCE_BLOCKS, SLOW), Stage(self.screen_blocks, HOPELESS), Stage(self._doubt_blocks, BETTER)

    @property
    def _is_whole(self) -> bool:
        return self.whole or self.candidate == self.default

    @property
    def _doubt_blocks(self) -> int:
        return blocks(self.default_s + self.cooling_s, DOUBT_S, DOUBT_BLOCKS)

    @property
    def confirm_blocks(self) -> int:
        if self.candidate == self.default:
            return self._doubt_blocks
        return blocks(self.default_s + self.cooling_s, CONFIRM_S, CONFIRM_BLOCKS)

    @property
    def hopeless(self) -> float:
        """The ratio above which a first few blocks are enough."""
        return float("inf") if self._is_whole else HOPELESS

    @property
    def files(self) -> frozenset[str]:
        every = (self.default, self.incumbent, self.candidate, *((self.reference,) if self.reference else ()))
        return frozenset().union(*(built.files for built in every))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``ratio``: candidate over incumbent, with its interval; ``us`` the candidate's median. ``better`` says whether the
    candidate is the new incumbent."""

    outcome: Outcome
    better: bool = False
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    us: float | None = None
    detail: str = ""


class Bench(Protocol):
    """Where trials happen, as many as ``size`` at a time. ``name`` is "" where it is just this machine."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def cpu(self) -> str:
        """What computes there, once it was reached; "" before."""
        ...

    def open(self) -> None:
        """Reach it, anew after it was lost. Raises: LostDeviceError."""
        ...

    def trials(self, batch: Sequence[Trial]) -> list[Verdict]:
        """A verdict for each. Raises: LostDeviceError, when it went away and there is no verdict for any of them."""
        ...

    def close(self) -> None: ...


def judge(device: Device, trial: Trial, reference: Sequence[Array]) -> Verdict:
    """One trial on a device that is asked step by step. A candidate that is better is its incumbent afterwards."""
    candidate, limit_s = trial.candidate, trial.limit_s
    device.hold(trial.incumbent, limit_s)
    try:
        results = device.results(candidate, limit_s)
        wrong = fault(guarded=results.guarded, error=difference(results.arrays, reference), tolerance=candidate.tolerance)
        if wrong is not None:
            return wrong
        for stage in trial.stages:
            found = timed(device.compare(stage.blocks, limit_s), below=CLEARLY)
            if found.better or (found.ratio is not None and found.ratio > stage.most):
                break
        else:
            found = timed(device.compare(trial.confirm_blocks, limit_s), below=BETTER)
    except ChildCrashedError as error:
        return Verdict(outcome="crashed", detail=error.reason)
    except ChildHungError:
        return hung(limit_s)
    if found.better:
        device.promote(candidate)
    return found


def fault(*, guarded: bool, error: float, tolerance: float) -> Verdict | None:
    """What a candidate's results say against it."""
    if not guarded:
        return Verdict(outcome="wrong", detail="it wrote outside its results")
    if not error <= tolerance:
        return Verdict(outcome="wrong", detail=f"relative error {error:.3g}, allowed {tolerance:.3g}")
    return None


def hung(limit_s: float) -> Verdict:
    return Verdict(outcome="hung", detail=f"it ran for more than {limit_s:.0f} s")


def timed(samples: Samples, *, below: float = 0.0) -> Verdict:
    """The median over blocks, so that what else the machine does falls on both; better where the interval ends ``below``."""
    pairs = zip(samples.a[::2], samples.a[1::2], samples.b[::2], samples.b[1::2], strict=True)
    ratios = [(b1 + b2) / (a1 + a2) for a1, a2, b1, b2 in pairs]
    low, high = median_interval(ratios) or (None, None)
    better = high is not None and high < below
    return Verdict(outcome="right", better=better, ratio=median(ratios), low=low, high=high, us=median(samples.b) / 1e3)


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Of the same trial in several processes, of which one may fail: as good as in the worst of them."""
    worst = max(verdicts, key=lambda verdict: (verdict.outcome != "right", verdict.ratio or 0.0))
    return replace(worst, better=all(verdict.better for verdict in verdicts))


def blocks(sample_s: float, budget_s: float, bounds: tuple[int, int]) -> int:
    """How many blocks of four samples fit the budget."""
    return max(bounds[0], min(bounds[1], int(budget_s / (4 * sample_s))))


def difference(results: Sequence[Array], reference: Sequence[Array]) -> float:
    """max|a - b| / max|b|, the larger of all outputs; infinite where NaN and infinity stand in other places, or integers
    differ."""
    worst = 0.0
    for a, b in zip(results, reference, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return float("inf")
            continue
        finite = np.isfinite(b)
        if not np.array_equal(finite, np.isfinite(a)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf")
        scale = float(np.abs(b[finite]).max(initial=0.0))
        largest = float(np.abs(a[finite].astype(np.float64) - b[finite]).max(initial=0.0))
        worst = max(worst, largest / scale if scale else (0.0 if largest == 0 else float("inf")))
    return worst
