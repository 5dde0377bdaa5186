"""What a device says about itself: its state at one moment, what it is, and why a time from it might not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BUSY_PER_CORE = 0.25
"""Load a core that others may cause: a fixed-frequency board at rest shows 0 to 0.1."""

HOT_C = 85.0
"""Raspberry Pi throttles at 80 to 85 degrees (raspberrypi.com, "Frequency management and thermal control"), phones sooner."""

LITTLE_MEMORY = 0.05
LOW_BATTERY = 15
"""Per cent at which Android offers its battery saver, which caps frequencies."""

JUMP_S = 2.0
"""By how much wall clock and uptime may drift apart in a measurement; NTP slews by 0.5 ms a second at most."""

STEADY_GOVERNORS = ("performance", "userspace")
"""Governors that leave the frequency where it is. kernel.org, admin-guide/pm/cpufreq."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """``percent``; ``temperature_c`` is None where it is not told."""

    percent: int
    charging: bool
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """One look. Empty or None is what the device does not tell.

    ``uptime_s`` and ``wall_s`` are the device's clocks; ``load`` is its one-minute average; frequencies in MHz by core:
    ``mhz`` now, ``allowed_mhz`` the highest that is allowed now, ``highest_mhz`` the highest there is. ``throttled``: what
    slows it down now; ``throttle_events``: how often it was slowed down since it started.
    """

    uptime_s: float | None
    wall_s: int | None
    load: float | None
    mhz: Mapping[int, float]
    allowed_mhz: Mapping[int, float]
    highest_mhz: Mapping[int, float]
    governors: Mapping[int, str]
    temperatures_c: Mapping[str, float]
    throttled: tuple[str, ...]
    throttle_events: int | None
    battery: Battery | None
    memory_available_bytes: int | None
    memory_bytes: int | None

    @property
    def hottest_c(self) -> float | None:
        return max(self.temperatures_c.values(), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a device is. ``clusters``: cores of one kind, slowest first; ``target``: what to compile for it, "" for unknown."""

    name: str
    transport: str
    model: str
    system: str
    android: str
    kernel: str
    machine: str
    cpu: str
    features: tuple[str, ...]
    clusters: tuple[tuple[int, ...], ...]
    free_bytes: int | None
    target: str
    telemetry: Telemetry

    @property
    def cores(self) -> int:
        return sum(map(len, self.clusters))


def doubts(look: Telemetry, cores: int) -> tuple[str, ...]:
    """Why times that are measured now might be others later; empty when nothing speaks against them."""
    found = []
    moving = sorted({each for each in look.governors.values() if each not in STEADY_GOVERNORS})
    if moving:
        found.append(f"governor {', '.join(moving)}: frequencies follow the load")
    if look.load is not None and look.load > BUSY_PER_CORE * cores:
        found.append(f"load {look.load:.2f} on {cores} cores: others compute there too")
    capped = {core: mhz for core, mhz in look.allowed_mhz.items() if mhz < look.highest_mhz.get(core, 0)}
    if capped:
        core, mhz = next(iter(capped.items()))
        found.append(f"core {core} is held at {mhz:.0f} of {look.highest_mhz[core]:.0f} MHz")
    found += [f"throttled: {each}" for each in look.throttled]
    if look.hottest_c is not None and look.hottest_c >= HOT_C:
        found.append(f"{look.hottest_c:.0f} degrees C")
    if look.battery and look.battery.percent <= LOW_BATTERY and not look.battery.charging:
        found.append(f"battery at {look.battery.percent} %")
    left, memory = look.memory_available_bytes, look.memory_bytes
    if left is not None and memory is not None and left < LITTLE_MEMORY * memory:
        found.append(f"{left >> 20} MiB of memory left")
    return tuple(found)


def changes(before: Telemetry, after: Telemetry) -> tuple[str, ...]:
    """What went wrong between two looks: throttled in between, restarted, its clock set."""
    found = []
    if before.uptime_s is not None and after.uptime_s is not None:
        if after.uptime_s < before.uptime_s:
            found.append("it restarted in between")
        elif before.wall_s is not None and after.wall_s is not None:
            jumped_s = (after.wall_s - before.wall_s) - (after.uptime_s - before.uptime_s)
            if abs(jumped_s) > JUMP_S:
                found.append(f"its clock was set by {jumped_s:+.0f} s; times are taken from another clock, which is not")
    if before.throttle_events is not None and (after.throttle_events or 0) > before.throttle_events:
        found.append("it was throttled in between")
    found += [f"throttled: {each}" for each in after.throttled if each not in before.throttled]
    return tuple(found)
