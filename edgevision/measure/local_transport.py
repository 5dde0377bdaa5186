"""This machine as a device, by the same shell commands as any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgevision import cache
from edgevision.latency import How
from edgevision.measure.attended import TERMS, Site, Terms, attended, say_nothing
from edgevision.measure.line import Cause, first
from edgevision.measure.transport import Workspace

CAUSES = (
    ("No space left", "no space left", "make room, or name another folder"),
    ("(Permission denied|Read-only file system)", "{0}", "name a folder that can be written to, folder = ..."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTransport:
    """``folder``: where files go; ``lock``: the folder that says who uses this machine, one for all its users by default."""

    name: str = "local"
    folder: Path = field(default_factory=lambda: cache.directory() / "device")
    lock: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    terms: Terms = TERMS
    told: Callable[[str], None] = say_nothing

    @property
    def how(self) -> How:
        return "measured"

    @contextmanager
    def open(self) -> Iterator[Workspace]:
        """Raises: LostDeviceError."""
        site = Site(
            device=self.name, transport="local", lock=self.lock, environment=self.environment, terms=self.terms,
            told=self.told,
        )  # fmt: skip
        with attended(LocalLine(folder=str(self.folder.absolute())), site) as session:
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
