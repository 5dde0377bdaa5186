"""Looks at a device: one shell command each, because devices are far away. What is not there is not told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from edgevision.errors import DeviceError
from edgevision.measure.cpuinfo import clusters, cpu_name, features
from edgevision.measure.transport import Workspace
from edgevision.target import names
from edgevision.telemetry import Battery, Probe, Telemetry

SCRIPT = Path(__file__).parent / "look.sh"
LOOK_S = 20.0

PI_FLAGS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
"""Bits 0 to 3 of a Raspberry Pi's get_throttled: now. raspberrypi.com, "vcgencmd get_throttled"."""

SLOWS = re.compile("cpu|processor|devfreq|gpu", re.IGNORECASE)
"""Cooling devices that cool by computing less; the others are fans."""

ANDROID_CHARGING = ("2", "5")
"""BatteryManager.BATTERY_STATUS_CHARGING and _FULL."""

ABSOLUTE_ZERO_C, MOST_C = -273.0, 200.0


def look(workspace: Workspace) -> Telemetry:
    """The device's state now. Raises: LostDeviceError, DeviceError."""
    return parse(_seen(workspace))


def probe(workspace: Workspace, name: str) -> Probe:
    """What the device is, and its state now. Raises: LostDeviceError, DeviceError."""
    return parse_probe(_seen(workspace, "all"), name, workspace.info.transport)


def _seen(workspace: Workspace, *words: str) -> str:
    ran = workspace.run(["sh", workspace.push(SCRIPT), *words], timeout_s=LOOK_S)
    if ran.status:
        raise DeviceError(f"device {workspace.info.name}: look.sh ends with status {ran.status} there: {ran.stderr}")
    return ran.stdout


def parse(text: str) -> Telemetry:
    """The state in what look.sh printed."""
    seen = _table(text)
    uptime, load = seen.get("/proc/uptime", "").split(), seen.get("/proc/loadavg", "").split()
    return Telemetry(
        uptime_s=float(uptime[0]) if uptime else None,
        wall_s=_whole(seen.get("date", "")),
        load=float(load[0]) if load else None,
        mhz=_by_core(seen, "cpufreq/scaling_cur_freq"),
        allowed_mhz=_by_core(seen, "cpufreq/scaling_max_freq"),
        highest_mhz=_by_core(seen, "cpufreq/cpuinfo_max_freq"),
        governors={core: value for core, value in _cores(seen, "cpufreq/scaling_governor")},
        temperatures_c=_temperatures(seen),
        throttled=_throttled(seen),
        throttle_events=_throttle_events(seen),
        battery=_battery(seen),
        memory_available_bytes=_kib(seen, "meminfo/MemAvailable"),
        memory_bytes=_kib(seen, "meminfo/MemTotal"),
    )


def parse_probe(text: str, name: str, transport: str) -> Probe:
    """What the device is, in what ``look.sh all`` printed."""
    text, _, cpuinfo = text.partition("\ncpuinfo\n")
    seen, state = _table(text), parse(text)
    android, machine = seen.get("ro.build.version.release", ""), seen.get("machine", "")
    speed = dict(_cores(seen, "cpu_capacity")) or {core: f"{mhz:.0f}" for core, mhz in state.highest_mhz.items()}
    maker = f"{seen.get('ro.product.manufacturer', '')} {seen.get('ro.product.model', '')}".strip()
    return Probe(
        name=name,
        transport=transport,
        model=maker or seen.get("/proc/device-tree/model", "").rstrip("\0"),
        system=f"Android {android} (API {seen.get('ro.build.version.sdk', '?')})" if android else seen.get("system", "").strip('"'),
        android=android,
        kernel=seen.get("kernel", ""),
        machine=machine,
        cpu=cpu_name(cpuinfo),
        features=features(cpuinfo),
        clusters=clusters(cpuinfo, {core: int(value) for core, value in speed.items() if value.isdecimal()}),
        free_bytes=_kib(seen, "free_kib"),
        target=fitting(machine, seen.get("bits", ""), bool(android), transport),
        telemetry=state,
    )


