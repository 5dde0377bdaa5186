"""An Android device that the adb client reaches, by USB or TCP."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgevision.errors import ToolchainError
from edgevision.measure import bounded_call
from edgevision.measure.attended import attended
from edgevision.measure.line import NO_SPACE, Cause, first
from edgevision.measure.reached import Reached
from edgevision.measure.transport import LostDeviceError, Workspace

FOLDER = "/data/local/tmp/edgevision"
PORT = 5555
SAID_BYTES = 1 << 20
STARTING = threading.Lock()
"""Two clients that start adb's server at the same time stand in each other's way."""

CAUSES = (
    ("no devices|device '([^']*)' not found|device not found", "not attached",
     "see `adb devices`; plug it in, or connect it with `adb connect`"),
    ("more than one device", "more than one device is attached", "name one in its entry: serial = ..."),
    ("unauthorized|failed to authenticate", "this computer is not authorized", "accept its key on the phone's screen"),
    ("device offline|still authorizing", "offline", "unplug it and plug it in again"),
    ("Connection refused", "connection refused", "see that adb over TCP is on (adb tcpip 5555) and that the port is right"),
    ("failed to connect|cannot connect|No route to host|unreachable|timed out", "not reachable", "see that it is on and reachable"),
    ("only supports allocating a pty", "its Android is too old", "Android 7 and later tell a command's exit status"),
    ("No space left", NO_SPACE, "make room on its disk, or name another folder in its entry"),
    ("Permission denied|Read-only file system", "folder refused", "name a folder that the shell may write to, folder = ..."),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbTransport(Reached):
    """``serial`` as `adb devices` lists it; or ``address`` and ``port`` of adb over TCP; neither: the only device there is."""

    serial: str = ""
    address: str = ""
    port: int = 0
    folder: str = FOLDER

    @contextmanager
    def open(self) -> Iterator[Workspace]:
        """Raises: LostDeviceError, ToolchainError."""
        if not shutil.which("adb"):
            raise ToolchainError("adb is not installed (Debian: apt-get install adb)")
        with STARTING:
            self._ask("start-server")
        serial = self._connected() if self.address else self.serial
        site = self.site("adb", lock=f"{self.folder}/lock")
        with attended(AdbLine(folder=self.folder, serial=serial), site) as session:
            yield session

    def _connected(self) -> str:
        """The serial number of the device at ``address``. `adb connect` succeeds whether it connects or not."""
        serial = f"{self.address}:{self.port or PORT}"
        said = self._ask("connect", serial)
        if "connected to" not in said:
            cause = first(CAUSES, said)
            raise LostDeviceError(self.name, "connecting", cause.what, cause.then)
        return serial

    def _ask(self, *words: str) -> str:
        ended = bounded_call.call(["adb", *words], timeout_s=self.terms.answer_s, most_bytes=SAID_BYTES)
        if ended.ended:
            raise LostDeviceError(self.name, "connecting", "no answer", "see that it is on and reachable, and that adb works")
        return (ended.stdout + ended.stderr).decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbLine:
    """`edgevision.measure.line.Line` over the adb client. Without -T its shell could be a terminal, which changes line ends."""

    folder: str
    serial: str

    def words(self, command: str) -> Sequence[str]:
        return [*self._adb, "shell", "-T", command]

    def sending(self, path: Path, there: str) -> Sequence[str]:
        return [*self._adb, "push", str(path), there]

    def explain(self, stderr: str) -> Cause:
        return first(CAUSES, stderr)

    @property
    def _adb(self) -> tuple[str, ...]:
        return ("adb", "-s", self.serial) if self.serial else ("adb",)
