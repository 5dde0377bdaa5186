"""Figures and how each was obtained: measured on that device, emulated (correctness only), modelled (stated model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from statistics import median
from typing import Literal

How = Literal["measured", "emulated", "modelled"]


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Confidence interval of the median by order statistics, whatever the distribution; None below six samples.

    The interval from the k-th smallest to the k-th largest of n samples covers the median with probability
    1 - 2 P(B < k), B ~ Binomial(n, 1/2); k is the largest that reaches ``confidence``.
    Source: David and Nagaraja, Order Statistics, section 7.1. Holds for independent samples.
    """
    rank = _interval_rank(len(samples), confidence)
    if rank == 0:
        return None
    ranked = sorted(samples)
    return ranked[rank - 1], ranked[-rank]


@lru_cache(maxsize=4096)
def _interval_rank(count: int, confidence: float) -> int:
    outside = Fraction(1 - confidence) * 2**count
    rank, tail, ways = 0, 0, 1
    while 2 * (tail + ways) <= outside:
        tail += ways
        ways = ways * (count - rank) // (rank + 1)
        rank += 1
    return rank


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """What ran the artifact: its name ("this machine", "qemu cortex-a72"), CPU, cores seen, how it is reached."""

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
    """Samples of whole runs, in milliseconds, after ``warmup`` untimed ones.

    ``processor`` computed them, "cpu" or "gpu", "" where the device does not tell; ``fell_back`` is why the CPU took over from the
    GPU, "" if it did not.
    """

    samples_ms: tuple[float, ...]
    warmup: int
    threads: int
    device: DeviceInfo
    how: How
    artifact_sha256: str
    steps: tuple[StepTime, ...] = ()
    processor: str = ""
    fell_back: str = ""

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

    @property
    def interval_ms(self) -> tuple[float, float] | None:
        """95 % confidence interval of the median; None below six samples."""
        return median_interval(self.samples_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorError:
    """Error of one output: max|a - b| / max|ref| over all inputs tried; for integers how many elements differ.

    Infinite where there is no such figure; ``detail`` says why ("NaN in other places", "shape (1, 10) instead of ...").
    """

    name: str
    error: float
    allowed: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How the final artifact was compared with onnxruntime on the original file.

    ``how`` is one of "native", "qemu", "qemu-bench" (the static executable stood in for the .so), "host-build" (the
    same program built for this machine, because qemu is not installed), "device" (its -bench program, behind a
    transport), "skipped". ``scale`` is the standard deviation
    of the float inputs.
    """

    how: str
    inputs_tried: int
    seed: int
    errors: tuple[TensorError, ...]
    reference: str
    scale: float = 1.0

    @property
    def passed(self) -> bool:
        return all(e.error <= e.allowed for e in self.errors)

    @property
    def max_error(self) -> float:
        return max((e.error for e in self.errors), default=0.0)
