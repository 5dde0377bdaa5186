"""This machine as a device. The artifact runs in a process of its own: if it crashes, only that process does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgevision import host
from edgevision.artifact import Artifact, Step
from edgevision.errors import DeviceError
from edgevision.latency import DeviceInfo, Latency, StepTime
from edgevision.measure.compare import Array
from edgevision.measure.cpuinfo import cpu_name
from edgevision.measure.device import check_exit
from edgevision.measure.sampling import STANDARD, Sampling

PROFILED_RUNS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDevice:
    """``threads`` compute a run. ``how`` is "host-build" where this machine stands in for another; ``fallback`` as in
    `edgevision.runtime.load`."""

    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    how: str = "native"
    fallback: str = "never"
    timeout_s: float = 600.0

    @property
    def info(self) -> DeviceInfo:
        return DeviceInfo(
            name="this machine", cpu=cpu_name(host.cpuinfo()), cores=len(os.sched_getaffinity(0)), transport="local process"
        )

    def execute(self, artifact: Artifact, cases: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Outputs for each list of inputs, from one session."""
        with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
            for number, inputs in enumerate(cases):
                save(Path(folder), f"in{number}", inputs)
            self._ask(artifact, Path(folder), {"cases": len(cases)})
            return [fetch(Path(folder), f"out{number}", len(artifact.outputs)) for number in range(len(cases))]

    def time(self, artifact: Artifact, inputs: Sequence[Array], sampling: Sampling = STANDARD) -> Latency:
        """Time whole runs on ``inputs``, then profile `PROFILED_RUNS` more, operator by operator.

        ``inputs`` matter little to dense kernels, but zeros and denormals are faster or slower than real activations.
        """
        with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
            save(Path(folder), "in0", inputs)
            answer = self._ask(artifact, Path(folder), {"sampling": asdict(sampling), "profiled": PROFILED_RUNS})
        return Latency(
            samples_ms=tuple(1e3 * s for s in answer["seconds"]),
            warmup=answer["warmup"],
            threads=self.threads,
            device=self.info,
            how="measured",
            artifact_sha256=artifact.sha256,
            steps=_steps(artifact.steps_on(answer["processor"]), answer["profile"]),
            processor=answer["processor"],
            fell_back=answer["fell_back"],
        )

    def _ask(self, artifact: Artifact, folder: Path, request: Mapping[str, object]) -> Mapping[str, Any]:
        command = [sys.executable, "-m", "edgevision.measure.local_process", str(artifact.path), str(folder)]
        text = json.dumps({"threads": self.threads, "fallback": self.fallback, **request})
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, timeout=self.timeout_s, env=child_environment()
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{artifact.path} ran for more than {self.timeout_s:.0f} s on this machine") from error
        check_exit(artifact.path, "on this machine", done.returncode, done.stderr)
        answer: Mapping[str, Any] = json.loads(done.stdout)
        return answer


def child_environment() -> dict[str, str]:
    """The child imports the same edgevision as this process, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def save(folder: Path, stem: str, arrays: Sequence[Array]) -> None:
    for number, array in enumerate(arrays):
        np.save(folder / f"{stem}.{number}.npy", array, allow_pickle=False)


def fetch(folder: Path, stem: str, count: int) -> list[Array]:
    return [np.load(folder / f"{stem}.{number}.npy", allow_pickle=False) for number in range(count)]


def _steps(compiled: Sequence[Step], profile: Sequence[tuple[str, float]]) -> tuple[StepTime, ...]:
    macs = {step.name: step.macs for step in compiled}
    return tuple(StepTime(name=name, median_us=us, macs=macs.get(name, 0)) for name, us in profile)
