"""A latency budget: the widths that a model of measured times allows, then corrected by the clock until it agrees.

The whole network is timed once, and with it each of its workloads (`workloads`); selection then pays for channels in
milliseconds instead of multiply-accumulates. What a candidate really takes corrects the next aim, and its workloads the
model:

    aim of the model = `AIM` * budget * (what the model says of the last candidate) / (what the clock says of it)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import onnx

from edgevision.errors import InputError
from edgevision.rewrite.prune.pruning import Plan, Pruned
from edgevision.rewrite.prune.select import BudgetError
from edgevision.rewrite.prune.workloads import Clock, Timing, Workload, milliseconds

NEAR = 0.95
"""Of the budget: what a candidate should use of it."""
AIM = 0.975
"""Of the budget; two builds of one network differ by a per cent or two."""
CLEAR = 0.008
"""Further than this from `NEAR` and from the budget, another run of the clock will say the same."""
MOST_TIMED = 8
"""Candidates; each is compiled."""
NUDGE = 0.99
"""Where the model's next aim gives a candidate that was timed already, it moves by 1 %, so many times at most:"""
MOST_NUDGES = 20


class Timer(Protocol):
    """Times networks on one target. ``how`` figures are obtained, and their ``unit``: "ms", "M cycles"."""

    @property
    def how(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def known(self) -> Mapping[Workload, float]:
        """Milliseconds of workloads measured before, on any network."""
        ...

    def __call__(self, proto: onnx.ModelProto) -> Timing:
        """What a run of the normal-form ``proto`` takes."""
        ...


class LatencyBudgetError(InputError):
    """A latency that no width reaches, or that the network has already."""

    def __init__(self, budget_ms: float, reached_ms: float, reason: str, unit: str = "ms") -> None:
        self.budget_ms, self.reached_ms = budget_ms, reached_ms
        super().__init__(f"--latency {budget_ms:.3g} {unit}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """The best candidate within the budget. ``full_ms``: the unpruned network's time, by the same timer.

    ``modelled_ms``: what the model of widths said of it before the timer did. ``candidates``: how many were compiled and
    timed. All figures are in ``unit``, obtained as ``how`` says ("measured", "modelled").
    """

    pruned: Pruned
    budget_ms: float
    achieved_ms: float
    full_ms: float
    modelled_ms: float
    candidates: int
    how: str = "measured"
    unit: str = "ms"

    @property
    def used(self) -> float:
        """Share of the budget."""
        return self.achieved_ms / self.budget_ms


def prune_to_latency(plan: Plan, budget_ms: float, timer: Timer) -> Timed:
    """Raises: LatencyBudgetError."""
    full = timer(plan.network.proto)
    if budget_ms >= full.ms:
        already = f"the network takes {full.ms:.3g} {timer.unit} already; nothing has to go"
        raise LatencyBudgetError(budget_ms, full.ms, already, timer.unit)
    search = _Search(plan, budget_ms, full, timer)
    while len(search.tried) < MOST_TIMED and search.step():
        pass
    within = [each for each in search.tried if each.used <= 1]
    if not within:
        fastest_ms = min(each.achieved_ms for each in search.tried)
        raise LatencyBudgetError(
            budget_ms, fastest_ms, f"the fastest of {len(search.tried)} candidates took {fastest_ms:.3g} {timer.unit} (the "
            f"whole {full.ms:.3g}); ask for more time, or lower --round-to", timer.unit
        )  # fmt: skip
    best = min(within, key=lambda each: abs(each.used - AIM))
    pruned = replace(best.pruned, requested=budget_ms / full.ms, achieved=best.achieved_ms / full.ms)
    return replace(best, pruned=pruned, candidates=len(search.tried), how=timer.how, unit=timer.unit)


class _Search:
    """One search: the model of time, what was timed, and what the model is off by."""

    def __init__(self, plan: Plan, budget_ms: float, full: Timing, timer: Timer) -> None:
        self.plan, self.budget_ms, self.full, self.timer = plan, budget_ms, full, timer
        self.clock = Clock({**timer.known, **full.workloads})
        self.correction = 1.0
        self.tried: list[Timed] = []

    def step(self) -> bool:
        """Time one more candidate; False when there is none, or no need."""
        found = self._candidate()
        if found is None:
            return False
        timing = self.timer(found.proto)
        timed = Timed(
            pruned=found, budget_ms=self.budget_ms, achieved_ms=timing.ms, full_ms=self.full.ms,
            modelled_ms=found.achieved * self.full.ms * self.correction, candidates=len(self.tried) + 1,
        )  # fmt: skip
        self.tried.append(timed)
        self.clock.learn(timing.workloads)
        self.correction = timing.ms / self.full.ms / self._modelled(found)
        return not NEAR + CLEAR <= timed.used <= 1 - CLEAR

    def _candidate(self) -> Pruned | None:
        """The next network worth a compile: at the model's aim, or as near to it as was not timed yet."""
        seen = {each.pruned.removed for each in self.tried}
        cost = milliseconds(self.plan.network, self.plan.channels, self.clock, self.full)
        share = AIM * self.budget_ms / self.full.ms / self.correction
        faster = not self.tried or self.tried[-1].used > AIM
        for _ in range(MOST_NUDGES):
            try:
                found = self.plan.narrowed(cost, min(share, 1 - 1e-9), None)
            except BudgetError as error:
                found = self.plan.narrowed(cost, min(error.least * (1 + 1e-9), 1.0), None)
                return None if found.removed in seen else found
            if found.removed and found.removed not in seen:
                return found
            share = share * NUDGE if faster or not found.removed else share / NUDGE
        return None

    def _modelled(self, pruned: Pruned) -> float:
        """The share of the whole network's time that the model gives ``pruned``, with all that it has learnt."""
        cost = milliseconds(self.plan.network, self.plan.channels, self.clock, self.full)
        keep = ~np.isin(self.plan.channels.root, pruned.removed)
        return cost.total(keep) / cost.total(np.ones_like(keep))
