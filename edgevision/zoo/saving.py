"""An ONNX model to a file that appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgevision.errors import InputError

if TYPE_CHECKING:
    import onnx


class OutputError(InputError):
    """A file that cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: cannot be written: {reason}; name another file")


def check_output(output: Path) -> None:
    """Raise OutputError where `save` would certainly fail, before the work that comes first."""
    if output.is_dir():
        raise OutputError(output, "it is a folder")
    if not output.parent.is_dir():
        raise OutputError(output, f"there is no folder {output.parent}")
    if not os.access(output.parent, os.W_OK):
        raise OutputError(output, f"the folder {output.parent} is read-only")


def save(proto: onnx.ModelProto, output: Path) -> None:
    """Write beside ``output``, then rename. Raises: OutputError."""
    save_bytes(proto.SerializeToString(deterministic=True), output)


def save_bytes(content: bytes, output: Path) -> None:
    """Write beside ``output``, then rename. Raises: OutputError."""
    check_output(output)
    umask = os.umask(0)
    os.umask(umask)
    beside: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
        beside = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        beside.chmod(0o666 & ~umask)
        beside.replace(output)
    except OSError as error:
        if beside is not None:
            beside.unlink(missing_ok=True)
        raise OutputError(output, error.strerror or str(error)) from error
