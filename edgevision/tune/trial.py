"""One trial: a candidate is run, compared with the default's results and timed beside the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from edgevision.latency import median_interval
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import Array, Device, Samples
from edgevision.tune.request import Built
from edgevision.tuning_log import Outcome

SCREEN_S, SCREEN_BLOCKS = 0.02, (4, 16)
CONFIRM_S, CONFIRM_BLOCKS = 0.25, (16, 80)
FLUSH_S = 300e-6
"""What it takes to cool the caches: some 4 MB are written at 13 GB/s."""
HOPELESS = 1.03
"""A ratio of a first few blocks above which more of them are not taken."""
BETTER = 0.995
"""The upper end of the 95 % interval that a new best must stay below. Of hundreds of trials, chance alone would
otherwise promote some."""
SLOWEST = 100.0
"""A candidate that takes so many times as long as the default hangs, for what it is worth."""
LEAST_LIMIT_S = 3.0


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


def judge(
    device: Device, incumbent: Built, candidate: Built, reference: Sequence[Array], tolerance: float, default_s: float
) -> Verdict:
    """``default_s``: about how long the default takes, for limits and the number of samples."""
    limit_s = LEAST_LIMIT_S + SLOWEST * default_s
    device.hold(incumbent, limit_s)
    try:
        results = device.results(candidate, limit_s)
        if not results.guarded:
            return Verdict(outcome="wrong", detail="it wrote outside its results")
        error = difference(results.arrays, reference)
        if not error <= tolerance:
            return Verdict(outcome="wrong", detail=f"relative error {error:.3g}, allowed {tolerance:.3g}")
        first = _ratio(device.compare(blocks(default_s, SCREEN_S, SCREEN_BLOCKS), limit_s))
        if first.ratio is None or first.ratio > HOPELESS:
            return first
        second = _ratio(device.compare(blocks(default_s, CONFIRM_S, CONFIRM_BLOCKS), limit_s))
    except ChildCrashedError as error:
        return Verdict(outcome="crashed", detail=error.reason)
    except ChildHungError:
        return Verdict(outcome="hung", detail=f"it ran for more than {limit_s:.0f} s")
    if second.high is None or second.high >= BETTER:
        return second
    device.promote(candidate)
    return Verdict(
        outcome="right", better=True, ratio=second.ratio, low=second.low, high=second.high, us=second.us
    )  # fmt: skip


def blocks(run_s: float, budget_s: float, bounds: tuple[int, int]) -> int:
    """How many blocks of four samples fit the budget."""
    return max(bounds[0], min(bounds[1], int(budget_s / (4 * (run_s + FLUSH_S)))))


def _ratio(samples: Samples) -> Verdict:
    """The median over blocks, so that what else the machine does falls on both."""
    pairs = zip(samples.a[::2], samples.a[1::2], samples.b[::2], samples.b[1::2], strict=True)
    ratios = [(b1 + b2) / (a1 + a2) for a1, a2, b1, b2 in pairs]
    interval = median_interval(ratios)
    low, high = interval or (None, None)
    return Verdict(outcome="right", ratio=median(ratios), low=low, high=high, us=median(samples.b) / 1e3)


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
