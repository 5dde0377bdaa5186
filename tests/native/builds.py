"""Builds the runtime with the network of fake_network.c, for this machine, for others, and with sanitizers."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NATIVE = Path(__file__).parents[2] / "edgevision" / "native"
TESTS = Path(__file__).parent
RUNTIME = tuple(NATIVE / name for name in ("entry.c", "session.c", "filters.c", "threads.c", "tvm_calls.c", "cpu.c"))
CHECK_SOURCES = tuple(TESTS / name for name in ("checks.c", "check_results.c", "check_interface.c", "check_system.c"))
NETWORK = TESTS / "fake_network.c"
ZIG = (sys.executable, "-m", "ziglang", "cc", "-target", f"{platform.machine()}-linux-gnu.2.17", "-fno-sanitize=all")
GCC = ("gcc",)
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
BETA = ("FAKE_NAME=beta", "FAKE_SEED=5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The program of checks.c with the two libraries that it opens."""

    program: Path
    alpha: Path
    beta: Path

    def run(self, name: str, *, runs: int, alpha: Path | None = None, before: Sequence[str] = ()) -> str:
        """Run the check; its output. ``before`` is what comes ahead of the program, such as an emulator."""
        command = [*before, str(self.program), name, str(alpha or self.alpha), str(self.beta), str(runs)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{name}: status {done.returncode}\n{done.stderr}"
        assert done.stderr == ""
        return done.stdout


def library(compiler: Sequence[str], path: Path, *defines: str) -> Path:
    """A library of the fake network with ``defines`` ("NAME=value") at ``path``."""
    options = ("-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,--no-undefined", f"-I{NATIVE}", "-lpthread")
    _compile(compiler, [*options, *(f"-D{d}" for d in defines), *map(str, (*RUNTIME, NETWORK))], path)
    return path


def program(compiler: Sequence[str], path: Path, *arguments: Path | str) -> Path:
    """A program of ``arguments``, sources and options, at ``path``."""
    _compile(compiler, ["-O2", f"-I{NATIVE}", *map(str, arguments), "-ldl", "-lpthread", "-lm"], path)
    return path


def checks(compiler: Sequence[str], folder: Path, *options: str) -> Checks:
    return Checks(
        program=program(compiler, folder / "checks", *CHECK_SOURCES, *options),
        alpha=library(compiler, folder / "alpha.so", "FAKE_FILTERS"),
        beta=library(compiler, folder / "beta.so", *BETA),
    )


def _compile(compiler: Sequence[str], arguments: Sequence[str], output: Path) -> None:
    done = subprocess.run(
        [*compiler, *WARNINGS, *arguments, "-o", str(output)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
