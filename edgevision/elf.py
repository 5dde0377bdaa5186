"""ELF, little-endian: which machine a program or library is for, how long its file must be, and where its constants are.

Source: System V ABI, chapters "ELF Header", "Sections" and "Program Header".
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from edgevision.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER_BYTES = 1 << 12
"""What `bytes_needed` and `constants` look at: the header, and the table of segments that follows it."""
MACHINES = {
    3: "x86",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv",
}  # e_machine -> arch; System V gABI's registry
_START = struct.Struct("<4sBB10xHH")  # magic, class, byte order, type, machine
_WIDE, _LITTLE_ENDIAN = 2, 1
_LOAD, _WRITABLE = 1, 2  # a segment's type and flag
_PROGRAM_BITS, _INIT_ARRAY = 1, 14  # a section's types
_WRITE, _ALLOC, _EXEC = 1, 2, 4  # and flags


def machine_of(path: Path) -> str:
    """The architecture that the ELF file at ``path`` is for, as `Target.arch` spells it, or "ELF machine N".

    Raises: InputError for a file that is missing, or is something else than little-endian ELF.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_START.size)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return machine(path, start)


def machine(path: Path | str, start: bytes) -> str:
    """As `machine_of`, of the file's first bytes."""
    if len(start) < _START.size or start[:4] != b"\x7fELF":
        raise InputError(f"{path}: not an ELF file, so neither a shared library nor a program for Linux or Android")
    _, _, order, _, number = _START.unpack_from(start)
    if order != _LITTLE_ENDIAN:
        raise InputError(f"{path}: a big-endian ELF file; edgevision makes and runs little-endian ones")
    return MACHINES.get(number, f"ELF machine {number}")


def bytes_needed(header: bytes) -> int:
    """How long a file with ``header`` must be for its segments to lie inside: dlopen of a shorter one raises SIGBUS."""
    return max(place.stop for _, _, place in _segments(header))


def constants(file: int, header: bytes) -> range:
    """The bytes of the open ``file`` that are its largest section of constants, out of those that are mapped together with the
    file's first byte; empty where there are none, and in a library that runs code of its own while it is loaded."""
    wide = header[4] == _WIDE
    (table,) = struct.unpack_from("<Q" if wide else "<I", header, 40 if wide else 32)
    (count,) = struct.unpack_from("<H", header, 60 if wide else 48)
    section = struct.Struct("<4xIQ8xQQ24x" if wide else "<4xII4xII16x")  # type, flags, offset, size
    content = os.pread(file, count * section.size, table) if table < os.fstat(file).st_size else b""
    sections = list(section.iter_unpack(content[: len(content) // section.size * section.size]))
    if any(kind == _INIT_ARRAY for kind, *_ in sections):
        return range(0)
    first = [place.stop for kind, flags, place in _segments(header) if kind == _LOAD and not flags & _WRITABLE and place.start == 0]
    places = [
        range(offset, offset + size)
        for kind, flags, offset, size in sections
        if kind == _PROGRAM_BITS and flags & (_WRITE | _ALLOC | _EXEC) == _ALLOC and offset + size <= max(first, default=0)
    ]
    return max(places, key=len, default=range(0))


def _segments(header: bytes) -> Iterator[tuple[int, int, range]]:
    """Type, flags, and place in the file of each segment; the last is the table of them itself."""
    wide = header[4] == _WIDE
    (table,) = struct.unpack_from("<Q" if wide else "<I", header, 32 if wide else 28)
    (count,) = struct.unpack_from("<H", header, 56 if wide else 44)
    size = 56 if wide else 32
    for at in range(table, min(table + size * count, len(header) - size + 1), size):
        if wide:
            kind, flags, offset, in_file = struct.unpack_from("<IIQ16xQ", header, at)
        else:
            kind, offset, in_file, flags = struct.unpack_from("<II8xI4xI", header, at)
        yield kind, flags, range(offset, offset + in_file)
    yield 0, 0, range(table, table + size * count)
