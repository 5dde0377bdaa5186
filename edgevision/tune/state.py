"""Where a tuning run stands, and what it may spend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgevision.tune.lanes import LaneState
from edgevision.tuning_log import Choice, How


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may spend. None: no bound of this kind."""

    trials: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """Where a task stands: times in microseconds of one call, None before they were measured."""

    what: str
    count: int
    default_us: float | None
    best_us: float | None
    ratio: float
    best: Choice
    trials: int
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a run stands. The network's times are sums over its workloads, in milliseconds; None until each was
    measured. ``how`` "modelled": all times are cycles of a core of 1 GHz. ``devices``: those that were named."""

    tasks: tuple[TaskState, ...]
    trials: int
    outcomes: dict[str, int]
    elapsed_s: float
    budget: Budget
    how: How = "measured"
    devices: tuple[LaneState, ...] = ()

    @property
    def default_ms(self) -> float | None:
        return _sum_ms([(t.default_us, t.count) for t in self.tasks])

    @property
    def best_ms(self) -> float | None:
        """The default's time times the ratio: both were measured in turn."""
        return _sum_ms([(None if t.default_us is None else t.default_us * t.ratio, t.count) for t in self.tasks])


def _sum_ms(parts: Sequence[tuple[float | None, int]]) -> float | None:
    known = [us * count for us, count in parts if us is not None]
    return sum(known) / 1e3 if len(known) == len(parts) else None


Report = Callable[[State], None]
