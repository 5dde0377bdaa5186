"""Verdict: what the gate says about a candidate, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgevision.artifact import Artifact
from edgevision.bout import Bout
from edgevision.modelled import ModelledCost

Decision = Literal["PASS", "FAIL", "INCONCLUSIVE"]

Unit = Literal["change", "ms", "bytes"]
"""change: candidate / baseline - 1."""

EXIT_CODES: dict[Decision, int] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and an interval that holds it with the confidence that the gate was asked for, whenever it was looked at; None where
    there were too few samples for one. ``used`` of ``taken`` observations count, ``dropped`` says why the others do not."""

    value: float | None
    interval: tuple[float, float] | None
    used: int
    taken: int
    dropped: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was asked: ``what`` ("latency against the baseline", "size"), the ``measured`` figure and the ``limit``,
    both in ``unit``. ``reason``: the figures in words, and of a check that decided nothing what stood in the way."""

    what: str
    decision: Decision
    reason: str
    measured: float | None
    limit: float
    unit: Unit
    estimate: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All checks together: one that fails fails it, else one that is inconclusive leaves it open."""

    checks: tuple[Check, ...]

    @property
    def decision(self) -> Decision:
        return worst([check.decision for check in self.checks])

    @property
    def reason(self) -> str:
        """Of the checks that decided."""
        return "; ".join(check.reason for check in self.checks if check.decision == self.decision)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.decision]


def worst(decisions: Sequence[Decision]) -> Decision:
    order: tuple[Decision, ...] = ("FAIL", "INCONCLUSIVE")
    return next((decision for decision in order if decision in decisions), "PASS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """All that a gate knows at its end. ``baseline`` and the artifacts are None where nothing was compared, or only modelled;
    ``bout`` where no device was needed; ``costs`` are the baseline's and the candidate's, one a core, where they were modelled.
    Without a baseline the bout ran the candidate against itself.
    """

    name: str
    verdict: Verdict
    allow: float
    risk: float
    candidate: Artifact | None = None
    baseline: Artifact | None = None
    bout: Bout | None = None
    costs: tuple[tuple[ModelledCost, ...], tuple[ModelledCost, ...]] | None = None
