"""The latency of an artifact on a device: its -bench executable, started again and again until the median is known.

Processes come one after another because where the pages of weights and activations happen to lie moves a network by several
per cent for as long as its process lives (`edgevision.measure.interleaved.Turns`). Between them the device is looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from statistics import median

from edgevision.artifact import Artifact
from edgevision.latency import Latency, StepTime
from edgevision.measure.attended import say_nothing
from edgevision.measure.bench_program import Start, start
from edgevision.measure.sampling import relative_precision
from edgevision.measure.telemetry import look
from edgevision.measure.transport import Transport, Workspace, check_timed
from edgevision.measurement import Measurement
from edgevision.telemetry import Telemetry

CLOCK = "CLOCK_MONOTONIC of the device"

SLOW_MACS = 50e6
"""Multiply-accumulates a second of the slowest device that a first process is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``threads`` 0: one a core; ``cores``: to bind them to. Sampling ends when half the median's 95 % interval is within
    ``precision`` of it, after at least ``starts`` processes, or after ``limit_s`` of them. Each process warms up for
    ``warmup_s`` and samples for ``process_s``; it is given up when it takes ``patience`` times as long as expected.
    """

    threads: int = 0
    cores: tuple[int, ...] = ()
    precision: float = 0.01
    limit_s: float = 10.0
    starts: int = 3
    warmup_s: float = 0.2
    process_s: float = 0.5
    patience: float = 20.0


PLAN = Plan()


def time_on(
    transport: Transport, artifact: Artifact, plan: Plan = PLAN, progress: Callable[[str], None] = say_nothing
) -> Measurement:
    """Time ``artifact`` on the device that ``transport`` leads to.

    Raises:
        LostDeviceError: the device went away, hangs, or prints something else than a measurement.
        DeviceError: the artifact does not run there, or the device is emulated.
    """
    check_timed(transport)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with transport.open() as workspace:
        progress(f"{transport.name}: sending {artifact.bench.name}")
        session = _Session(workspace, artifact, plan, workspace.push(artifact.bench))
        session.sample(lambda text: progress(f"{transport.name}: {text}"))
        return session.measurement(began)


@dataclass(slots=True)
class _Session:
    workspace: Workspace
    artifact: Artifact
    plan: Plan
    program: str
    starts: list[Start] = field(default_factory=list)
    looks: list[Telemetry] = field(default_factory=list)

    def sample(self, progress: Callable[[str], None]) -> None:
        progress("warming up")
        self.looks.append(look(self.workspace))
        macs = sum(step.macs for step in self.artifact.steps)
        run_s = median(self._start(3, 1, 60.0 + 5 * macs / SLOW_MACS).samples_ms) / 1000
        until = time.monotonic() + self.plan.limit_s
        while not self._enough(time.monotonic() > until):
            progress(f"measuring, process {len(self.starts) + 1}")
            runs = min(max(math.ceil(self.plan.process_s / run_s), 5), 5000)
            warmup = min(math.ceil(self.plan.warmup_s / run_s), 2000)
            expected_s = (runs + warmup + 2) * run_s + 1.0
            profile = () if self.starts else ("--profile",)
            self.starts.append(self._start(runs, warmup, self.plan.patience * expected_s, *profile))
            self.looks.append(look(self.workspace))

    def measurement(self, began: str) -> Measurement:
        first, artifact = self.starts[0], self.artifact
        macs = {step.name: step.macs for step in artifact.steps}
        resident = [each.peak_rss_bytes for each in self.starts if each.peak_rss_bytes is not None]
        latency = Latency(
            samples_ms=tuple(self._samples()),
            warmup=first.warmup,
            threads=first.threads,
            device=self.workspace.info,
            how="measured",
            artifact_sha256=artifact.sha256,
            steps=tuple(StepTime(name=name, median_us=us, macs=macs.get(name, 0)) for name, us in first.steps_us),
        )
        return Measurement(
            latency=latency,
            began=began,
            clock=CLOCK,
            target=artifact.target,
            model_sha256=artifact.model_sha256,
            bench_sha256=sha256(artifact.bench.read_bytes()).hexdigest(),
            versions=artifact.versions,
            cores=self.plan.cores,
            starts=len(self.starts),
            create_ms=median(each.create_ms for each in self.starts),
            first_run_ms=median(each.first_run_ms for each in self.starts),
            peak_rss_bytes=max(resident, default=None),
            looks=tuple(self.looks),
        )

    def _enough(self, late: bool) -> bool:
        if len(self.starts) < (1 if late else self.plan.starts):
            return False
        return late or relative_precision(self._samples()) <= self.plan.precision

    def _samples(self) -> Sequence[float]:
        return [ms for each in self.starts for ms in each.samples_ms]

    def _start(self, runs: int, warmup: int, timeout_s: float, *more: str) -> Start:
        options = ["--runs", str(runs), "--warmup", str(warmup), "--threads", str(self.plan.threads), *more]
        if self.plan.cores:
            options += ["--cores", ",".join(map(str, self.plan.cores))]
        return start(self.workspace, self.artifact, self.program, options, timeout_s)
