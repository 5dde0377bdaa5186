"""Phones of tests/measure/adb_stand_in.py, and an adb server that knows no others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.measure.ssh_server import descendants, free_port, try_kill

CHECKOUT = Path(__file__).parent.parent.parent


@dataclass(slots=True, kw_only=True)
class Phone:
    """``port`` stays when the phone is switched off and on."""

    process: subprocess.Popen[bytes]
    port: int

    def cut(self) -> None:
        """Switch it off: the shells it started lose their input, nothing more."""
        try_kill(self.process.pid)
        self.process.wait()


@contextmanager
def adb_server(folder: Path) -> Iterator[Mapping[str, str]]:
    """The variables with which the adb client uses a server of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    variables = {"ANDROID_ADB_SERVER_PORT": str(free_port()), "HOME": str(folder), "ADB_MDNS_AUTO_CONNECT": "0"}
    try:
        yield variables
    finally:
        subprocess.run(["adb", "kill-server"], env={**os.environ, **variables}, capture_output=True, check=False, timeout=20)


@contextmanager
def adb_phone(folder: Path, environment: Mapping[str, str] | None = None, shell: Sequence[str] = ("sh",)) -> Iterator[Phone]:
    """``environment``: of commands there."""
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "port"
    told.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.measure.adb_stand_in", str(told), *shell],
        cwd=CHECKOUT, env={**os.environ, **(environment or {}), "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while not told.exists():
            assert time.monotonic() < deadline and process.poll() is None, "the stand-in does not start"
            time.sleep(0.02)
        yield Phone(process=process, port=int(told.read_text()))
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            try_kill(pid)
        process.wait()
