"""A folder that an emulated AArch64 Python with onnxruntime runs in: Debian's packages and PyPI's wheels, unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

WHEELS = ("onnxruntime==1.31.1", "numpy==2.4.6")
RELEASE, PYTHON = "bookworm", "3.11"

# onnxruntime reads what kind of core it is on, and crashes on an x86-64 host's file.
CPUINFO = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""


def ensure(folder: Path) -> Path:
    """The root at ``folder``, made there if it is not (a minute, 400 MB; needs root rights and debootstrap)."""
    finished = folder / "finished"
    if finished.is_file() and finished.read_text().split() == list(WHEELS):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    _debian(folder)
    _wheels(folder / "site")
    # debootstrap links these to the machine's own.
    for name in ("proc", "sys", "dev"):
        place = folder / name
        if place.is_symlink():
            place.unlink()
        place.mkdir(exist_ok=True)
    (folder / "proc" / "cpuinfo").write_text(CPUINFO)
    finished.write_text("\n".join(WHEELS))
    return folder


def python(root: Path) -> tuple[list[str], list[str]]:
    """Options for qemu, and the command of the Python inside."""
    options = ["-L", str(root), "-E", f"PYTHONPATH={root / 'site'}", "-E", f"PYTHONHOME={root / 'usr'}"]
    return [*options, "-E", "PYTHONHASHSEED=0"], [str(root / "usr" / "bin" / f"python{PYTHON}")]


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


def _wheels(site: Path) -> None:
    downloads = site / "downloads"
    platforms = [f"--platform=manylinux_{v}_aarch64" for v in ("2_28", "2_27", "2_17")]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}"]
    subprocess.run([*command, *platforms, "-d", str(downloads), *WHEELS], check=True)
    for wheel in downloads.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    shutil.rmtree(downloads)
