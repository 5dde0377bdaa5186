"""ELF: which machine a program or library is for, from the first bytes of its file."""

from __future__ import annotations

import struct
from pathlib import Path

from edgevision.errors import InputError

_HEADER = struct.Struct("<4sBB10xHH")  # magic, class, byte order, type, machine. System V ABI, "ELF Header"
_LITTLE_ENDIAN = 1
MACHINES = {
    3: "x86",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv",
}  # e_machine -> arch; System V gABI's registry


def machine_of(path: Path) -> str:
    """The architecture that the ELF file at ``path`` is for, as `Target.arch` spells it, or "ELF machine N".

    Raises: InputError for a file that is missing, or is something else than little-endian ELF.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER.size)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if len(start) < _HEADER.size or start[:4] != b"\x7fELF":
        raise InputError(f"{path}: not an ELF file, so neither a shared library nor a program for Linux or Android")
    _, _, order, _, machine = _HEADER.unpack(start)
    if order != _LITTLE_ENDIAN:
        raise InputError(f"{path}: a big-endian ELF file; edgevision makes and runs little-endian ones")
    return MACHINES.get(machine, f"ELF machine {machine}")
