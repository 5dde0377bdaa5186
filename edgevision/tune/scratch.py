"""A folder for the files of one tuning run, gone when the run is, however it ends."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgevision import cache

LOCK = "lock"
LONGEST_START_S = 60.0


@contextmanager
def scratch(base: Path | None = None) -> Iterator[Path]:
    """A new folder. Its owner holds a lock on a file in it: a folder whose lock is free belonged to a run that was
    killed, and is removed here."""
    base = base or cache.directory() / "tuning"
    base.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with base.with_name(f"{base.name}.{LOCK}").open("w") as beginning:  # one at a time: a folder is swept or locked
            fcntl.flock(beginning, fcntl.LOCK_EX)
            _sweep(base)
            folder = Path(tempfile.mkdtemp(dir=base))
            lock = stack.enter_context((folder / LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(base: Path) -> None:
    for folder in base.iterdir():
        try:
            with (folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        except FileNotFoundError:
            _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    """A run that was killed between making its folder and its lock leaves an empty one; so may one that begins just
    now."""
    try:
        if folder.stat().st_mtime < time.time() - LONGEST_START_S:
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:
        return
