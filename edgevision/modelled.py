"""ModelledCost: what a network's code would take on a core, by a model of that core. Never a time on a device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgevision.artifact import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """One call of a fused operator on one thread. ``cycles`` wait for operands, ``port_bound`` are those that the busiest
    execution port needs: the truth lies between, as long as data come from the L1 cache. ``fma_lanes`` are
    multiply-accumulates that were executed, ``mul_lanes`` multiplications alone. ``accesses`` to lines of 64 bytes and
    their misses are simulated, None where they were not.
    """

    step: Step
    instructions: int
    cycles: float
    port_bound: float
    fma_lanes: int
    mul_lanes: int
    accesses: int | None = None
    l1_misses: int | None = None
    l2_misses: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledCost:
    """One inference of ``name`` compiled for ``target``, by LLVM's model of the core ``cpu``."""

    name: str
    target: str
    cpu: str
    steps: tuple[StepCost, ...]

    @property
    def instructions(self) -> int:
        return sum(s.instructions for s in self.steps)

    @property
    def cycles(self) -> float:
        return sum(s.cycles for s in self.steps)

    @property
    def port_bound(self) -> float:
        return sum(s.port_bound for s in self.steps)

    @property
    def fma_lanes(self) -> int:
        return sum(s.fma_lanes for s in self.steps)

    @property
    def macs(self) -> int:
        return sum(s.step.macs for s in self.steps)

    @property
    def l1_misses(self) -> int | None:
        return _total(s.l1_misses for s in self.steps)

    @property
    def l2_misses(self) -> int | None:
        return _total(s.l2_misses for s in self.steps)


def _total(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(n for n in known if n is not None)
