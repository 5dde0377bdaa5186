"""The peers' own virtual environment: the pinned versions of constraints.txt, installed once."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.peers.case import Runtime

CONSTRAINTS = Path(__file__).with_name("constraints.txt")
_INSTALLED = "installed.txt"


class Environment:
    """Where the peers are installed; ``refusals`` maps a runtime that could not be to what pip said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refusals: dict[str, str] = {}

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def interpreter(self, runtime: Runtime) -> Path:
        return Path(sys.executable) if runtime.ours else self.python

    def install(self, runtimes: Iterable[Runtime], progress: Callable[[str], None]) -> None:
        """Install what ``runtimes`` need and is not there in the pinned version; one that fails costs no other."""
        if not self.python.exists():
            venv.create(self.folder, with_pip=True, symlinks=True)
        pins = pinned_versions()
        note = self.folder / _INSTALLED
        there = set(note.read_text(encoding="utf-8").split()) if note.exists() else set()
        for runtime in runtimes:
            wanted = [f"{package}=={pins[package]}" for package in runtime.packages]
            if there.issuperset(wanted):
                continue
            progress(f"installing {' '.join(wanted)}")
            reason = self._pip(wanted)
            if reason:
                self.refusals[runtime.name] = reason
            else:
                there.update(wanted)
                note.write_text("\n".join(sorted(there)) + "\n", encoding="utf-8")

    def _pip(self, wanted: list[str]) -> str:
        """Why pip failed; empty when it did not."""
        command = [str(self.python), "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS), *wanted]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return ""
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return f"not installed: {errors[-1] if errors else f'pip ended with {done.returncode}'}"


def pinned_versions() -> dict[str, str]:
    """Distribution to version, as in constraints.txt."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name: version for name, version in pairs}
