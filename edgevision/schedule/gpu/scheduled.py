"""What scheduling one workload for a device gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tvm import tirx

from edgevision.schedule.scheduled import Relay

Scratch = tuple[tuple[int, ...], str]
"""Shape and dtype of a buffer between two kernels of one workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One launch. ``arguments``: which of the workload's parameters, then of its scratch buffers, its own parameters are."""

    func: tirx.PrimFunc
    arguments: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSchedule:
    """Kernels in order. ``relay`` maps parameter numbers to how their constants are re-laid; ``scratch`` lives from the first
    kernel to the last."""

    kernels: tuple[Kernel, ...]
    schedule: str
    relay: Mapping[int, Relay] = field(default_factory=dict)
    scratch: tuple[Scratch, ...] = ()
