"""Toolchain: from objects and C to a shared library, a static executable and the program that opens the library."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import edgevision
from edgevision import cache
from edgevision.errors import CompilerError, InputError, UnknownNameError
from edgevision.link import android, zig
from edgevision.link.elf import ANDROID_LINKER, check_android_program, check_library
from edgevision.target import Target

NATIVE = Path(edgevision.__file__).parent / "native"

# zig would build C with its undefined-behaviour sanitizer.
_COMPILE = (
    "-O2", "-std=gnu11", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections", "-fno-sanitize=all",
)  # fmt: skip
_LIBRARY = (
    "-fPIC", "-shared", "-s", "-Wl,--no-undefined", "-Wl,--gc-sections", "-Wl,--hash-style=both",
    "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--build-id=sha1",
)  # fmt: skip
_LIBC = ("-lm", "-ldl", "-lpthread")  # the linker records those that are used
_ANDROID_PROGRAM = (
    "-fPIE", "-pie", f"-Wl,--dynamic-linker={ANDROID_LINKER}", "-Wl,--hash-style=both", "-Wl,-z,relro", "-Wl,-z,now",
)  # fmt: skip


def check_cpu(target: Target) -> None:
    """Refuses a cpu or feature that zig, and so LLVM, does not know: LLVM itself would print a line and go on without.

    Raises: UnknownNameError with the nearest names.
    """
    arguments = ["build-obj", "--show-builtin", "-target", target.zig_target, f"-mcpu={target.zig_cpu}"]
    try:
        zig.run(arguments, purpose=f"looking up {target.cpu} for target {target.name}")
    except CompilerError as error:
        refused = re.search(r"error: unknown (CPU|CPU feature): '(\w+)'", error.output)
        if refused is None:
            raise
        known = re.findall(r"^ (\w+)", error.output, re.MULTILINE)
        what = "cpu" if refused[1] == "CPU" else "CPU feature"
        names = [name.replace("_", "-") for name in known]
        raise UnknownNameError(f"{what} of {target.arch}", refused[2].replace("_", "-"), names) from None


def check_symbol(name: str) -> None:
    """Raises InputError for a name that no C function can have."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise InputError(f"cannot export {name!r}: not a C identifier; choose another --symbol-prefix")


def link_library(
    target: Target,
    *,
    objects: Sequence[Path],
    sources: Sequence[Path],
    output: Path,
    exported: Sequence[str],
    soname: str,
    include: Sequence[Path] = (NATIVE,),
) -> None:
    """A shared library at ``output`` that exports the functions ``exported`` and nothing else.

    ``sources`` are C or assembler files. The same input gives the same bytes, wherever it lies. The library appears
    after `check_library` has passed it, whole, or not at all.
    Raises: CompilerError, ToolchainError, LibraryGateError, InputError for a name that is no C identifier.
    """
    for name in exported:
        check_symbol(name)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        scratch = Path(folder)
        linked = scratch / output.name
        exports = scratch / "exports.map"
        exports.write_text(f"{{ global: {' '.join(f'{name};' for name in exported)} local: *; }};\n")
        libraries = android.link_against(scratch) if target.os == "android" else _LIBC
        arguments: list[str | Path] = [
            *("cc", "-target", target.zig_target, *_COMPILE, *_atomics(target), *_LIBRARY),
            # Names of files may have commas, at which -Wl would part them.
            *("-Xlinker", "-soname", "-Xlinker", soname, "-Xlinker", f"--version-script={exports}"),
            f"-Wl,-z,max-page-size={target.page_bytes}",
            *(f"-I{folder}" for folder in include),
            *sources,
            *_division(target),
            *objects,
            *libraries,
            *("-o", linked),
        ]
        zig.run(arguments, purpose=f"linking {output.name} for {target.name}", scratch=scratch / "zig")
        check_library(linked, target, exported=exported)
        linked.replace(output)


def build_libc(target: Target) -> None:
    """Has zig build the C library for static executables, unless its cache holds it.

    The first time for each ``bench_zig_target`` takes 35-50 s on two cores, then 0.1 s. It may run in a thread while a
    model is lowered. The jobs are twice the cores because zig's own choice leaves one of two cores idle (47 s, not 35).
    Raises: CompilerError, ToolchainError.
    """
    if target.is_device:
        return  # its executables are dynamic
    with tempfile.TemporaryDirectory(prefix="edgevision-libc-") as folder:
        scratch = Path(folder)
        source = scratch / "empty.c"
        source.write_text("int main(void) { return 0; }\n")
        arguments: list[str | Path] = [
            *("build-exe", "-target", target.bench_zig_target, "-O", "ReleaseFast", "-fstrip", "-lc"),
            *(f"-j{2 * len(os.sched_getaffinity(0))}", source, f"-femit-bin={scratch / 'empty'}"),
        ]
        purpose = f"building the C library for {target.bench_zig_target}"
        zig.run(arguments, purpose=purpose, scratch=scratch / "zig")


