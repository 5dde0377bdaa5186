"""SideBySide: a network's CPU and GPU versions, measured in turn, operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from edgevision.artifact import Step
from edgevision.latency import DeviceInfo

ALIKE = 0.02
"""Versions whose runs differ by less than this share are as fast as each other: the ratio of one pair moves so much between
processes (see `measure.interleaved.Turns`)."""

LONGER = 0.05
"""By how much an operator must take longer to be called slower. It is a median of a few dozen runs on the cores that were free."""

KINDS = ("conv", "depthwise", "matmul", "pool", "reduce")
"""Kinds of operators that every device gives a kernel of their own; all others are elementwise or move tensors."""


def kind_of(ops: Sequence[str]) -> str:
    """The kind of a fused operator: what it is built around."""
    return next((kind for kind in KINDS if any(kind in op for op in ops)), "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A step and what it takes, in microseconds."""

    step: Step
    us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Steps of the CPU and launches of the GPU that compute the same, ``name`` being the one that both have."""

    name: str
    kind: str
    cpu: tuple[Timed, ...]
    gpu: tuple[Timed, ...]

    @property
    def cpu_us(self) -> float:
        return sum(each.us for each in self.cpu)

    @property
    def gpu_us(self) -> float:
        return sum(each.us for each in self.gpu)

    @property
    def lost_us(self) -> float:
        """What the GPU takes longer; negative where it is faster."""
        return self.gpu_us - self.cpu_us


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """``cpu_ms``, ``gpu_ms`` and ``ratio`` (GPU / CPU) of whole runs, ``threads`` of the CPU's. ``rounds`` in which each ran in
    turn; ``quiet`` of them were undisturbed, None where the device does not tell."""

    device: DeviceInfo
    threads: int
    cpu_ms: float
    gpu_ms: float
    ratio: float
    rounds: int
    quiet: int | None
    pairs: tuple[Pair, ...]

    @property
    def slower(self) -> tuple[Pair, ...]:
        """Where the GPU takes longer, the greatest loss first."""
        found = (pair for pair in self.pairs if pair.gpu_us > (1 + LONGER) * pair.cpu_us)
        return tuple(sorted(found, key=lambda pair: -pair.lost_us))

    @property
    def kinds(self) -> tuple[tuple[str, tuple[Pair, ...]], ...]:
        """The pairs by kind, in the order of `KINDS`."""
        order = (*KINDS, "other")
        groups = ((kind, tuple(pair for pair in self.pairs if pair.kind == kind)) for kind in order)
        return tuple((kind, pairs) for kind, pairs in groups if pairs)


def paired(cpu: Sequence[Timed], gpu: Sequence[Timed]) -> tuple[Pair, ...]:
    """Both versions' steps in the order they run, cut where both have the same one.

    What only the CPU has stands before the step that the GPU computes it in (a change of order, a gate); what only the GPU has
    continues the step before it (a second kernel, a copy).
    """
    matcher = SequenceMatcher(a=[each.step.name for each in cpu], b=[each.step.name for each in gpu], autojunk=False)
    found = [(block.a + i, block.b + i) for block in matcher.get_matching_blocks() for i in range(block.size)]
    if not found:
        return (Pair(name="everything", kind="other", cpu=tuple(cpu), gpu=tuple(gpu)),) if cpu or gpu else ()
    cpu_cuts = [0, *(a + 1 for a, _ in found[:-1]), len(cpu)]
    gpu_cuts = [0, *(b for _, b in found[1:]), len(gpu)]
    return tuple(
        Pair(
            name=cpu[a].step.name, kind=kind_of(cpu[a].step.ops), cpu=tuple(cpu[cpu_cuts[i] : cpu_cuts[i + 1]]),
            gpu=tuple(gpu[gpu_cuts[i] : gpu_cuts[i + 1]]),
        )
        for i, (a, _) in enumerate(found)
    )  # fmt: skip
