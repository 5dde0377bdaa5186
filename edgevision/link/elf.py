"""The gate on what is linked: it loads on its systems, needs their C library alone, exports its API alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from edgevision.elf import machine_of
from edgevision.errors import LibraryGateError
from edgevision.target import Target

# glibc before 2.34 is several libraries; the loader itself appears where thread-local storage is used.
_GLIBC = re.compile(r"(libc\.so\.6|libm\.so\.6|libdl\.so\.2|libpthread\.so\.0|ld-linux[\w-]*\.so\.[123])")
ANDROID_LINKER = "/system/bin/linker64"
_BIONIC = re.compile(r"lib(c|m|dl)\.so")

# System V gABI, "Dynamic Section" and "Program Header"; DF_1_NOW is GNU's.
_DF_TEXTREL, _DF_BIND_NOW, _DF_1_NOW, _PF_X, _PF_W = 4, 8, 1, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLibrary:
    """What the gate asks of a file: its dynamic tags, what it defines and wants, and how its segments are mapped."""

    kind: str  # e_type: "ET_DYN" for a shared library
    tags: frozenset[str]
    flags: int
    flags_1: int
    needed: tuple[str, ...]
    soname: str
    exports: frozenset[str]
    versions: tuple[str, ...]  # wanted of other libraries: "GLIBC_2.17"
    segments: tuple[tuple[str, int, int], ...]  # type, flags, alignment in bytes
    interpreter: str = ""  # an executable's dynamic linker


def read(path: Path) -> SharedLibrary:
    """Raises: elftools' ELFError for a file that is no ELF."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        segments = tuple((s.header.p_type, s.header.p_flags, s.header.p_align) for s in elf.iter_segments())
        dynamic = [tag for s in elf.iter_segments("PT_DYNAMIC") for tag in s.iter_tags()]
        values = {tag.entry.d_tag: tag.entry.d_val for tag in dynamic}
        return SharedLibrary(
            kind=elf.header.e_type,
            tags=frozenset(values),
            flags=values.get("DT_FLAGS", 0),
            flags_1=values.get("DT_FLAGS_1", 0),
            needed=tuple(tag.needed for tag in dynamic if tag.entry.d_tag == "DT_NEEDED"),
            soname=next((tag.soname for tag in dynamic if tag.entry.d_tag == "DT_SONAME"), ""),
            exports=frozenset(_exports(elf)),
            versions=tuple(_versions(elf)),
            segments=segments,
            interpreter=next((s.get_interp_name() for s in elf.iter_segments("PT_INTERP")), ""),
        )


def _exports(elf: ELFFile) -> Iterator[str]:
    table = elf.get_section_by_name(".dynsym")
    for symbol in table.iter_symbols() if table else ():
        if symbol.entry.st_shndx != "SHN_UNDEF" and symbol.entry.st_info.bind != "STB_LOCAL":
            yield symbol.name


def _versions(elf: ELFFile) -> Iterator[str]:
    table = elf.get_section_by_name(".gnu.version_r")
    for _, wanted in table.iter_versions() if table else ():
        yield from (version.name for version in wanted)


def check_library(path: Path, target: Target, *, exported: Sequence[str] = ("ev_get_api",)) -> None:
    """Holds the file at ``path`` against what systems of ``target`` load and what its header promises.

    Raises: LibraryGateError with everything that is wrong; InputError for a file that is no little-endian ELF.
    """
    machine = machine_of(path)
    if machine != target.arch:
        raise LibraryGateError(path, target.name, [f"it is for {machine}, not {target.arch}"])
    try:
        library = read(path)
    except ELFError as error:
        raise LibraryGateError(path, target.name, [f"it is damaged ({error})"]) from error
    problems = [*_mapping_problems(library, target), *_symbol_problems(library, exported)]
    problems += _bionic_problems(library) if target.os == "android" else _glibc_problems(library, target)
    if problems:
        raise LibraryGateError(path, target.name, problems)


