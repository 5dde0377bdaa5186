"""A client program on this machine (ssh, adb, sh) that may hang or print without end: it gets so much time and memory."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """``ended`` is "" for a program that ended by itself, else why it was killed; the output is what came until then."""

    status: int
    stdout: bytes
    stderr: bytes
    ended: str = ""


def call(
    words: Sequence[str],
    *,
    timeout_s: float,
    most_bytes: int,
    feed: Path | None = None,
) -> Ended:
    """Run ``words``, the file ``feed`` as standard input; killed after ``timeout_s`` or ``most_bytes`` of output.

    In a session of its own, so that it asks nothing on this terminal and dies with its children.
    Raises: FileNotFoundError, when there is no such program.
    """
    with (feed or Path(os.devnull)).open("rb") as stdin:
        child = subprocess.Popen(
            words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    try:
        out, err, why = _collect(child, time.monotonic() + timeout_s, timeout_s, most_bytes)
    finally:
        kill(child)
    return Ended(status=child.returncode, stdout=out, stderr=err, ended=why)


def kill(child: subprocess.Popen[bytes]) -> None:
    """End ``child`` and what it started, if it has not ended by itself, and close its pipes."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _collect(
    child: subprocess.Popen[bytes], deadline: float, timeout_s: float, most_bytes: int
) -> tuple[bytes, bytes, str]:
    assert child.stdout is not None
    assert child.stderr is not None
    printed = {child.stdout.fileno(): bytearray(), child.stderr.fileno(): bytearray()}
    out, err = printed.values()
    with selectors.DefaultSelector() as selector:
        for number in printed:
            selector.register(number, selectors.EVENT_READ)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return bytes(out), bytes(err), f"timed out after {timeout_s:g} s"
            for key, _ in selector.select(left_s):
                chunk = os.read(key.fd, CHUNK_BYTES)
                printed[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fd)
            if len(out) + len(err) > most_bytes:
                return bytes(out), bytes(err), f"more than {most_bytes >> 20} MiB of output"
    try:
        child.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return bytes(out), bytes(err), f"timed out after {timeout_s:g} s"
    return bytes(out), bytes(err), ""