def link_bench(
    target: Target,
    *,
    objects: Sequence[Path],
    sources: Sequence[Path],
    output: Path,
    include: Sequence[Path] = (NATIVE,),
    symbols: bool = False,
) -> None:
    """A static executable at ``output``, for any Linux of the target's architecture, Android included; with ``symbols``
    one that tells which function an instruction belongs to. For a device a dynamic one, of Android's where the host is a phone: a
    static program cannot open the device's driver.

    Neither -mcpu nor -fPIC here: with other options zig would build a C library of its own for them.
    Raises: CompilerError, ToolchainError, LibraryGateError.
    """
    build_libc(target)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        scratch = Path(folder)
        linked = scratch / output.name
        options, libraries = _program(target, scratch)
        arguments: list[str | Path] = [
            *("cc", *_COMPILE, *_atomics(target), *options, *(() if symbols else ("-s",))),
            *("-Wl,--gc-sections", "-Wl,-z,noexecstack"),
            *(f"-I{folder}" for folder in include),
            *sources,
            *_division(target),
            *objects,
            *libraries,
            *("-o", linked),
        ]
        zig.run(arguments, purpose=f"linking {output.name} for {target.name}", scratch=scratch / "zig")
        if target.is_device and target.os == "android":
            check_android_program(linked, target)
        linked.replace(output)


def _program(target: Target, scratch: Path) -> tuple[Sequence[str], Sequence[str | Path]]:
    """How an executable is linked: options, and what comes behind its own code."""
    if not target.is_device:
        return ("-target", target.bench_zig_target, "-static"), _LIBC
    if target.os != "android":
        return ("-target", target.runner_zig_target), _LIBC
    options = ("-target", target.zig_target, *_ANDROID_PROGRAM, f"-Wl,-z,max-page-size={target.page_bytes}")
    return options, (android.START, *android.link_against(scratch, program=True))


def link_runner(target: Target, *, native: Path = NATIVE) -> Path:
    """The program that opens any library of ``target`` where it is verified (``native``/bench.c with EV_BENCH_DLOPEN).

    Raises: CompilerError, ToolchainError.
    """
    arguments = [
        *("cc", "-target", target.runner_zig_target, *_COMPILE, "-DEV_BENCH_DLOPEN", "-s"),
        *("-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"),
    ]
    return _linked_once(arguments, native / "bench.c", "runner", target.runner_zig_target)


def link_cost_plugin() -> Path:
    """The plugin for this machine's qemu that counts executed code.

    Raises: CompilerError, ToolchainError.
    """
    arguments = ["cc", *_COMPILE, "-fPIC", "-shared", "-s"]
    return _linked_once(arguments, NATIVE / "cost_plugin.c", "plugin", "cost")


def _linked_once(arguments: Sequence[str], source: Path, kind: str, name: str) -> Path:
    """What zig makes of ``source``, kept in the cache under a hash of all that goes into it."""
    digest = hashlib.sha256("\0".join((zig.version(), *arguments)).encode())
    for part in (source, *sorted(source.parent.glob("*.h"))):
        digest.update(part.read_bytes())
    kept = cache.directory() / kind / f"{name}-{digest.hexdigest()[:16]}"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            linked = Path(folder) / kept.name
            command = [*arguments, f"-I{source.parent}", str(source), *_LIBC, "-o", str(linked)]
            zig.run(command, purpose=f"linking the {kind} {name}", scratch=Path(folder) / "zig")
            linked.replace(kept)
    return kept


def _atomics(target: Target) -> tuple[str, ...]:
    """For Android clang would call compiler-rt for each atomic, to choose between ARMv8.0 and 8.1 instructions.

    zig keeps a plain -mno-outline-atomics to itself; -Xarch_aarch64 gets it past zig to clang.
    """
    return ("-Xarch_aarch64", "-mno-outline-atomics") if target.arch == "aarch64" else ()


def _division(target: Target) -> tuple[Path, ...]:
    """What LLVM calls to divide on an ARM without a divider, under names that zig's compiler-rt lacks."""
    return (Path(__file__).parent / "arm_division.c",) if target.arch == "arm" else ()
