"""What a graph costs, as a modelled time: multiply-accumulates, weights and activations moved, kernels launched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one kernel does. ``label`` names the kind: "conv", "gemm", "elementwise", "pool", "move"."""

    label: str
    macs: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Modelled microseconds of one kernel: macs / rate + bytes / bandwidth + launch.

    The figures of merit are those of one Cortex-A76 at 2.4 GHz: two 128-bit FP pipes give 19.2 GMAC/s in float32, of
    which good kernels reach about two thirds (Arm, Cortex-A76 Software Optimization Guide); 8 GB/s of LPDDR4X is what
    one core streams; a step of the artifact with its threads' barrier takes about 3 us. ``measured`` gives the
    microseconds of a kernel where a target has measured figures, None where it has not: the model is asked then.
    """

    macs_per_us: float = 12_800.0
    bytes_per_us: float = 8_000.0
    launch_us: float = 3.0
    measured: Callable[[Work], float | None] | None = None

    def microseconds(self, work: Work) -> float:
        """Time of one kernel."""
        known = self.measured(work) if self.measured is not None else None
        if known is not None:
            return known
        moved = work.weight_bytes + work.activation_bytes
        return work.macs / self.macs_per_us + moved / self.bytes_per_us + self.launch_us

    def describe(self) -> dict[str, Any]:
        """The figures, for a report; ``how`` says where they come from."""
        return {
            "how": "modelled" if self.measured is None else "measured",
            "macs_per_us": self.macs_per_us,
            "bytes_per_us": self.bytes_per_us,
            "launch_us": self.launch_us,
        }
