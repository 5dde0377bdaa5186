"""Android without its NDK: stand-ins for bionic's libraries to link against.

A stand-in defines the names that bionic exports and nothing more. The linker takes from it that a name exists and which
library to ask for it; the phone's own library does the work. Names stay unversioned, as both bionic and glibc allow.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import edgevision
from edgevision.link import zig

TRIPLE = "aarch64-linux-android"  # with an API level, zig asks for a C library even under -nostdlib


_FUNCTION = ".globl {name}\n.type {name},%function\n{name}:\n"
_POINTER = ".data\n.balign 8\n.globl {name}\n.type {name},%object\n{name}: .quad 0\n.size {name}, 8\n"

START = Path(edgevision.__file__).parent / "native" / "android_start.c"
"""What an executable begins with; the NDK's crtbegin_dynamic.o otherwise."""


@cache
def functions() -> dict[str, tuple[str, ...]]:
    """Library -> the functions that may be called from it: {"libc": ("abort", ...), "libm": ..., "libdl": ...}."""
    return {library: tuple(entry["functions"].split()) for library, entry in _table().items()}


@cache
def _table() -> dict[str, dict[str, str]]:
    return tomllib.loads((Path(__file__).parent / "bionic.toml").read_text(encoding="utf-8"))


def link_against(folder: Path, *, program: bool = False) -> tuple[str, ...]:
    """Arguments for zig cc that take the place of the C libraries, which are written to ``folder``; a ``program`` may call more
    than a library.

    Libraries nobody calls are not recorded. The stand-ins are named by path: ``-lc`` has zig look for its own libc.
    Raises: CompilerError, ToolchainError.
    """
    return ("-nostdlib", "-Wl,--as-needed", *(str(_stand_in(library, folder, program)) for library in functions()))


def _stand_in(library: str, folder: Path, program: bool) -> Path:
    # Assembler: clang knows the prototype of memcpy and would refuse another.
    source = folder / f"{library}.s"
    output = folder / f"{library}.so"
    entry = _table()[library]
    called = [*functions()[library], *(entry.get("programs", "").split() if program else ())]
    read = entry.get("variables", "").split() if program else []
    source.write_text("".join([_FUNCTION.format(name=n) for n in called] + [_POINTER.format(name=n) for n in read]))
    arguments: list[str | Path] = ["cc", "-target", TRIPLE, "-nostdlib", "-shared", "-s"]
    arguments += [f"-Wl,-soname,{output.name}", source, "-o", output]
    zig.run(arguments, purpose=f"making a stand-in for Android's {output.name}", scratch=folder / "zig")
    return output
