"""Where a compile writes: its folder, a scratch folder beside the finished files, and files that appear whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgevision.artifact import Artifact
from edgevision.errors import OutputFolderError


def place(output: Path | None, model: str, target: str, *, alone: bool) -> Path:
    """The folder that receives the artifact of ``model`` for ``target``, inside ``output``, or that itself where it is ``alone``;
    made here, so that an unwritable one costs no compile.

    Raises: OutputFolderError.
    """
    base = output or Path("build")
    folder = base if output and alone else base / f"{model}.{target}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputFolderError(folder, error.strerror or str(error)) from error
    return folder


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A folder on the same file system as ``place``, so that finished files can be renamed into it."""
    with tempfile.TemporaryDirectory(prefix=".edgevision-", dir=place) as name:
        yield Path(name)


def keep(scratch: Path, folder: Path | None) -> None:
    if folder is not None:
        shutil.copytree(scratch, folder, dirs_exist_ok=True)


def publish(built: Artifact, sources: Sequence[Path], place: Path) -> tuple[Artifact, tuple[Path, ...]]:
    """Rename the finished files into place, the manifest last: with it, the set is complete."""
    beside = tuple(source.replace(place / source.name) for source in sources)
    moved: dict[str, Any] = {}
    for field in ("path", "header", "bench", "model", "manifest"):
        source: Path = getattr(built, field)
        moved[field] = source.replace(place / source.name)
    return replace(built, **moved), beside
