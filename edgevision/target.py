"""Target: what a program is compiled for. A file of targets/ each; data only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgevision import host, target_file
from edgevision.errors import InputError, TargetFileError, UnknownNameError

KINDS = ("llvm", "opencl", "cuda")
ARCHES = {"x86_64": "x86_64", "aarch64": "aarch64", "arm": "arm", "armv7a": "arm"}  # first word of a triple -> arch
MAX_CORES = 64  # EV_MAX_THREADS of edgevision.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``triple``, ``cpu`` and ``features`` ("+name" or "-name") are LLVM's; ``zig_target`` is the triple for zig cc,
    with the oldest glibc or Android API level that can load the library. ``bench_zig_target`` is that of the static
    executable, ``runner_zig_target`` that of a program which opens the library where it is verified.

    ``cores`` is how many threads it is compiled for; ``vector_bits`` and ``vector_registers`` describe the SIMD unit
    that schedules tile for; ``l2_bytes`` is per core. ``page_bytes`` is the alignment of the library's segments, and so
    the largest page of a system that loads it. ``emulator`` names the program and ``emulator_cpu`` its CPU that run the
    result for correctness, with the C library under ``sysroot``: all are "" where this machine runs it itself.

    Of a ``kind`` other than "llvm", ``triple`` and what follows from it describe the host, while ``vector_bits`` and
    ``vector_registers`` are one work item's: the widest vector that pays, and how many of them it keeps without spilling.
    ``work_group`` is the most work items of a group, ``work_items`` how many a kernel needs at least to keep the device busy.
    ``compute_capability`` is of kind "cuda" alone: which GPU its machine code is for, "8.7"; ``compute_units`` are its
    multiprocessors.
    ``host`` is the target of the CPU version that --with-cpu-fallback puts beside.
    """

    name: str
    description: str
    kind: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    zig_target: str
    bench_zig_target: str
    runner_zig_target: str
    page_bytes: int
    vector_bits: int
    vector_registers: int
    l2_bytes: int
    emulator: str
    emulator_cpu: str
    sysroot: str
    work_group: int = 0
    work_items: int = 0
    host: str = ""
    compute_capability: str = ""
    compute_units: int = 0

    @property
    def is_device(self) -> bool:
        """Whether kernels run on another device than the CPU that calls them, which all other fields describe then."""
        return self.kind != "llvm"

    @property
    def arch(self) -> str:
        """One of "x86_64", "aarch64", "arm"."""
        return ARCHES[self.triple.partition("-")[0]]

    @property
    def neon(self) -> bool:
        """Whether vectors are NEON's, whose products multiply by a lane of another one."""
        return self.arch in ("aarch64", "arm")

    @property
    def os(self) -> str:
        """One of "linux", "android"."""
        return "android" if "android" in self.triple else "linux"

    @property
    def zig_cpu(self) -> str:
        """``cpu`` and ``features`` in zig's spelling: "x86-64-v4", ("+avx512vnni",) -> "x86_64_v4+avx512vnni"."""
        parts = (self.cpu, *self.features)
        return "".join(part[0] + part[1:].replace("-", "_").replace(".", "_") for part in parts)

    @property
    def llvm(self) -> dict[str, object]:
        """What TVM's LLVM code generator is told."""
        told: dict[str, object] = {
            "kind": self.kind, "mtriple": self.triple, "mcpu": self.cpu, "num-cores": self.cores, "mattr": list(self.features),
        }  # fmt: skip
        return {**told, "mfloat-abi": "hard"} if self.arch == "arm" else told

    @property
    def glibc(self) -> tuple[int, int] | None:
        """The newest glibc whose symbols the library may need: "aarch64-linux-gnu.2.17" -> (2, 17); None on Android."""
        version = re.search(r"-gnu\w*\.(\d+)\.(\d+)$", self.zig_target)
        return (int(version[1]), int(version[2])) if version else None


