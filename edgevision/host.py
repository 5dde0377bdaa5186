"""Host: what the machine that this process runs on offers to generated code."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from edgevision.errors import UnsupportedError

# Micro-architecture levels in /proc/cpuinfo's flags. Source: System V x86-64 psABI, table "Micro-Architecture Levels"
# (Linux calls LZCNT abm, SSE3 pni, LAHF-SAHF lahf_lm; OSXSAVE shows as xsave).
_X86_LEVELS = (
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, 512, 32),
    ("x86-64-v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}, 256, 16),
    ("x86-64-v2", {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}, 128, 16),
    ("x86-64", {"cmov", "cx8", "fpu", "fxsr", "mmx", "sse", "sse2"}, 128, 16),
)

# Flag in /proc/cpuinfo -> LLVM's feature, beyond the levels and of use to a network. Sources: linux
# arch/x86/include/asm/cpufeatures.h and arch/arm64/kernel/cpuinfo.c; llvm X86.td and AArch64Features.td.
_X86_FEATURES = {
    "avx512_vnni": "avx512vnni", "avx512_bf16": "avx512bf16", "avx512_fp16": "avx512fp16",
    "avx512ifma": "avx512ifma", "avx512vbmi": "avx512vbmi", "avx512_vbmi2": "avx512vbmi2", "avx_vnni": "avxvnni",
}  # fmt: skip
_AARCH64_FEATURES = {
    "asimdhp": "fullfp16", "asimddp": "dotprod", "asimdfhm": "fp16fml", "atomics": "lse", "bf16": "bf16",
    "i8mm": "i8mm",
}  # fmt: skip


# Virtual machines and containers may hide /sys. No x86-64 core since 2008 has less than 256 KiB.
L2_BYTES_UNTOLD = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCpu:
    """LLVM's cpu and features for this machine, and the width (bits) and number of its vector registers."""

    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    vector_registers: int


def arch() -> str:
    """This machine's architecture as a triple spells it: "x86_64", "aarch64", "arm", or whatever it calls itself."""
    name = platform.machine().lower()
    if name.startswith("armv"):
        return "arm"
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def cpuinfo() -> str:
    """What the kernel says about the CPU; "" where it says nothing."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def cpu(description: str, architecture: str) -> HostCpu:
    """The CPU that ``description`` (the text of /proc/cpuinfo) is of.

    Nothing is assumed from a model's name, so that a hypervisor that hides an instruction set is believed.
    Raises: UnsupportedError where no names for the architecture are known.
    """
    if architecture == "x86_64":
        return _x86_cpu(_listed(description, "flags"))
    if architecture == "aarch64":
        return HostCpu(
            cpu="generic",
            features=_present(_AARCH64_FEATURES, _listed(description, "Features")),
            vector_bits=128,
            vector_registers=32,
        )
    raise UnsupportedError(
        f"target native: no CPU names are known for {architecture or 'this machine'}; "
        "name one of the other targets and its --cpu"
    )


def _x86_cpu(flags: set[str]) -> HostCpu:
    at = next((i for i in range(len(_X86_LEVELS)) if all(level[1] <= flags for level in _X86_LEVELS[i:])), None)
    if at is None:
        raise UnsupportedError("target native: /proc/cpuinfo lists no x86-64 CPU; use --target x86_64")
    name, _, vector_bits, vector_registers = _X86_LEVELS[at]
    if vector_bits < 512:
        wanted = {flag: feature for flag, feature in _X86_FEATURES.items() if not flag.startswith("avx512")}
        extra = _present(wanted, flags) if vector_bits == 256 else ()
    else:
        # LLVM's x86-64-v4 avoids 512-bit registers, as Skylake-X needed; the schedules here tile for all 512 bits.
        extra = (*_present(_X86_FEATURES, flags), "-prefer-256-bit")
    return HostCpu(cpu=name, features=extra, vector_bits=vector_bits, vector_registers=vector_registers)


def _present(features: dict[str, str], flags: set[str]) -> tuple[str, ...]:
    return tuple(sorted(f"+{feature}" for flag, feature in features.items() if flag in flags))


def _listed(description: str, key: str) -> set[str]:
    """The words of the first line ``key : word word ...``."""
    for line in description.splitlines():
        name, _, words = line.partition(":")
        if name.strip() == key:
            return set(words.split())
    return set()


def cores(topology: Path = Path("/sys/devices/system/cpu")) -> int:
    """Physical cores that this process may use: two hardware threads of one core share its vector units."""
    siblings = set()
    for number in os.sched_getaffinity(0):
        shared = topology / f"cpu{number}" / "topology" / "thread_siblings_list"
        siblings.add(shared.read_text() if shared.is_file() else str(number))
    return len(siblings)


def l2_bytes(caches: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Size of the first core's level 2 cache, `L2_BYTES_UNTOLD` where the kernel does not say."""
    for index in sorted(caches.glob("index*")):
        level, size = index / "level", index / "size"
        if level.is_file() and size.is_file() and level.read_text().strip() == "2":
            kibibytes, unit = size.read_text().strip()[:-1], size.read_text().strip()[-1:]
            if unit == "K" and kibibytes.isdigit():
                return int(kibibytes) << 10
    return L2_BYTES_UNTOLD
