"""Line: what differs between the ways to reach a device's shell. `edgevision.measure.attended` does the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NO_SPACE = "no space left"
CLOSED = "connection closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a device is lost, in a few words, and what its user can do."""

    what: str
    then: str


class Line(Protocol):
    """An open connection. ``command`` is text for the device's shell."""

    @property
    def folder(self) -> str:
        """Where files go: relative to where commands start, or absolute."""
        ...

    def words(self, command: str) -> Sequence[str]:
        """The program on this machine that has the device's shell run ``command``, its streams that program's."""
        ...

    def sending(self, path: Path, there: str) -> Sequence[str] | None:
        """The program that copies ``path`` to the device; None where a command's standard input does that well."""
        ...

    def explain(self, stderr: str) -> Cause:
        """What the program's last words mean."""
        ...


def first(causes: Sequence[tuple[str, str, str]], stderr: str) -> Cause:
    """The first of ``causes`` (pattern, what, then) that ``stderr`` matches; "{0}" in its texts is the pattern's group."""
    for pattern, what, then in causes:
        found = re.search(pattern, stderr, re.IGNORECASE)
        if found:
            return Cause(what=what.format(*found.groups("")), then=then.format(*found.groups("")))
    said = " ".join(stderr.strip().splitlines()[-2:])
    return Cause(what=CLOSED, then=f"the last words were: {said}" if said else "see that it is on and reachable, then repeat")
