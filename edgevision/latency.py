"""Figures and how each was obtained: measured (on that device), emulated (correctness only), modelled (a stated model)."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal

How = Literal["measured", "emulated", "modelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """What ran the artifact: name ("this machine", "qemu cortex-a72", ...), its CPU's name, cores seen, how it is reached."""

    name: str
    cpu: str
    cores: int
    transport: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Time of one fused operator: median over profiled runs, in microseconds."""

    name: str
    median_us: float
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Samples of whole runs, in milliseconds, after ``warmup`` untimed ones."""

    samples_ms: tuple[float, ...]
    warmup: int
    threads: int
    device: DeviceInfo
    how: How
    artifact_sha256: str
    steps: tuple[StepTime, ...] = ()

    @property
    def median_ms(self) -> float:
        return median(self.samples_ms)

    @property
    def min_ms(self) -> float:
        return min(self.samples_ms)

    @property
    def p90_ms(self) -> float:
        """90th percentile, nearest rank."""
        ranked = sorted(self.samples_ms)
        return ranked[-(-9 * len(ranked) // 10) - 1]

    @property
    def spread(self) -> float:
        """Median absolute deviation over median."""
        mid = self.median_ms
        return median(abs(s - mid) for s in self.samples_ms) / mid


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorError:
    """Error of one output: max|a - b| / max|ref| over all inputs tried; for integer outputs the number of differing elements."""

    name: str
    error: float
    allowed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How the final artifact was compared with onnxruntime on the original file.

    ``how`` is one of "native", "qemu", "qemu-bench" (the static executable stood in for the .so), "host-build" (the same
    program built for this machine, because qemu is not installed), "skipped".
    """

    how: str
    inputs_tried: int
    seed: int
    errors: tuple[TensorError, ...]
    reference: str

    @property
    def passed(self) -> bool:
        return all(e.error <= e.allowed for e in self.errors)

    @property
    def max_error(self) -> float:
        return max((e.error for e in self.errors), default=0.0)
