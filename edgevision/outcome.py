"""Outcome: what a compile gave for one target."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from edgevision.artifact import Artifact, Step
from edgevision.latency import Latency, Verification
from edgevision.side_by_side import SideBySide
from edgevision.target import Target

EMULATED = "emulated time says nothing about the device"
HOST_BUILD = "it ran as a build for this machine, not for the device"
NOT_RUN = "nothing ran it: --no-verify, and this machine is not the target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The artifact with its verification and, where it could be measured, its latency.

    ``fallback_verification`` is that of the CPU version in a GPU's artifact, ``side_by_side`` compares the two where that was
    asked for. ``sources`` are the kernels in other languages, with their weights and launch plans. ``not_measured`` says why there
    is no latency; ``build_s`` is wall time from the lowered program to the linked artifact, in seconds.
    """

    target: Target
    artifact: Artifact
    verification: Verification
    fallback_verification: Verification | None = None
    latency: Latency | None = None
    side_by_side: SideBySide | None = None
    sources: tuple[Path, ...] = ()
    not_measured: str = ""
    build_s: float = 0.0


def time_share(outcome: Outcome) -> dict[str, float]:
    """The share of a measured run's time that each kind of schedule takes; {} where nothing was measured."""
    if outcome.latency is None or not outcome.latency.steps:
        return {}
    kinds = {step.name: step.schedule.partition(":")[0] for step in outcome.artifact.steps}
    times: dict[str, float] = defaultdict(float)
    for step in outcome.latency.steps:
        times[kinds.get(step.name, "unknown")] += step.median_us
    total = sum(times.values())
    return {kind: us / total for kind, us in times.items()} if total else {}


def coverage(steps: tuple[Step, ...]) -> dict[str, int]:
    """How many fused operators run which kind of schedule, the commonest first: {"template": 34, "fallback": 2}."""
    kinds = Counter(step.schedule.partition(":")[0] for step in steps)
    return dict(sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0])))
