"""Builds the hand-written network of fake_network.c, for this machine or for another."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

NATIVE = Path(__file__).parents[2] / "edgevision" / "native"
SOURCE = Path(__file__).parent / "fake_network.c"
HOST = f"{platform.machine()}-linux-gnu.2.17"
ARM64 = "aarch64-linux-gnu.2.17"


def build(path: Path, *defines: str, target: str = HOST, source: Path = SOURCE, shared: bool = True) -> Path:
    """Compile ``source`` with ``defines`` ("NAME=value") to ``path``."""
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-O1", "-fPIC", f"-I{NATIVE}", "-o", str(path)]
    command += ["-shared"] if shared else ["-ldl"]
    subprocess.run([*command, *(f"-D{d}" for d in defines), str(source)], check=True, timeout=120)
    return path
