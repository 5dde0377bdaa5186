"""This machine as a device, by the same shell commands as any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgevision import cache
from edgevision.measure.attended import attended
from edgevision.measure.line import Cause, first
from edgevision.measure.reached import Reached
from edgevision.measure.transport import Workspace

CAUSES = (
    ("No space left", "no space left", "make room, or name another folder"),
    ("(Permission denied|Read-only file system)", "{0}", "name a folder that can be written to, folder = ..."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTransport(Reached):
    """``folder``: where files go; ``lock``: the folder that says who uses this machine, one for all its users by default."""

    name: str = "local"
    folder: Path = field(default_factory=lambda: cache.directory() / "device")

    @contextmanager
    def open(self) -> Iterator[Workspace]:
        """Raises: LostDeviceError."""
        with attended(LocalLine(folder=str(self.folder.absolute())), self.site("local")) as session:
            yield session


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLine:
    """`edgevision.measure.line.Line` to this machine's own sh."""

    folder: str

    def words(self, command: str) -> Sequence[str]:
        return ["sh", "-c", command]

    def sending(self, path: Path, there: str) -> None:
        return None

    def explain(self, stderr: str) -> Cause:
        return first(CAUSES, stderr)
