"""Android without its NDK: stand-ins for bionic's libraries to link against.

A stand-in defines the names that bionic exports and nothing more. The linker takes from it that a name exists and which
library to ask for it; the phone's own library does the work. Names stay unversioned, as both bionic and glibc allow.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from edgevision.link import zig

TRIPLE = "aarch64-linux-android"  # with an API level, zig asks for a C library even under -nostdlib


@cache
def functions() -> dict[str, tuple[str, ...]]:
    """Library -> the functions that may be called from it: {"libc": ("abort", ...), "libm": ..., "libdl": ...}."""
    table = tomllib.loads((Path(__file__).parent / "bionic.toml").read_text(encoding="utf-8"))
    return {library: tuple(entry["functions"].split()) for library, entry in table.items()}


def link_against(folder: Path) -> tuple[str, ...]:
    """Arguments for zig cc that take the place of the C libraries, which are written to ``folder``.

    Libraries nobody calls are not recorded. The stand-ins are named by path: ``-lc`` has zig look for its own libc.
    Raises: CompilerError, ToolchainError.
    """
    return ("-nostdlib", "-Wl,--as-needed", *(str(_stand_in(library, folder)) for library in functions()))


def _stand_in(library: str, folder: Path) -> Path:
    # Assembler: clang knows the prototype of memcpy and would refuse another.
    source = folder / f"{library}.s"
    output = folder / f"{library}.so"
    source.write_text("".join(f".globl {name}\n.type {name},%function\n{name}:\n" for name in functions()[library]))
    arguments: list[str | Path] = ["cc", "-target", TRIPLE, "-nostdlib", "-shared", "-s"]
    arguments += [f"-Wl,-soname,{output.name}", source, "-o", output]
    zig.run(arguments, purpose=f"making a stand-in for Android's {output.name}", scratch=folder / "zig")
    return output
