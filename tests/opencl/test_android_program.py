"""The -bench program of a phone with a GPU: an executable of Android's, run under qemu with glibc in bionic's place."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgevision import target
from edgevision.errors import LibraryGateError
from edgevision.link import elf, toolchain, zig
from edgevision.measure.emulator import BIONIC_LIBRARIES

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def bench(artifact: Callable[..., Path]) -> Path:
    library = artifact("tiny", "opencl-mali", cpu_fallback=True)
    return library.with_name(f"{library.stem}-bench")


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with Android's linker, which is glibc's, and the libraries that programs name."""
    chosen, root = target.load("opencl-mali"), tmp_path_factory.mktemp("phone")
    (root / "system" / "bin").mkdir(parents=True)
    (linker,) = Path(chosen.sysroot, "lib").glob("ld-linux*.so.*")
    (root / elf.ANDROID_LINKER.lstrip("/")).symlink_to(linker)
    libraries = root / "system" / "lib64"
    libraries.mkdir()
    for name, file in BIONIC_LIBRARIES.items():
        if name != "libc.so":
            (libraries / name).symlink_to(Path(chosen.sysroot, "lib", file))
    words = ["cc", "-target", chosen.runner_zig_target, "-shared", "-fPIC", "-O1", "-Wl,-soname,libc.so", HERE / "bionic.c"]
    zig.run([*words, "-o", libraries / "libc.so"], purpose="standing in for bionic", scratch=root / "zig")
    return root


@pytest.fixture
def run(bench: Path, phone: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def ran(*words: str | Path, opencl: Path | None = None) -> subprocess.CompletedProcess[str]:
        chosen = target.load("opencl-mali")
        folders = [phone / "system" / "lib64", *([opencl] if opencl else []), Path(chosen.sysroot, "lib")]
        command = [shutil.which(chosen.emulator), "-cpu", chosen.emulator_cpu, "-p", str(chosen.page_bytes), "-L", phone]
        command += ["-E", f"LD_LIBRARY_PATH={':'.join(map(str, folders))}", bench]
        return subprocess.run([*command, *words], capture_output=True, text=True, check=False)

    return ran


def test_it_is_a_program_of_android(bench):
    program = elf.read(bench)
    assert (program.kind, program.interpreter) == ("ET_DYN", "/system/bin/linker64")
    assert set(program.needed) <= {"libc.so", "libm.so", "libdl.so"}
    assert program.versions == () and program.exports == frozenset()
    assert {alignment for kind, _, alignment in program.segments if kind == "PT_LOAD"} == {16384}


def test_a_board_s_program_is_not_one_of_android(artifact):
    library = artifact("tiny", "opencl-mali-linux")
    with pytest.raises(LibraryGateError) as refusal:
        elf.check_android_program(library.with_name(f"{library.stem}-bench"), target.load("opencl-mali"))
    assert "it asks for /lib/ld-linux-aarch64.so.1, not /system/bin/linker64" in str(refusal.value)
    assert "it needs libc.so.6" in str(refusal.value)


def test_a_program_that_exports_is_refused(tmp_path, bench):
    """As a plugin would: what it defines could take the place of what a driver means."""
    chosen = target.load("opencl-mali")
    library = tmp_path / "x.so"
    source = tmp_path / "x.c"
    source.write_text('__attribute__((visibility("default"))) int ev_get_api(void) { return 0; }')
    toolchain.link_library(chosen, objects=(), sources=[source], output=library, exported=["ev_get_api"], soname="x.so")
    with pytest.raises(LibraryGateError, match="it exports ev_get_api"):
        elf.check_android_program(library, chosen)
    with pytest.raises(LibraryGateError, match="it asks for no linker"):
        elf.check_android_program(library, chosen)
    elf.check_android_program(bench, chosen)


@pytest.mark.qemu("arm64")
def test_it_runs_on_the_gpu(run, program):
    done = run("--runs", "3", "--profile", opencl=program("opencl-mali").parent)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["target"], said["processor"], said["fell_back"]) == ("opencl-mali", "gpu", "")
    assert len(said["samples_ns"]) == 3 and said["peak_rss_bytes"] > 0
    assert [step["ns"] for step in said["steps"]] == [2500] * len(said["steps"])


@pytest.mark.qemu("arm64")
def test_without_a_driver_the_cpu_version_computes(run, artifact, tmp_path):
    """Files in, files out, errno and all: the same bytes as from the CPU version of the library."""
    image = tmp_path / "image"
    np.linspace(-1, 1, 3 * 8 * 8, dtype=np.float32).tofile(image)
    done = run("--input", image, "--output", tmp_path / "a", "--fallback", "if-needed", "--threads", "2")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["processor"] == "cpu" and said["fell_back"].startswith("there is no OpenCL here")
    pages = run("--input", image, "--output", tmp_path / "b", "--fallback", "always", "--own-pages")
    assert pages.returncode == 0, pages.stderr
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert np.isfinite(np.fromfile(tmp_path / "a", np.float32)).all()


@pytest.mark.qemu("arm64")
def test_what_it_cannot_do_is_said(run, tmp_path):
    missing = run("--input", tmp_path / "none", "--fallback", "always")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == f"cannot read {tmp_path / 'none'}: No such file or directory\n"
    assert run("--runs", "99999999999999999999").stderr.startswith("not a number in range for --runs")
    alone = run()
    assert alone.returncode == 4 and alone.stderr.startswith("no session: there is no OpenCL here: libOpenCL.so cannot be opened")