def fitting(machine: str, bits: str, android: bool, transport: str) -> str:
    """The target for a machine that `uname -m` calls ``machine``; "" where none fits. A 64-bit kernel may have 32-bit programs."""
    if transport == "local":
        return "native"
    if machine in ("aarch64", "arm64") and bits != "32":
        found = "arm64-android" if android else "arm64"
    elif machine in ("armv7l", "armv8l", "aarch64") and not android:
        found = "armv7"
    else:
        found = {"x86_64": "" if android else "x86_64"}.get(machine, "")
    return found if found in names() else ""


def _table(text: str) -> Mapping[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(" ") for line in text.splitlines()) if value.strip()}


def _cores(seen: Mapping[str, str], leaf: str) -> list[tuple[int, str]]:
    found = ((re.fullmatch(rf"/sys/devices/system/cpu/cpu(\d+)/{leaf}", path), value) for path, value in seen.items())
    return sorted((int(match[1]), value) for match, value in found if match)


def _by_core(seen: Mapping[str, str], leaf: str) -> Mapping[int, float]:
    """kHz, as cpufreq has them, in MHz."""
    return {core: int(value) / 1000 for core, value in _cores(seen, leaf) if value.isdecimal()}


def _temperatures(seen: Mapping[str, str]) -> Mapping[str, float]:
    """Thermal zones by type (numbered where a type is there twice), in degrees C; the kernel's are in thousandths."""
    found: dict[str, float] = {}
    for path, kind in seen.items():
        value = seen.get(path.removesuffix("type") + "temp", "")
        if re.fullmatch(r"/sys/class/thermal/thermal_zone\d+/type", path) and re.fullmatch(r"-?\d+", value):
            celsius = int(value) / 1000
            if ABSOLUTE_ZERO_C < celsius < MOST_C:  # sensors that are off say -274000 or 2147483647
                found[kind if kind not in found else f"{kind} ({path.split('/')[4].removeprefix('thermal_')})"] = celsius
    return found


def _throttled(seen: Mapping[str, str]) -> tuple[str, ...]:
    cooling = [
        f"{kind} at step {seen[state]}"
        for path, kind in seen.items()
        if re.fullmatch(r"/sys/class/thermal/cooling_device\d+/type", path) and SLOWS.search(kind)
        and seen.get(state := path.removesuffix("type") + "cur_state", "0") != "0"
    ]  # fmt: skip
    flags = seen.get("/sys/devices/platform/soc/soc:firmware/get_throttled", "0")
    bits = int(flags, 16) if re.fullmatch(r"(0x)?[0-9a-fA-F]+", flags) else 0
    return (*cooling, *(flag for bit, flag in enumerate(PI_FLAGS) if bits >> bit & 1))


def _throttle_events(seen: Mapping[str, str]) -> int | None:
    counts = [int(value) for path, value in seen.items() if path.endswith("_throttle_count") and value.isdecimal()]
    return sum(counts) if counts else None


def _battery(seen: Mapping[str, str]) -> Battery | None:
    """Android's own words, else the first battery in /sys; tenths of a degree in both."""
    if seen.get("battery/level", "").isdecimal():
        level, tenths = seen["battery/level"], seen.get("battery/temperature", "")
        charging = seen.get("battery/status") in ANDROID_CHARGING
    else:
        folders = [path.removesuffix("/type") for path, kind in seen.items() if path.endswith("/type") and kind == "Battery"]
        found = next((each for each in folders if seen.get(f"{each}/capacity", "").isdecimal()), None)
        if found is None:
            return None
        level, charging = seen[f"{found}/capacity"], seen.get(f"{found}/status") in ("Charging", "Full", "Not charging")
        tenths = seen.get(f"{found}/temp", "")
    return Battery(percent=int(level), charging=charging, temperature_c=int(tenths) / 10 if tenths.isdecimal() else None)


def _kib(seen: Mapping[str, str], key: str) -> int | None:
    value = _whole(seen.get(key, ""))
    return None if value is None else value << 10


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
