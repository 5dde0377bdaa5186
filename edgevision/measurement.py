"""Measurement: a latency together with what is needed to believe it and to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgevision.latency import Latency
from edgevision.side_by_side import SideBySide
from edgevision.telemetry import Telemetry, changes, doubts


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """``began``: UTC, by the clock of the machine that asked; ``clock``: what times were taken with. ``cores``: those that the
    threads were bound to, empty where the system chose. ``starts``: how many processes the samples are from. Cold start:
    ``create_ms`` until a session was there and ``first_run_ms`` of its first run, medians over processes.
    ``looks``: telemetry before, between the processes, and after. ``side_by_side``: the CPU's version in turn with a GPU's, where
    that was asked for.
    """

    latency: Latency
    began: str
    clock: str
    target: str
    model_sha256: str
    bench_sha256: str
    versions: Mapping[str, str]
    cores: tuple[int, ...]
    starts: int
    create_ms: float
    first_run_ms: float
    peak_rss_bytes: int | None
    looks: tuple[Telemetry, ...]
    side_by_side: SideBySide | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the figure might not hold. Load counts before the first run only: afterwards it is our own."""
        return (*doubts(self.looks[0], self.latency.device.cores), *changes(self.looks[0], self.looks[-1]))