def check_android_program(path: Path, target: Target) -> None:
    """Holds the executable at ``path`` against what Android's linker starts: position-independent, and asking for that linker.

    Raises: LibraryGateError with everything that is wrong.
    """
    program = read(path)
    problems = [*_mapping_problems(program, target), *_bionic_problems(program)]
    if program.interpreter != ANDROID_LINKER:
        problems.append(f"it asks for {program.interpreter or 'no linker'}, not {ANDROID_LINKER}")
    if program.exports:
        problems.append(f"it exports {_some(sorted(program.exports))}")
    if problems:
        raise LibraryGateError(path, target.name, problems)


def _mapping_problems(library: SharedLibrary, target: Target) -> Iterator[str]:
    """How the file is mapped into memory, and whether it stays read-only there."""
    if library.kind != "ET_DYN":
        yield f"it is {library.kind}, not position-independent (ET_DYN)"
    alignments = [alignment for kind, _, alignment in library.segments if kind == "PT_LOAD"]
    if any(alignment % target.page_bytes for alignment in alignments):
        found = ", ".join(f"{alignment:#x}" for alignment in sorted(set(alignments)))
        yield f"segments are aligned to {found}, so systems with pages of {target.page_bytes} bytes refuse it"
    if any(kind == "PT_LOAD" and flags & _PF_W and flags & _PF_X for kind, flags, _ in library.segments):
        yield "a segment is writable and executable"
    stack = [flags for kind, flags, _ in library.segments if kind == "PT_GNU_STACK"]
    if not stack or stack[0] & _PF_X:
        yield "it asks for an executable stack (PT_GNU_STACK)"
    if "DT_TEXTREL" in library.tags or library.flags & _DF_TEXTREL:
        yield "code is patched when it is loaded (TEXTREL); compile with -fPIC"
    if not (library.flags & _DF_BIND_NOW or library.flags_1 & _DF_1_NOW or "DT_BIND_NOW" in library.tags):
        yield "symbols are bound late (no BIND_NOW)"
    if all(kind != "PT_GNU_RELRO" for kind, _, _ in library.segments):
        yield "its pointers stay writable (no PT_GNU_RELRO)"


def _symbol_problems(library: SharedLibrary, exported: Sequence[str]) -> Iterator[str]:
    if not library.soname:
        yield "it has no SONAME"
    if library.tags & {"DT_RPATH", "DT_RUNPATH"}:
        yield "it names folders to search for libraries (RPATH or RUNPATH)"
    if missing := sorted(set(exported) - library.exports):
        yield f"it does not export {', '.join(missing)}"
    if extra := sorted(library.exports - set(exported)):
        yield f"it exports {_some(extra)} as well"


def _glibc_problems(library: SharedLibrary, target: Target) -> Iterator[str]:
    if foreign := [name for name in library.needed if not _GLIBC.fullmatch(name)]:
        yield f"it needs {_some(foreign)}"
    numbered = {
        tuple(map(int, version[6:].split("."))) for version in library.versions if re.match(r"GLIBC_\d", version)
    }
    newest = max(numbered, default=(0,))
    if target.glibc and newest[:2] > target.glibc:
        yield f"it needs glibc {'.'.join(map(str, newest))}, newer than {'.'.join(map(str, target.glibc))}"
    if private := [version for version in library.versions if not re.match(r"GLIBC_\d", version)]:
        yield f"it needs symbols of version {_some(private)}"


def _bionic_problems(library: SharedLibrary) -> Iterator[str]:
    """Sources: bionic's linker.cpp; android-changes-for-ndk-developers.md of bionic (API 23: GNU hash; API 29: TLS)."""
    if foreign := [name for name in library.needed if not _BIONIC.fullmatch(name)]:
        yield f"it needs {_some(foreign)}"
    if missing := sorted({"DT_HASH", "DT_GNU_HASH"} - library.tags):
        yield f"it has no {' and no '.join(missing)}; link with --hash-style=both"
    if library.versions:
        yield f"it needs symbols of version {_some(library.versions)}, which are another C library's"
    if any(kind == "PT_TLS" for kind, _, _ in library.segments):
        yield "it uses ELF thread-local storage (PT_TLS), which Android has since API 29"


def _some(names: Iterable[str], shown: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:shown]) + (f" and {len(listed) - shown} more" if len(listed) > shown else "")
