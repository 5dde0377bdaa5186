"""The runtime as the toolchain links it for ARM, run by qemu: for glibc, for Android (under glibc), and static."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgevision import target as targets
from edgevision.link.toolchain import link_bench, link_library
from edgevision.measure.emulator import BIONIC_LIBRARIES, why_absent, why_no_runner
from edgevision.target import Target
from tests.native.builds import BETA, CHECK_SOURCES, NATIVE, NETWORK, RUNTIME, Checks, program

CHECKS = (
    "threads",
    "concurrent",
    "busy",
    "failures",
    "arguments",
    "buffers",
    "options_versions",
    "abi",
    "profile",
    "float_mode",
    "refused_pin",
)
pytestmark = pytest.mark.qemu


def wrapped(folder: Path, *defines: str) -> Path:
    """A source file that is the fake network with ``defines``: the toolchain takes none."""
    source = folder / f"network{len(defines)}.c"
    lines = [f"#define {define.replace('=', ' ')}" for define in defines]
    source.write_text("\n".join([*lines, f'#include "{NETWORK}"\n']))
    return source


def linked(target: Target, folder: Path) -> Checks:
    libraries = []
    for name, defines in (("alpha", ()), ("beta", BETA)):
        output = folder / f"{name}.so"
        sources = [*RUNTIME, wrapped(folder, *defines)]
        exported = ("ev_get_api", f"{name}_get_api")
        link_library(target, objects=[], sources=sources, output=output, exported=exported, soname=output.name)
        libraries.append(output)
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", target.runner_zig_target, "-fno-sanitize=all")
    return Checks(program=program(compiler, folder / "checks", *CHECK_SOURCES), alpha=libraries[0], beta=libraries[1])


def emulator(target: Target, folder: Path) -> tuple[str, ...]:
    """The emulator's command, and bionic's names for glibc's files where an Android library asks for them."""
    command = [target.emulator, "-cpu", target.emulator_cpu, "-L", target.sysroot]
    if target.os == "android":
        for name, file in BIONIC_LIBRARIES.items():
            (folder / name).symlink_to(Path(target.sysroot, "lib", file))
        command += ["-p", str(target.page_bytes), "-E", f"LD_LIBRARY_PATH={folder}"]
    return tuple(command)


@pytest.mark.parametrize("name", ["arm64", "arm64-android", "armv7"])
def test_checks_under_qemu(name: str, tmp_path: Path) -> None:
    target = targets.load(name)
    if lacking := why_absent(target) or why_no_runner(target):
        pytest.skip(lacking)
    built = linked(target, tmp_path)
    before = emulator(target, tmp_path)
    for check in CHECKS:
        assert built.run(check, runs=3, before=before) == "", check


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = targets.load("arm64")
    if lacking := why_absent(target):
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("static")
    output = folder / "fake-bench"
    link_bench(target, objects=[], sources=[*RUNTIME, NATIVE / "bench.c", wrapped(folder)], output=output)
    return output


def test_the_static_bench_runs(bench: Path) -> None:
    command = [targets.load("arm64").emulator, str(bench), "--threads", "3", "--runs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env={})
    assert '"threads": 3' in done.stdout and done.stderr == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot")
def test_the_static_bench_needs_no_file_but_itself(bench: Path, tmp_path: Path) -> None:
    """No /tmp, no /proc, no libraries, no environment; its memory is then unknown."""
    emulator_path = shutil.which(targets.load("arm64").emulator)
    assert emulator_path
    shutil.copy(emulator_path, tmp_path / "qemu")
    shutil.copy(bench, tmp_path / "bench")
    command = ["chroot", str(tmp_path), "/qemu", "/bench", "--runs", "1", "--output", "/scores"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env={"PATH": os.environ["PATH"]}
    )
    assert '"peak_rss_bytes": null}' in done.stdout
    assert (tmp_path / "scores").stat().st_size == 40
