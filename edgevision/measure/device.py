"""Device: whatever can run an artifact's file on arrays."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgevision.artifact import Artifact
from edgevision.errors import DeviceError
from edgevision.latency import DeviceInfo
from edgevision.measure.compare import Array


class Device(Protocol):
    """``how`` is what `edgevision.latency.Verification` records of a comparison made here."""

    @property
    def how(self) -> str: ...

    @property
    def info(self) -> DeviceInfo: ...

    def execute(self, artifact: Artifact, cases: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """The artifact's outputs for each list of inputs.

        Raises:
            DeviceError: it cannot be run here, or it crashed, or it took too long.
        """
        ...


class ProgramCrashedError(DeviceError):
    """A program that a signal ended. ``signal``: its name, "SIGSEGV"."""

    def __init__(self, signal: str, message: str) -> None:
        self.signal = signal
        super().__init__(message)


def check_exit(what: Path | str, where: str, status: int, stderr: str) -> None:
    """Raise what the exit status of a program that ran an artifact says.

    Raises:
        ProgramCrashedError: a signal ended it.
        DeviceError: it ended with another status than 0.
    """
    last = " ".join(stderr.strip().splitlines()[-3:]) or "it printed nothing"
    number = -status if status < 0 else status - 128 if status > 128 else 0
    if number:
        named = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        raise ProgramCrashedError(named, f"{what} crashed with {named} {where}: {last}")
    if status:
        raise DeviceError(f"{what} failed {where} (status {status}): {last}")
