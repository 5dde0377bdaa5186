"""Devices as tables and as JSON: what is listed, what each says it is, the state it is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from edgevision.device_file import DeviceEntry
from edgevision.errors import EdgevisionError
from edgevision.measurement import Measurement
from edgevision.report.json import Json, document
from edgevision.telemetry import Battery, Probe, Telemetry, doubts


def devices_report(entries: Sequence[DeviceEntry]) -> Json:
    """What ``edgevision devices list --json`` prints."""
    return document("devices", {"devices": [entry(each) for each in entries]})


def entry(each: DeviceEntry) -> Json:
    return {
        "name": each.name,
        "transport": each.transport,
        "where": where(each),
        "target": each.target,
        "labels": list(each.labels),
        "cores": {name: list(numbers) for name, numbers in each.cores.items()},
        "environment": dict(each.environment),
        "folder": each.folder,
    }


def where(each: DeviceEntry) -> str:
    """What its transport connects to: "pi@pi5.local:2222 via gate"."""
    if each.transport in ("local", "emulator"):
        return "this machine"
    address = each.serial or (f"{each.user}@" if each.user else "") + each.address + (f":{each.port}" if each.port else "")
    return (address or "the only one attached") + (f" via {each.jump}" if each.jump else "")


def devices_view(entries: Sequence[DeviceEntry]) -> RenderableType:
    table = Table("device", "transport", "where", "target", "labels", "cores")
    for each in entries:
        sets = "; ".join(f"{name}: {','.join(map(str, numbers))}" for name, numbers in each.cores.items())
        table.add_row(each.name, each.transport, where(each), each.target, ", ".join(each.labels), sets)
    return table


def probes_report(probes: Mapping[str, Probe | EdgevisionError]) -> Json:
    """What ``edgevision devices probe --json`` prints."""
    return document(
        "probes",
        {
            "devices": [probe(each) for each in probes.values() if isinstance(each, Probe)],
            "lost": [lost(name, each) for name, each in probes.items() if isinstance(each, EdgevisionError)],
        },
    )


def lost(name: str, error: EdgevisionError) -> Json:
    """A device without a result; ``cause`` is "" where the device was there and something else was wrong."""
    return {"name": name, "cause": getattr(error, "cause", ""), "message": str(error)}


def probe(each: Probe) -> Json:
    return {
        "name": each.name,
        "transport": each.transport,
        "model": each.model,
        "system": each.system,
        "android": each.android or None,
        "kernel": each.kernel,
        "machine": each.machine,
        "cpu": each.cpu,
        "features": list(each.features),
        "clusters": [list(cores) for cores in each.clusters],
        "free_bytes": each.free_bytes,
        "target": each.target or None,
        "doubts": list(doubts(each.telemetry, each.cores)),
        "telemetry": telemetry(each.telemetry),
    }


def telemetry(look: Telemetry) -> Json:
    """Frequencies by core in MHz, temperatures in degrees C by sensor; null is what the device does not tell."""
    return {
        "uptime_s": look.uptime_s,
        "wall_s": look.wall_s,
        "load": look.load,
        "mhz": _by_core(look.mhz),
        "allowed_mhz": _by_core(look.allowed_mhz),
        "highest_mhz": _by_core(look.highest_mhz),
        "governors": _by_core(look.governors),
        "temperatures_c": dict(look.temperatures_c),
        "throttled": list(look.throttled),
        "throttle_events": look.throttle_events,
        "battery": None if look.battery is None else _battery(look.battery),
        "memory_available_bytes": look.memory_available_bytes,
        "memory_bytes": look.memory_bytes,
    }


def measurement(record: Measurement) -> Json:
    """What surrounds a latency: which device, build, clock and when."""
    return {
        "began": record.began,
        "clock": record.clock,
        "target": record.target,
        "library_sha256": record.latency.artifact_sha256,
        "model_sha256": record.model_sha256,
        "bench_sha256": record.bench_sha256,
        "versions": dict(sorted(record.versions.items())),
        "cores": list(record.cores),
        "starts": record.starts,
        "create_ms": record.create_ms,
        "first_run_ms": record.first_run_ms,
        "peak_rss_bytes": record.peak_rss_bytes,
        "doubts": list(record.doubts),
        "telemetry": [telemetry(each) for each in record.looks],
    }


def probe_view(each: Probe) -> RenderableType:
    """One device: what it is, its state, and whether a time from it would hold."""
    table = Table("", each.name, show_header=True)
    for row, text in _facts(each):
        if text:
            table.add_row(row, text)
    against = doubts(each.telemetry, each.cores)
    trust = "\n".join(f"- {doubt}" for doubt in against) if against else "nothing speaks against it"
    table.add_row("a time from it", trust)
    return Group(table)


def _facts(each: Probe) -> Sequence[tuple[str, str]]:
    look = each.telemetry
    shown = [name for name in each.features if name in _SHOWN_FEATURES]
    free = "" if each.free_bytes is None else f"{each.free_bytes / 1e9:.3g} GB"
    return (
        ("model", each.model),
        ("system", each.system),
        ("kernel", f"{each.kernel} ({each.machine})"),
        ("CPU", each.cpu),
        ("instructions", " ".join(shown)),
        ("cores", "; ".join(",".join(map(str, cores)) for cores in each.clusters)),
        ("target", each.target or "none fits"),
        ("free on disk", free),
        ("governor", ", ".join(sorted(set(look.governors.values())))),
        ("frequency", _range(look.mhz, "MHz")),
        ("temperature", "" if look.hottest_c is None else f"{look.hottest_c:.0f} degrees C at most"),
        ("battery", _battery_text(look.battery)),
        ("load", "" if look.load is None else f"{look.load:.2f}"),
        ("memory", _memory(look)),
    )


_SHOWN_FEATURES = frozenset(
    ("asimd", "asimdhp", "asimddp", "asimdfhm", "atomics", "i8mm", "bf16", "sve", "sve2", "neon", "vfpv4", "avx2", "fma", "avx512f",
     "avx512_vnni", "avx_vnni")
)  # fmt: skip
"""Of hundreds, those that change how a network is computed."""


def _memory(look: Telemetry) -> str:
    if look.memory_available_bytes is None or look.memory_bytes is None:
        return ""
    return f"{look.memory_available_bytes / 1e9:.3g} of {look.memory_bytes / 1e9:.3g} GB available"


def _range(values: Mapping[int, float], unit: str) -> str:
    if not values:
        return ""
    least, most = min(values.values()), max(values.values())
    return f"{least:.0f} {unit}" if least == most else f"{least:.0f} to {most:.0f} {unit}"


def _battery_text(battery: Battery | None) -> str:
    if battery is None:
        return ""
    warm = "" if battery.temperature_c is None else f", {battery.temperature_c:.0f} degrees C"
    return f"{battery.percent} %{', charging' if battery.charging else ''}{warm}"


def _battery(battery: Battery) -> Json:
    return {"percent": battery.percent, "charging": battery.charging, "temperature_c": battery.temperature_c}


def _by_core(values: Mapping[int, object]) -> Json:
    return {str(core): value for core, value in values.items()}
