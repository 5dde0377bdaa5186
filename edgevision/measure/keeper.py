"""The process on a device that holds its lock and folder for as long as we feed it: `hold` of device.sh."""

from __future__ import annotations

import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from edgevision.measure import bounded_call

ASK_S = 1.0
"""How often a device that another has is asked again."""


class Keeper:
    """``words``: the program here whose standard streams are those of `hold` there."""

    def __init__(self, words: Sequence[str]) -> None:
        self._said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._child = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True,
            bufsize=0,
        )  # fmt: skip
        self._closing = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    @property
    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def wait(self, answer_s: float, lock_s: float, told: Callable[[str], None]) -> str:
        """Until the device is ours. ``told`` hears once of everyone who has it before.

        "" then; else why not: "ended", "silent" for ``answer_s``, or who still has it after ``lock_s``.
        """
        start, holder = time.monotonic(), ""
        heard = start
        while True:
            self._feed()
            with suppress(queue.Empty):
                line = self._said.get(timeout=ASK_S)
                heard = time.monotonic()
                if line is None:
                    return "ended"
                if line == "ready":
                    return ""
                if line.startswith("waiting "):
                    if line[8:] != holder:
                        told(line[8:])
                    holder = line[8:]
                    time.sleep(ASK_S)
            if time.monotonic() - heard > answer_s:
                return "silent"
            if holder and time.monotonic() - start > lock_s:
                return f"in use by {holder}"

    def beat(self, every_s: float) -> None:
        """Feed it from a thread of its own until `close`."""
        threading.Thread(target=self._beat, args=(every_s,), daemon=True).start()

    def close(self, timeout_s: float) -> bool:
        """Have it clean up; whether it said that it did."""
        self._closing.set()
        assert self._child.stdin is not None
        with suppress(OSError):
            self._child.stdin.close()
        deadline, gone = time.monotonic() + timeout_s, False
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                line = self._said.get(timeout=left_s)
            except queue.Empty:
                break
            gone = gone or line == "gone"
            if line is None:
                break
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(ASK_S if gone else 0)
        bounded_call.kill(self._child)
        self._errors.close()
        return gone

    def _listen(self) -> None:
        assert self._child.stdout is not None
        with suppress(ValueError, OSError):  # closed while reading
            for line in self._child.stdout:
                self._said.put(line.decode(errors="replace").strip())
        self._said.put(None)

    def _beat(self, every_s: float) -> None:
        while not self._closing.wait(every_s):
            self._feed()

    def _feed(self) -> None:
        assert self._child.stdin is not None
        with suppress(OSError, ValueError):
            self._child.stdin.write(b"\n")
