"""A program that answers one line with one line, may crash or hang, and is started again after that."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

AUTOGROUP = "/proc/{}/autogroup"


class ChildCrashedError(Exception):
    """The program ended instead of answering. ``reason`` is its last words, or the signal that ended it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ChildHungError(Exception):
    """The program took longer than it was given; it has been killed."""


class Child:
    """Started by the first `ask`, and anew by the first one after a crash. ``nice``: its priority where it is not to have
    that of this process (below 0 needs root). It then has a session of its own, whose priority is set too: Linux shares
    cores between sessions first (sched(7), "The autogroup feature")."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, nice: int = 0) -> None:
        self._command, self._environment, self._nice = list(command), environment, nice
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._pending = b""

    @property
    def running(self) -> bool:
        return self._process is not None

    def ask(self, request: str, timeout_s: float) -> str:
        """The line with which the program answers ``request``, one or several lines.

        Raises: ChildCrashedError, ChildHungError. The program is not running afterwards.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise ChildCrashedError(self._end()) from None
        until = time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                process.kill()
                self._end()
                raise ChildHungError
            more = os.read(process.stdout.fileno(), 1 << 16)
            if not more:
                raise ChildCrashedError(self._end())
            self._pending += more
        answer, _, self._pending = self._pending.partition(b"\n")
        return answer.decode()

    def interrupt(self) -> None:
        """Ends the program while another thread waits for its answer: that thread's `ask` raises ChildCrashedError."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Ends the program, which nobody asks anything any more."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        self._pending = b""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the program)
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
            env=dict(self._environment) if self._environment is not None else None, start_new_session=bool(self._nice),
        )  # fmt: skip
        if self._nice:
            os.setpriority(os.PRIO_PROCESS, self._process.pid, self._nice)
            group = Path(AUTOGROUP.format(self._process.pid))
            if group.exists():
                group.write_text(str(self._nice), encoding="ascii")
        return self._process

    def _end(self) -> str:
        """Reaps the program; what it said last, or how it ended."""
        process, self._process = self._process, None
        assert process is not None
        assert self._said is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # a request that nobody read
            process.stdin.close()
        status = process.wait()
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").strip().splitlines()
        self._said.close()
        if status < 0:
            return f"signal {signal.Signals(-status).name}"
        return words[-1] if words else f"exit status {status}"
