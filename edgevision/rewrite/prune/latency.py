"""A latency budget: MACs are given up until the clock agrees.

What is fast on a device is not known from MACs, so every candidate is timed: bisection over the share of the MACs,
until a candidate's time is within the budget and at least `NEAR` of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import onnx

from edgevision.errors import InputError
from edgevision.rewrite.prune.pruning import Pruned
from edgevision.rewrite.prune.select import BudgetError

NEAR = 0.95
"""Of the budget; widths come in steps, and two runs of one artifact differ by some per cent."""
MOST_TIMED = 8
"""Candidates; each is compiled. Eight halvings leave 0.4 % of the MACs."""


class Timer(Protocol):
    """Times networks on one target."""

    def __call__(self, proto: onnx.ModelProto) -> float:
        """Milliseconds a run of the normal-form ``proto``."""
        ...


class LatencyBudgetError(InputError):
    """A latency that no width reaches, or that the network has already."""

    def __init__(self, budget_ms: float, reached_ms: float, reason: str) -> None:
        self.budget_ms, self.reached_ms = budget_ms, reached_ms
        super().__init__(f"--latency {budget_ms:.3g}ms: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """The largest candidate within the budget. ``full_ms``: the unpruned network's time, by the same timer."""

    pruned: Pruned
    budget_ms: float
    achieved_ms: float
    full_ms: float
    candidates: int


def prune_to_latency(
    proto: onnx.ModelProto, budget_ms: float, timer: Timer, prune: Callable[[float], Pruned]
) -> Timed:
    """``prune`` makes a candidate that keeps a share of the MACs. Raises: LatencyBudgetError."""
    full_ms = timer(proto)
    if budget_ms >= full_ms:
        raise LatencyBudgetError(budget_ms, full_ms, f"the network takes {full_ms:.3g} ms already; nothing has to go")
    low, high = 0.0, 1.0
    best: Timed | None = None
    fastest_ms, timed, narrowest = full_ms, 0, False
    for _ in range(MOST_TIMED):
        share = (low + high) / 2 if timed else budget_ms / full_ms
        try:
            candidate = prune(share)
        except BudgetError as error:
            low = max(low, share)
            if narrowest or error.least >= high:
                break
            candidate, narrowest = prune(min(error.least * 1.001, (error.least + high) / 2)), True
        ms = timer(candidate.proto)
        timed += 1
        fastest_ms = min(fastest_ms, ms)
        if ms > budget_ms:
            high = min(high, candidate.achieved)
            continue
        low = max(low, candidate.achieved)
        if best is None or ms > best.achieved_ms:
            best = Timed(pruned=candidate, budget_ms=budget_ms, achieved_ms=ms, full_ms=full_ms, candidates=timed)
        if ms >= NEAR * budget_ms:
            break
    if best is None:
        raise LatencyBudgetError(
            budget_ms, fastest_ms, f"the fastest of {timed} candidates took {fastest_ms:.3g} ms (the whole {full_ms:.3g} "
            "ms); ask for more time, or lower --round-to"
        )  # fmt: skip
    return best
