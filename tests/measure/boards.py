"""The same device behind each transport: this machine, by sh, by a real sshd, and by the real adb client."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgevision import cache
from edgevision.measure.adb import AdbTransport
from edgevision.measure.attended import Terms
from edgevision.measure.local_transport import LocalTransport
from edgevision.measure.ssh import SshTransport
from edgevision.measure.transport import Transport
from tests.measure.adb_phone import adb_phone, adb_server
from tests.measure.cable import Cable, cable
from tests.measure.ssh_server import SSHD, ssh_server, try_kill

QUICK = Terms(answer_s=8.0, lock_s=20.0, beat_s=0.3, watch_s=2.5)
ABSENT = {
    "local": "",
    "ssh": "" if SSHD and shutil.which("ssh") else "sshd not installed (apt-get install openssh-server)",
    "adb": "" if shutil.which("adb") else "adb not installed (apt-get install adb)",
}
KINDS = tuple(pytest.param(kind, marks=pytest.mark.skipif(bool(why), reason=why), id=kind) for kind, why in ABSENT.items())
FAR = KINDS[1:]
"""Those with a connection that can break."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """``transport(terms)`` leads to it; its files are in ``folder``; ``wire`` is its cable, None for this machine."""

    folder: Path
    transport: Callable[[Terms], Transport]
    wire: Cable | None

    def left(self) -> list[str]:
        """What a session should not leave: its folder, its lock, its processes."""
        files = [str(path) for part in ("sessions", "lock") for path in (self.folder / part).glob("*")]
        return files + [line for _, line in self.processes()]

    def processes(self, word: str = "") -> list[tuple[int, str]]:
        """Processes that belong to a session here: device.sh itself, and what carries a mark of it."""
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            line, marks = _read(each / "cmdline"), _read(each / "environ")
            ours = (str(self.folder) in line and "device-" in line) or (
                "EDGEVISION_W" in marks and str(self.folder) in _cwd(each)
            )
            if ours and "ssh" not in line[:12] and "adb" not in line[:12] and word in line:
                found.append((int(each.name), line.replace("\0", " ")))
        return found

    def kill(self, word: str) -> int:
        """End the processes with ``word`` in their command line; how many there were."""
        found = self.processes(word)
        for pid, _ in found:
            try_kill(pid)
        return len(found)

    def is_clean(self, within_s: float = 12.0) -> bool:
        return wait_for(lambda: not self.left(), within_s)


@contextmanager
def board(kind: str, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Board]:
    """``environment``: of commands on the device; for this machine the test sets its own."""
    there = folder / "there"
    if kind == "local":
        yield Board(
            folder=there, wire=None,
            transport=lambda terms: LocalTransport(name="here", folder=there, lock=str(there / "lock"), terms=terms),
        )  # fmt: skip
    elif kind == "ssh":
        with ssh_server(folder / "server", environment) as server, cable(server.port) as wire:
            server.known_hosts.write_text(server.known_hosts.read_text().replace(f":{server.port}", f":{wire.port}"))
            yield Board(
                folder=there, wire=wire,
                transport=lambda terms: SshTransport(
                    name="board", address="board", port=wire.port, ssh_config=str(server.config), folder=str(there),
                    lock=str(there / "lock"), terms=terms,
                ),
            )  # fmt: skip
    else:
        with adb_server(folder / "home") as variables, adb_phone(folder / "phone", environment) as phone, cable(phone.port) as wire:
            before = {key: os.environ.get(key) for key in variables}
            os.environ.update(variables)
            try:
                yield Board(
                    folder=there, wire=wire,
                    transport=lambda terms: AdbTransport(
                        name="phone", address="127.0.0.1", port=wire.port, folder=str(there), terms=terms
                    ),
                )  # fmt: skip
            finally:
                for key, value in before.items():
                    os.environ.pop(key) if value is None else os.environ.update({key: value})


def keep_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A board's adb has a home folder of its own; what was compiled before is still where it was."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.directory().parent))
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(cache.zig_directory()))


def wait_for(holds: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _cwd(folder: Path) -> str:
    try:
        return str((folder / "cwd").readlink())
    except OSError:
        return ""
