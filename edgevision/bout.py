"""Bout: two artifacts that ran in turn on one device, as they were timed. Raw: judging it is the gate's work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log
from statistics import median
from typing import Literal

from edgevision.latency import DeviceInfo, How
from edgevision.telemetry import Telemetry

Side = Literal["A", "B"]
"""A: the baseline. B: the candidate."""

ASLEEP_NS = 1_000_000
"""A device that was not suspended reports up to some hundred ns: the time between reading two clocks."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """One process of one artifact. ``samples_ns``: whole runs, in order. ``waited_ns``: how long the calling thread was ready
    during each while others ran on its core; () where the system does not say. ``elapsed_ns``: all samples together by the
    device's clock. ``ran_ns``, ``ready_ns``: how long its threads ran, and were ready but did not, over all samples; None where
    unknown.
    """

    side: Side
    threads: int
    samples_ns: tuple[int, ...]
    waited_ns: tuple[int, ...] = ()
    elapsed_ns: int
    asleep_ns: int | None = None
    ran_ns: int | None = None
    ready_ns: int | None = None

    @cached_property
    def ns(self) -> float:
        """The median run. Of one thread without the time in which others had its core, where that is known.

        What was waited may belong to the microseconds before a sample; then it is longer than the sample, and is not taken from it.
        """
        if self.threads > 1 or not self.waited_ns:
            return median(self.samples_ns)
        return median(
            took - waited if waited < took else took for took, waited in zip(self.samples_ns, self.waited_ns, strict=True)
        )

    @property
    def waiting(self) -> float:
        """Share of the time in which threads that were ready did not run; 0 where unknown."""
        wanted = (self.ran_ns or 0) + (self.ready_ns or 0)
        return (self.ready_ns or 0) / wanted if wanted else 0.0

    @property
    def slept(self) -> bool:
        return self.asleep_ns is not None and self.asleep_ns > ASLEEP_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Four processes in the order ABBA or BAAB: what changes steadily falls on both alike. ``clock`` says what is wrong with the
    device's clock in this block, or ""."""

    starts: tuple[Start, ...]
    clock: str = ""

    def ns(self, side: Side) -> float:
        """Geometric mean over the side's two processes."""
        first, second = (start.ns for start in self.starts if start.side == side)
        return float((first * second) ** 0.5)

    @property
    def log_ratio(self) -> float:
        """ln(B / A)."""
        return log(self.ns("B") / self.ns("A"))

    @property
    def waiting(self) -> float:
        return max(start.waiting for start in self.starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One process that was timed operator by operator: ``steps_us`` in the order they run, ``cold_start_ns`` from making a
    session to the end of its first run, ``peak_bytes`` of resident memory (None where the system does not say)."""

    steps_us: tuple[tuple[str, float], ...]
    cold_start_ns: int
    peak_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bout:
    """``profiles``: of A and of B. ``looks``: what the device said about itself before the first block and after each batch.
    ``seconds``: how long it took, by this machine's clock; ``began``: when, ISO 8601."""

    device: DeviceInfo
    how: How
    seed: int
    cores: tuple[int, ...]
    blocks: tuple[Block, ...]
    profiles: tuple[Profile, Profile]
    looks: tuple[Telemetry, ...]
    seconds: float
    began: str

    def milliseconds(self, side: Side) -> list[float]:
        """The median run of each of the side's processes."""
        return [start.ns / 1e6 for start in starts(self.blocks, side)]


def starts(blocks: Sequence[Block], side: Side) -> list[Start]:
    return [start for block in blocks for start in block.starts if start.side == side]


def throttled(looks: Sequence[Telemetry]) -> str:
    """What slowed the device down between the first and the last of ``looks``, or does now; "" where it does not say."""
    first, last = looks[0], looks[-1]
    if last.throttled:
        return ", ".join(last.throttled)
    more = (last.throttle_events or 0) - (first.throttle_events or 0)
    return f"{more} times meanwhile" if more > 0 else ""
