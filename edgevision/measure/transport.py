"""Transport: how files and commands reach a device. This machine, ssh, adb and qemu are one to whoever measures.

    with transport.open() as workspace:
        bench = workspace.push(artifact.bench)
        ran = workspace.run([bench, "--runs", "50"], timeout_s=60)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from edgevision.errors import DeviceError
from edgevision.latency import DeviceInfo, How

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that ended by itself: its exit status (128 + n for signal n) and what it printed."""

    status: int
    stdout: str
    stderr: str


class LostDeviceError(DeviceError):
    """A device that went away, hangs, or cannot be reached: what was being measured there is void, other devices go on.

    ``cause`` in a few words: "timed out after 60 s", "connection closed", "host key changed", "no space left".
    """

    def __init__(self, device: str, doing: str, cause: str, then: str) -> None:
        self.device, self.doing, self.cause = device, doing, cause
        super().__init__(f"device {device}: {cause} while {doing}; {then}")


class Workspace(Protocol):
    """A folder on a device, ours alone while it is open; processes that we started there end with it."""

    @property
    def info(self) -> DeviceInfo:
        """As the device describes itself; known from opening on."""
        ...

    def push(self, path: Path) -> str:
        """Where the file lies on the device. A file that is there already, by its hash, is not sent again.

        Executables stay executable. Raises: LostDeviceError.
        """
        ...

    def run(
        self, command: Sequence[str], *, timeout_s: float, variables: Mapping[str, str] = NO_VARIABLES, text: str = ""
    ) -> Ran:
        """Run ``command`` in the folder, ``text`` on its standard input.

        Raises: LostDeviceError, when it did not end within ``timeout_s`` (it is killed there) or the device went away.
        """
        ...

    def pull(self, name: str, into: Path) -> None:
        """Copy the file ``name`` of the folder here. Raises: LostDeviceError."""
        ...


class Transport(Protocol):
    """Reaches one device. ``cores`` are its named sets ("big", "little"); ``how`` is what a time from it would be."""

    @property
    def name(self) -> str: ...

    @property
    def how(self) -> How:
        """ "measured", or "emulated": then it has outputs, but no times (`check_timed`)."""
        ...

    @property
    def cores(self) -> Mapping[str, tuple[int, ...]]: ...

    def open(self) -> AbstractContextManager[Workspace]:
        """Wait for the device's lock, then make a folder there; both are given up at the end, whatever happened.

        Raises: LostDeviceError.
        """
        ...


def check_timed(transport: Transport) -> None:
    """Raises: DeviceError, when ``transport`` leads to an emulator, whose times say nothing about the device."""
    if transport.how != "measured":
        raise DeviceError(
            f"device {transport.name} is emulated: its times say nothing about real ones. `edgevision cost` models the "
            "cycles of 64-bit ARM code; name a device that is reached by local, ssh or adb for a time"
        )
