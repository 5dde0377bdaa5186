"""Bouts that nobody measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.artifact import Artifact
from edgevision.bout import Block, Bout, Profile, Start
from edgevision.latency import DeviceInfo
from edgevision.telemetry import Telemetry

MS = 1_000_000


def start(side: str, ns: float = MS, **more: Any) -> Start:
    given = {"threads": 1, "elapsed_ns": 3 * round(ns), **more}
    return Start(side="A" if side == "A" else "B", samples_ns=(round(ns),) * 3, **given)


def block(ratio: float = 1.0, order: str = "ABBA", ns: float = MS, clock: str = "", **more: Any) -> Block:
    starts = [start(side, ns * (ratio if side == "B" else 1.0), **more) for side in order]
    return Block(starts=tuple(starts), clock=clock)


def blocks(
    ratio: float, count: int, noise: float = 0.03, seed: int = 0, ns: float = MS, kept: float = 0.0, **more: Any
) -> list[Block]:
    """``noise``: standard deviation of ln(B / A); ``kept``: how much of it one block hands to the next. The noise is the
    slots'; a coin decides who gets which."""
    random, carried, made = np.random.default_rng(seed), 0.0, []
    for _ in range(count):
        carried = kept * carried + (1 - kept**2) ** 0.5 * random.normal(scale=noise)
        swapped = random.random() < 0.5
        made.append(block(ratio * float(np.exp(-carried if swapped else carried)), "BAAB" if swapped else "ABBA", ns, **more))
    return made


def telemetry(**more: Any) -> Telemetry:
    nothing: dict[str, Any] = {
        "uptime_s": None, "wall_s": None, "load": None, "mhz": {}, "allowed_mhz": {}, "highest_mhz": {}, "governors": {},
        "temperatures_c": {}, "throttled": (), "throttle_events": None, "battery": None, "memory_available_bytes": None,
        "memory_bytes": None,
    }  # fmt: skip
    return Telemetry(**{**nothing, **more})


def bout(found: Sequence[Block], **more: Any) -> Bout:
    profile = Profile(steps_us=(("conv_relu", 700.0), ("resize", 300.0)), cold_start_ns=5 * MS, peak_bytes=10_000_000)
    given: dict[str, Any] = {
        "device": DeviceInfo(name="phone", cpu="Cortex-A76", cores=8, transport="adb"), "how": "measured", "seed": 0, "cores": (4,),
        "profiles": (profile, profile), "looks": (telemetry(),), "seconds": 12.5, "began": "2026-01-02T03:04:05+00:00", **more,
    }  # fmt: skip
    return Bout(blocks=tuple(found), **given)


class Ring:
    """In place of devices: the candidate takes ``ratio`` times as long as the baseline, which takes ``ms``."""

    def __init__(self, ratio: float = 1.0, ms: float = 1.0, noise: float = 0.01) -> None:
        self.ratio, self.ms, self.noise = ratio, ms, noise
        self.asked: list[tuple[str, Path, Path, Any]] = []

    def __call__(self, transport: Any, first: Artifact, second: Artifact, plan: Any, enough: Any, progress: Any) -> Bout:
        self.asked.append((transport.name, first.path, second.path, plan))
        found: list[Block] = blocks(self.ratio, 60, self.noise, ns=self.ms * MS)
        for count in (1, 13, 18, 25, 35, 49, 60):
            if enough(found[:count], 1.0 + count * (plan.limit_s - 1) / 60, ""):
                break
        return bout(found[:count])
