"""What the runtime finds out about the CPU: against Linux's own list here, and on CPUs that qemu imitates."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native.builds import NATIVE, TESTS, ZIG, Checks, checks, library

# LLVM's name -> Linux's in /proc/cpuinfo (arch/x86/include/asm/cpufeatures.h), where they differ.
X86_IN_CPUINFO = {
    "sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "lzcnt": "abm", "bmi": "bmi1", "avxvnni": "avx_vnni",
    **{f"avx512{x}": f"avx512_{x}" for x in ("vbmi2", "vnni", "bitalg", "vpopcntdq", "bf16", "fp16", "vp2intersect")},
}  # fmt: skip
LEVEL_3 = ("avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe", "sse4.2", "popcnt")  # x86-64-v3
ARM_PROGRAMS = {
    "aarch64": ("aarch64-linux-musl", "qemu-aarch64-static"),
    "arm": ("arm-linux-gnueabihf.2.28", "qemu-arm-static"),
}


def names_of(architecture: str) -> list[str]:
    """The names in cpu.c's table for the architecture, in its order: x86, then arm64, then arm."""
    tables = re.split(r"static const feature FEATURES", (NATIVE / "cpu.c").read_text())[1:]
    return re.findall(r'\{"([a-z0-9.\-]+)", ', tables[("x86_64", "aarch64", "arm").index(architecture)])


def build(folder: Path, target: str) -> Path:
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", target, "-O2", "-fno-sanitize=all", f"-I{NATIVE}")
    output = folder / "features"
    subprocess.run(
        [*compiler, str(TESTS / "features.c"), str(NATIVE / "cpu.c"), "-o", str(output)], check=True, timeout=300
    )
    return output


def missing(program: Path, names: list[str], before: tuple[str, ...] = ()) -> list[str]:
    done = subprocess.run([*before, str(program), *names], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("features"), f"{platform.machine()}-linux-gnu.2.17")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags of /proc/cpuinfo are compared for x86-64 only")
def test_linux_and_the_runtime_see_the_same_cpu(here: Path) -> None:
    flags = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    assert flags
    names = names_of("x86_64")
    assert len(names) > 25
    expected = [n for n in names if X86_IN_CPUINFO.get(n, n) not in flags[1].split()]
    assert missing(here, names) == expected
    assert len(expected) < len(names)


def test_an_unknown_name_counts_as_missing(here: Path) -> None:
    """Also one that begins like a known one, or is the beginning of one."""
    strangers = ["flux-capacitor", "avx2x", "neonx", "av", "neo"]
    assert missing(here, strangers) == strangers


@pytest.mark.qemu
@pytest.mark.skipif(
    not shutil.which("qemu-x86_64-static") or platform.machine() != "x86_64",
    reason="qemu-x86_64-static is not installed",
)
@pytest.mark.parametrize(("cpu", "lacks"), [("Nehalem", set(LEVEL_3) - {"sse4.2", "popcnt"}), ("Haswell", set())])
def test_x86_64_levels(here: Path, cpu: str, lacks: set[str]) -> None:
    assert set(missing(here, list(LEVEL_3), ("qemu-x86_64-static", "-cpu", cpu))) == lacks


ARM_CPUS = [
    ("aarch64", "cortex-a53", {"fp-armv8", "neon", "aes", "sha2", "crc"}),
    ("aarch64", "cortex-a76", {"fp-armv8", "neon", "aes", "sha2", "crc", "lse", "fullfp16", "rdm", "rcpc", "dotprod"}),
    ("arm", "cortex-a9", {"vfp2", "neon", "vfp3"}),
    ("arm", "cortex-a15", {"vfp2", "neon", "vfp3", "vfp4", "hwdiv-arm", "hwdiv"}),
]


@pytest.mark.qemu
@pytest.mark.parametrize(("architecture", "cpu", "has"), ARM_CPUS, ids=[cpu for _, cpu, _ in ARM_CPUS])
def test_arm_cpus(tmp_path_factory: pytest.TempPathFactory, architecture: str, cpu: str, has: set[str]) -> None:
    target, emulator = ARM_PROGRAMS[architecture]
    sysroot = "/usr/arm-linux-gnueabihf"
    if not shutil.which(emulator) or (architecture == "arm" and not Path(sysroot).is_dir()):
        pytest.skip(f"{emulator} or the C library under {sysroot} is not installed")
    program = build(tmp_path_factory.mktemp(cpu), target)
    names = names_of(architecture)
    lacking = missing(program, names, (emulator, "-L", sysroot, "-cpu", cpu))
    assert set(names) - set(lacking) == has


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Checks:
    return checks(ZIG, tmp_path_factory.mktemp("refused"))


def test_create_refuses_and_names_the_feature(built: Checks, tmp_path: Path) -> None:
    wants = library(ZIG, tmp_path / "wants.so", 'FAKE_FEATURES="flux-capacitor"')
    assert "which has flux-capacitor; this CPU does not" in built.run("refused_feature", runs=1, alpha=wants)


def test_create_accepts_what_is_there(built: Checks, tmp_path: Path, here: Path) -> None:
    present = [n for n in names_of(platform.machine()) if not missing(here, [n])]
    listed = ",".join(f'"{n}"' for n in present)
    assert built.run("threads", runs=1, alpha=library(ZIG, tmp_path / "present.so", f"FAKE_FEATURES={listed}")) == ""