def directory() -> Path:
    """Where the targets' files are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "targets"
    return installed if installed.is_dir() else package.parent / "targets"


def names() -> tuple[str, ...]:
    """The targets that come with edgevision."""
    return tuple(sorted(path.stem for path in directory().glob("*.toml")))


def load(
    name: str, *, cpu: str | None = None, features: Sequence[str] | None = None, cores: int | None = None
) -> Target:
    """The target called ``name``, or of the file ``name`` (a path that ends in .toml), with what is overridden.

    ``features`` come after the target's own, and the last word on a feature holds. A new ``cpu`` drops those listed for
    the old one; it leaves the description of the SIMD unit as it is, and has the emulator offer all that it knows.
    Raises: UnknownNameError, TargetFileError, InputError; UnsupportedError for "native" on a CPU without known names.
    """
    path = _file_of(name)
    target = Target(name=path.stem, **target_file.read(path, directory(), Target))
    reason = fault(target)
    if reason:
        raise TargetFileError(path, reason)
    if cpu is not None:
        target = replace(target, cpu=cpu, features=(), emulator_cpu="max")
    if features is not None:
        target = replace(target, features=(*target.features, *features), emulator_cpu="max")
    if cores is not None:
        target = replace(target, cores=cores)
    reason = fault(target)
    if reason:
        raise InputError(f"target {target.name}: {reason}")
    return _without_emulator_at_home(target)


def _file_of(name: str) -> Path:
    path = Path(name)
    if path.suffix != ".toml":
        if name not in names():
            raise UnknownNameError("target", name, names())
        return directory() / f"{name}.toml"
    if path.stem in names():
        raise TargetFileError(path, f"{path.stem!r} is a target that edgevision brings; give the file another name")
    return path


def fault(target: Target) -> str:
    """What makes the target impossible, in words; "" for nothing. Whether zig knows the cpu is asked when linking."""
    first = target.triple.partition("-")[0]
    page, bits, registers = target.page_bytes, target.vector_bits, target.vector_registers
    checks = (
        (re.fullmatch(r"\w[\w.-]*", target.name), f"name {target.name!r} may hold letters, digits, '_', '.' and '-'"),
        (target.kind in KINDS, f"kind {target.kind!r} is not one of {', '.join(KINDS)}"),
        (first in ARCHES, f"triple {target.triple!r} must begin with one of {', '.join(ARCHES)}"),
        (
            target.glibc or target.os == "android",
            f"zig_target {target.zig_target!r} must be Android's, or end in -gnu.X.Y with the oldest glibc to run on",
        ),
        (re.fullmatch(r"[\w.-]+", target.cpu), f"cpu {target.cpu!r} is no CPU's name"),
        (target.cpu != "native", "cpu 'native' is for target native alone"),
        (
            all(re.fullmatch(r"[+-][\w.-]+", feature) for feature in target.features),
            f"features {', '.join(target.features)!r} must each be +name or -name",
        ),
        (1 <= target.cores <= MAX_CORES, f"cores {target.cores} is not between 1 and {MAX_CORES}"),
        (_is_power_of_two(page, at_least=4096), f"page_bytes {page} is not 4096 times a power of two"),
        (_is_power_of_two(bits, at_least=64), f"vector_bits {bits} is not 64 times a power of two"),
        (registers > 0, f"vector_registers {registers} is not positive"),
        (target.l2_bytes > 0, f"l2_bytes {target.l2_bytes} is not positive"),
        (
            not target.is_device or _is_power_of_two(target.work_group, at_least=1),
            f"work_group {target.work_group} is not a power of two",
        ),
        (not target.is_device or target.work_items > 0, f"work_items {target.work_items} is not positive"),
        (not target.host or target.host in names(), f"host {target.host!r} is no target that edgevision brings"),
        (
            bool(re.fullmatch(r"[1-9]\d?\.\d", target.compute_capability)) == (target.kind == "cuda"),
            f"compute_capability {target.compute_capability!r} must be a GPU's, such as '8.7', of kind cuda and no other",
        ),
        (target.kind != "cuda" or target.compute_units > 0, f"compute_units {target.compute_units} is not positive"),
        (not target.is_device or bits <= 512, f"vector_bits {bits} is more than the 16 floats of OpenCL's widest vector"),
    )
    return next((reason for holds, reason in checks if not holds), "")


def _is_power_of_two(value: int, *, at_least: int) -> bool:
    return value >= at_least and value & (value - 1) == 0


def _without_emulator_at_home(target: Target) -> Target:
    """Linux programs for this machine's own architecture need none."""
    if target.os == "linux" and target.arch == host.arch():
        return replace(target, emulator="", emulator_cpu="", sysroot="")
    return target
