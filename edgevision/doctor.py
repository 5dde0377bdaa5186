"""Doctor: what this machine has for compiling and checking, what it lacks, what that costs, what to do."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from edgevision import cache, host, target
from edgevision.errors import EdgevisionError, ToolchainError
from edgevision.link import cuda_compiler, zig
from edgevision.measure.emulator import why_absent, why_no_runner

# Distribution -> what is lost without it.
_NEEDED_PACKAGES = {
    "apache-tvm": "nothing compiles",
    "apache-tvm-ffi": "nothing compiles",
    "onnx": "no model is read",
    "onnxsim": "models are not simplified before they are compiled",
    "onnxruntime": "nothing is verified",
    "numpy": "nothing compiles",
    "ml_dtypes": "no model is read",
    "pyelftools": "nothing is linked: the gate on libraries reads them with it",
    "ziglang": "zig has to be on the PATH, or named by $EDGEVISION_ZIG",
    "pillow": "`edgevision evaluate` reads no photographs",
    "click": "there is no command line",
    "rich": "there are no tables",
}
_TORCH_PACKAGES = {
    "torch": "no torch modules, .pt2 files and zoo networks; an ONNX file needs none",
    "onnxscript": "torch modules are not exported",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked for. ``detail`` is its version, its place or why it is not there, ``cost`` what is lost then."""

    name: str
    found: bool
    detail: str
    cost: str = ""
    remedy: str = ""


def examine() -> tuple[Finding, ...]:
    """Everything, in the order in which a compile would miss it. Builds nothing; imports no package to look at it."""
    return (
        *_machine(),
        _zig(),
        *(_package(name, cost, "pip install edgevision") for name, cost in _NEEDED_PACKAGES.items()),
        *(_package(name, cost, "pip install 'edgevision[torch]'") for name, cost in _TORCH_PACKAGES.items()),
        *_emulators(),
        *_modelling(),
        _nvrtc(),
        _client("ssh", "nothing runs on a board from here", "openssh-client"),
        _client("adb", "nothing runs on a phone from here; the -bench executable can be copied there by hand", "adb"),
        _cache("cache of edgevision", cache.directory()),
        _cache("cache of zig", cache.zig_directory()),
    )


def _machine() -> tuple[Finding, ...]:
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        Finding(name="python", found=True, detail=f"{platform.python_version()} on {platform.system()} {host.arch()}"),
        Finding(name="cores", found=True, detail=f"{host.cores()} physical, {len(os.sched_getaffinity(0))} threads"),
        Finding(name="memory", found=True, detail=_size(memory_bytes)),
        _native(),
    )


def _native() -> Finding:
    name = "target native"
    try:
        native = target.load("native")
    except EdgevisionError as error:
        return Finding(
            name=name, found=False, detail=str(error), cost="--target native is refused", remedy="name another"
        )
    return Finding(name=name, found=True, detail=" ".join((native.cpu, *native.features)))


def _zig() -> Finding:
    try:
        return Finding(name="zig", found=True, detail=f"{zig.version()} at {zig.executable()}")
    except ToolchainError as error:
        return Finding(
            name="zig", found=False, detail=str(error), cost="nothing is linked", remedy="pip install ziglang"
        )


def _package(name: str, cost: str, remedy: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name=name, found=False, detail="not installed", cost=cost, remedy=remedy)
    if name == "apache-tvm-ffi" and tuple(map(int, version.split(".")[:3])) >= (0, 1, 15):
        return Finding(
            name=name,
            found=False,
            detail=f"{version}, which crashes",
            cost="tuning ends with a segmentation fault",
            remedy="pip install 'apache-tvm-ffi<0.1.15'",
        )
    return Finding(name=name, found=True, detail=version)


def _emulators() -> tuple[Finding, ...]:
    """One for each emulator and each C library under it that some target names."""
    targets = [target.load(name) for name in target.names() if name != "native"]
    findings: dict[str, Finding] = {}
    for emulated in (each for each in targets if each.emulator):
        served = ", ".join(each.name for each in targets if each.emulator == emulated.emulator)
        absent, no_runner = why_absent(emulated), why_no_runner(emulated)
        findings[emulated.emulator] = Finding(
            name=emulated.emulator,
            found=not absent,
            detail=absent or str(shutil.which(emulated.emulator)),
            cost=f"{served}: the same program built for this machine is verified instead" if absent else "",
            remedy="apt-get install qemu-user-static" if absent else "",
        )
        findings[emulated.sysroot] = Finding(
            name=f"C library for {emulated.arch}",
            found=not no_runner,
            detail=no_runner or emulated.sysroot,
            cost=f"{served}: the static -bench is verified in place of the .so" if no_runner else "",
            remedy=f"apt-get install {_libc_package(emulated)}" if no_runner else "",
        )
    return tuple(findings.values())


def _modelling() -> tuple[Finding, ...]:
    """What `edgevision cost` counts and prices with."""
    wanted = {"qemu-aarch64": "qemu-user", "llvm-mc-19": "llvm-19", "llvm-mca-19": "llvm-19"}
    places = {program: shutil.which(program) for program in wanted}
    return tuple(
        Finding(
            name=program,
            found=place is not None,
            detail=place or "not on the PATH",
            cost="" if place else "no modelled cost of ARM code",
            remedy="" if place else f"apt-get install {wanted[program]}",
        )
        for program, place in places.items()
    )


def _nvrtc() -> Finding:
    try:
        return Finding(name="NVRTC", found=True, detail=cuda_compiler.described())
    except ToolchainError as error:
        return Finding(
            name="NVRTC", found=False, detail=str(error).partition(";")[0], cost="targets cuda-* are not compiled",
            remedy="pip install 'edgevision[cuda]'",
        )  # fmt: skip


def _libc_package(emulated: target.Target) -> str:
    names = {"x86_64": "libc6-amd64-cross", "aarch64": "libc6-arm64-cross", "arm": "libc6-armhf-cross"}
    return names[emulated.arch]


def _client(name: str, cost: str, package: str) -> Finding:
    """A program that leads to devices."""
    program = shutil.which(name)
    if program:
        return Finding(name=name, found=True, detail=program)
    return Finding(name=name, found=False, detail="not on the PATH", cost=cost, remedy=f"apt-get install {package}")


def _cache(name: str, folder: Path) -> Finding:
    return Finding(name=name, found=True, detail=f"{folder} ({_size(sum(_file_sizes(folder)))})")


def _file_sizes(folder: Path) -> Iterator[int]:
    for parent, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # another process cleans up behind itself
                yield Path(parent, file).lstat().st_size


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
