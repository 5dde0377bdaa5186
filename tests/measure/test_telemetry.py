"""What devices say of themselves, as it is printed by them, and what speaks against a time from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from edgevision.measure.cpuinfo import clusters, cpu_name, features
from edgevision.measure.telemetry import fitting, look, parse, parse_probe, probe
from edgevision.telemetry import Battery, Telemetry, changes, doubts
from tests.measure.boards import QUICK, board

CPU = "/sys/devices/system/cpu/cpu"
A76, A55 = "0xd0b", "0xd05"


def arm(*parts: str) -> str:
    """/proc/cpuinfo of an arm64 kernel."""
    return "".join(
        f"processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
        for n, part in enumerate(parts)
    )


PI5 = (
    "/proc/uptime 1234.50 4800.00\n/proc/loadavg 0.08 0.03 0.01 1/180 2222\ndate 1700000000\n"
    + "".join(
        f"{CPU}{n}/cpufreq/scaling_cur_freq 1500000\n{CPU}{n}/cpufreq/scaling_governor ondemand\n"
        f"{CPU}{n}/cpufreq/scaling_max_freq 2400000\n{CPU}{n}/cpufreq/cpuinfo_max_freq 2400000\n"
        for n in range(4)
    )
    + "/sys/class/thermal/thermal_zone0/type cpu-thermal\n/sys/class/thermal/thermal_zone0/temp 52350\n"
    "/sys/class/thermal/cooling_device0/type pwm-fan\n/sys/class/thermal/cooling_device0/cur_state 2\n"
    "/sys/devices/platform/soc/soc:firmware/get_throttled 50005\n"
    "meminfo/MemTotal 8245520\nmeminfo/MemAvailable 7245520\n"
    "machine aarch64\nkernel Linux 6.6.31\nbits 64\n/proc/device-tree/model Raspberry Pi 5 Model B Rev 1.0\n"
    'system "Debian GNU/Linux 12 (bookworm)"\nfree_kib 20000000\ncpuinfo\n' + arm(*[A76] * 4)
)

PHONE = (
    "/proc/uptime 99.00 1.00\n/proc/loadavg 6.50 3.03 2.01 9/1800 2222\ndate 1700000000\n"
    + "".join(
        f"{CPU}{n}/cpufreq/scaling_cur_freq {600 + n}000\n{CPU}{n}/cpufreq/scaling_governor schedutil\n"
        f"{CPU}{n}/cpufreq/scaling_max_freq {1800 if n < 4 else 1500}000\n"
        f"{CPU}{n}/cpufreq/cpuinfo_max_freq {1800 if n < 4 else 2400}000\n"
        for n in range(6)
    )
    + "/sys/class/thermal/thermal_zone0/type battery\n/sys/class/thermal/thermal_zone0/temp 31000\n"
    "/sys/class/thermal/thermal_zone1/type cpu\n/sys/class/thermal/thermal_zone1/temp 88000\n"
    "/sys/class/thermal/thermal_zone2/type cpu\n/sys/class/thermal/thermal_zone2/temp -274000\n"
    "/sys/class/thermal/cooling_device3/type thermal-cpufreq-4\n/sys/class/thermal/cooling_device3/cur_state 3\n"
    "battery/level 14\nbattery/status 3\nbattery/temperature 305\n"
    "machine aarch64\nkernel Linux 5.10.66-android12\nbits \nro.product.manufacturer Acme\nro.product.model Phone 6\n"
    "ro.build.version.release 13\nro.build.version.sdk 33\nfree_kib 1000\ncpuinfo\n" + arm(*[A55] * 4, *[A76] * 2)
)


def test_a_raspberry_pi() -> None:
    found = parse_probe(PI5, "pi5", "ssh")
    assert (found.model, found.system) == ("Raspberry Pi 5 Model B Rev 1.0", "Debian GNU/Linux 12 (bookworm)")
    assert (found.cpu, found.clusters, found.target) == ("4 x Cortex-A76", ((0, 1, 2, 3),), "arm64")
    assert found.features == ("fp", "asimd", "asimdhp", "asimddp") and found.free_bytes == 20000000 << 10
    look = found.telemetry
    assert (look.uptime_s, look.wall_s, look.load, look.hottest_c) == (1234.5, 1700000000, 0.08, 52.35)
    assert look.mhz == {n: 1500.0 for n in range(4)} and look.memory_bytes == 8245520 << 10
    assert look.throttled == ("under-voltage", "throttled"), "bits 0 and 2 are now, 16 and 18 once; a fan throttles nothing"
    assert doubts(look, found.cores) == (
        "governor ondemand: frequencies follow the load", "throttled: under-voltage", "throttled: throttled"
    )  # fmt: skip


def test_a_phone() -> None:
    found = parse_probe(PHONE, "phone", "adb")
    assert (found.model, found.system, found.target) == ("Acme Phone 6", "Android 13 (API 33)", "arm64-android")
    assert (found.cpu, found.clusters) == ("4 x Cortex-A55 + 2 x Cortex-A76", ((0, 1, 2, 3), (4, 5)))
    assert found.telemetry.battery == Battery(percent=14, charging=False, temperature_c=30.5)
    assert found.telemetry.temperatures_c == {"battery": 31.0, "cpu": 88.0}, "a sensor that is off is none"
    assert doubts(found.telemetry, found.cores) == (
        "governor schedutil: frequencies follow the load", "load 6.50 on 6 cores: others compute there too",
        "core 4 is held at 1500 of 2400 MHz", "throttled: thermal-cpufreq-4 at step 3", "88 degrees C", "battery at 14 %",
    )  # fmt: skip


def test_what_is_not_there_is_not_told() -> None:
    found = parse("")
    assert found == Telemetry(
        uptime_s=None, wall_s=None, load=None, mhz={}, allowed_mhz={}, highest_mhz={}, governors={}, temperatures_c={},
        throttled=(), throttle_events=None, battery=None, memory_available_bytes=None, memory_bytes=None,
    )  # fmt: skip
    assert doubts(found, 4) == () and changes(found, found) == () and found.hottest_c is None


STEADY = replace(
    parse(""), governors={0: "performance"}, load=0.9, mhz={0: 800.0}, allowed_mhz={0: 2400.0}, highest_mhz={0: 2400.0},
    temperatures_c={"cpu": 84.0}, battery=Battery(percent=16, charging=False), memory_available_bytes=6, memory_bytes=100,
)  # fmt: skip
NEAR_MISSES: dict[str, tuple[dict[str, object], str]] = {
    "governor": ({"governors": {0: "performance", 1: "powersave"}}, "governor powersave"),
    "load": ({"load": 1.1}, "load 1.10"),
    "held": ({"allowed_mhz": {0: 2300.0}}, "held at 2300"),
    "throttled": ({"throttled": ("processor at step 1",)}, "throttled: processor"),
    "hot": ({"temperatures_c": {"cpu": 85.0}}, "85 degrees"),
    "battery": ({"battery": Battery(percent=15, charging=False)}, "battery at 15 %"),
    "memory": ({"memory_available_bytes": 4}, "memory left"),
}


def test_a_steady_device_is_trusted() -> None:
    assert doubts(STEADY, 4) == ()
    assert doubts(replace(STEADY, battery=Battery(percent=5, charging=True)), 4) == ()


@pytest.mark.parametrize(("change", "doubt"), NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_each_doubt_has_its_cause(change: Mapping[str, object], doubt: str) -> None:
    (found,) = doubts(replace(STEADY, **change), 4)  # type: ignore[arg-type]
    assert doubt in found


@pytest.mark.parametrize(
    ("wall_s", "uptime_s", "events", "expected"),
    [
        (110, 20.0, 3, ()),
        (111, 20.0, 3, ()),
        (113, 20.0, 3, ("its clock was set by +3 s; times are taken from another clock, which is not",)),
        (10, 20.0, 3, ("its clock was set by -100 s; times are taken from another clock, which is not",)),
        (110, 1.0, 0, ("it restarted in between",)),
        (110, 20.0, 4, ("it was throttled in between",)),
    ],
)
def test_what_changes_between_two_looks(wall_s: int, uptime_s: float, events: int, expected: tuple[str, ...]) -> None:
    before = replace(parse(""), wall_s=100, uptime_s=10.0, throttle_events=3)
    assert changes(before, replace(before, wall_s=wall_s, uptime_s=uptime_s, throttle_events=events)) == expected


def test_x86_counts_how_often_it_was_throttled() -> None:
    text = f"{CPU}0/thermal_throttle/core_throttle_count 2\n{CPU}1/thermal_throttle/core_throttle_count 3\n"
    assert parse(text).throttle_events == 5


def test_a_laptop_has_its_battery_in_sys() -> None:
    at = "/sys/class/power_supply"
    text = f"{at}/AC/type Mains\n{at}/BAT0/type Battery\n{at}/BAT0/status Discharging\n{at}/BAT0/capacity 77\n"
    assert parse(text).battery == Battery(percent=77, charging=False)
    assert parse(text.replace("Battery", "UPS")).battery is None


@pytest.mark.parametrize(
    ("machine", "bits", "android", "target"),
    [
        ("aarch64", "64", False, "arm64"), ("aarch64", "64", True, "arm64-android"), ("aarch64", "32", False, "armv7"),
        ("aarch64", "", True, "arm64-android"), ("armv7l", "32", False, "armv7"), ("armv6l", "32", False, ""),
        ("armv7l", "32", True, ""), ("x86_64", "64", False, "x86_64"), ("riscv64", "64", False, ""),
    ],
)  # fmt: skip
def test_the_target_that_fits(machine: str, bits: str, android: bool, target: str) -> None:
    assert fitting(machine, bits, android, "ssh") == target


def test_names_of_cores() -> None:
    assert cpu_name("processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: AMD EPYC\n") == "AMD EPYC"
    hidden = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
    assert cpu_name(hidden) == "AMD EPYC (family 25, model 17)"
    assert cpu_name(hidden.replace("EPYC", "EPYC 9654")) == "AMD EPYC 9654"
    assert cpu_name(arm("0xfff")) == "1 x ARM core 0x41/0xfff" and cpu_name("") == ""
    seven = "processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"
    assert cpu_name(seven) == "1 x Cortex-A72"
    assert clusters(arm(A55, A55), {0: 1024, 1: 500}) == ((1,), (0,)), "one kind, two speeds"
    assert features("processor\t: 0\nflags\t\t: sse avx\n") == ("sse", "avx")


def test_this_machine_tells_something(tmp_path_factory: pytest.TempPathFactory) -> None:
    with board("local", tmp_path_factory.mktemp("board")) as device, device.transport(QUICK).open() as workspace:
        found, again = probe(workspace, "here"), look(workspace)
        assert found.target == "native" and found.cores == workspace.info.cores and found.kernel.startswith("Linux")
    assert again.uptime_s and found.telemetry.uptime_s and again.uptime_s >= found.telemetry.uptime_s
    assert again.load is not None and again.wall_s and again.wall_s > 1_700_000_000
