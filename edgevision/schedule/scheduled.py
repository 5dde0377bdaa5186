"""What scheduling one workload gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from tvm import tirx

from edgevision.tuning_log import Choice

Relay = Callable[[np.ndarray], np.ndarray]
"""Re-lay a constant at compile time: the array as the workload has it -> the array as the scheduled function reads
it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A scheduled PrimFunc. ``choice`` is what made it, None where there was none to make. ``relay`` maps parameter numbers
    to how their constants are re-laid; ``scratch`` are the shapes of float32 buffers that follow the workload's own
    parameters, whose contents live only during the call."""

    func: tirx.PrimFunc
    schedule: str
    choice: Choice | None = None
    relay: Mapping[int, Relay] = field(default_factory=dict)
    scratch: tuple[tuple[int, ...], ...] = ()
