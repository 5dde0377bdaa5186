"""A folder that an emulated AArch64 Python with the peers runs in: Debian's packages and PyPI's wheels, unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.peers.environment import pinned_versions

PACKAGES = ("numpy", "onnxruntime", "ncnn", "mnn", "ai-edge-litert")
RELEASE, PYTHON = "bookworm", "3.11"
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014")

# The runtimes read what kind of core they are on; onnxruntime crashes on an x86-64 host's file.
CPUINFO = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""


def wheels() -> list[str]:
    """The peers in the versions of benchmarks/peers/constraints.txt."""
    pins = pinned_versions()
    return [f"{package}=={pins[package]}" for package in PACKAGES]


def ensure(folder: Path) -> Path:
    """The root at ``folder``, made there if it is not (a minute, 500 MB; needs root rights and debootstrap)."""
    debian, site, wanted = folder / "usr" / "finished", folder / "site", "\n".join(wheels())
    if not debian.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        _debian(folder)
        debian.touch()
    if not (site / "finished").is_file() or (site / "finished").read_text() != wanted:
        shutil.rmtree(site, ignore_errors=True)
        _unpack(wheels(), site)
        (site / "finished").write_text(wanted)
    return folder


def python(root: Path, checkout: Path) -> tuple[list[str], list[str]]:
    """Options for qemu, and the command of the Python inside, which also imports from ``checkout``."""
    variables = {
        "PYTHONPATH": f"{root / 'site'}:{checkout}", "PYTHONHOME": root / "usr", "PYTHONHASHSEED": 0, "PYTHONDONTWRITEBYTECODE": 1,
        "OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1,
    }  # fmt: skip
    options = ["-L", str(root), *(word for name, value in variables.items() for word in ("-E", f"{name}={value}"))]
    return options, [str(root / "usr" / "bin" / f"python{PYTHON}")]


def _debian(folder: Path) -> None:
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise SystemExit("needs debootstrap and root rights: apt-get install debootstrap")
    arguments = ["--foreign", "--variant=minbase", "--arch=arm64", "--include=python3", RELEASE, str(folder)]
    subprocess.run(["debootstrap", *arguments], check=True, stdout=subprocess.DEVNULL)
    archives = folder / "var" / "cache" / "apt" / "archives"
    for package in sorted(archives.glob("*.deb")):
        unpacked = subprocess.run(["dpkg", "--fsys-tarfile", str(package)], check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", str(folder)], input=unpacked, check=True)
    shutil.rmtree(archives)
    # debootstrap links these to the machine's own.
    for name in ("proc", "sys", "dev"):
        place = folder / name
        if place.is_symlink():
            place.unlink()
        place.mkdir(exist_ok=True)
    (folder / "proc" / "cpuinfo").write_text(CPUINFO)


def _unpack(names: list[str], site: Path) -> None:
    downloads = site / "downloads"
    platforms = [f"--platform={name}_aarch64" for name in PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}"]
    subprocess.run([*command, *platforms, "-d", str(downloads), *names], check=True)
    for wheel in downloads.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    shutil.rmtree(downloads)
