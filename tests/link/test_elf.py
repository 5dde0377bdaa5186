"""The gate on linked libraries: the right ones pass, and each guard stops a library with one thing wrong."""

import re
import shutil
from pathlib import Path

import pytest

from edgevision import elf, target
from edgevision.errors import InputError, LibraryGateError
from edgevision.link import zig
from edgevision.link.elf import check_library
from tests.link.toy import EXPORTED, PT_GNU_STACK, PT_LOAD, link_wrongly, with_segment

TARGETS = ("x86_64", "arm64", "arm64-android", "armv7")


@pytest.mark.parametrize("name", TARGETS)
def test_a_right_library_passes(libraries, name):
    check_library(libraries(name), target.load(name), exported=EXPORTED)


def test_the_wrong_linker_is_right_when_nothing_is_wrong(tmp_path):
    for name in ("arm64", "arm64-android"):
        check_library(link_wrongly(name, tmp_path / name), target.load(name), exported=EXPORTED)


THREAD_LOCAL = "__thread int counter; int *count(void) { return &counter; } int *(*counting)(void) = count;"
# A pointer in a read-only section, which the loader would have to write.
TEXT_RELOCATION = (
    'int here; __asm__(".section .text.x,\\"ax\\"\\n.globl point\\npoint:\\n.quad ev_get_api\\n.previous\\n");'
)

NEAR_MISSES = {
    "pages": ("arm64", {"flags": ["-Wl,-z,max-page-size=4096"]}, "aligned to 0x1000, .* pages of 65536 bytes"),
    "pages on Android": ("arm64-android", {"flags": ["-Wl,-z,max-page-size=4096"]}, "0x1000, .* pages of 16384 bytes"),
    "patched code": (
        "x86_64",
        {"source": TEXT_RELOCATION, "flags": ["-Wl,-z,notext"]},
        r"patched when it is loaded \(TEXTREL\)",
    ),
    "late binding": ("arm64", {"flags": ["-Wl,-z,lazy"], "drop": ["-Wl,-z,now"]}, "no BIND_NOW"),
    "writable pointers": ("arm64", {"flags": ["-Wl,-z,norelro"], "drop": ["-Wl,-z,relro"]}, "no PT_GNU_RELRO"),
    "no name": ("arm64", {"flags": ["-Wl,-soname,"], "drop": ["-Wl,-soname,libtoy.so"]}, "no SONAME"),
    "run path": ("arm64", {"flags": ["-Wl,-rpath,/opt/lib"]}, "RPATH or RUNPATH"),
    "newer glibc": ("arm64", {"target_triple": "aarch64-linux-gnu.2.34"}, r"needs glibc 2\.34, newer than 2\.17"),
    "one hash table": (
        "arm64-android",
        {"flags": ["-Wl,--hash-style=gnu"], "drop": ["-Wl,--hash-style=both"]},
        "has no DT_HASH; link with --hash-style=both",
    ),
    "thread-local storage": (
        "arm64-android",
        {"source": THREAD_LOCAL, "flags": ["-fno-emulated-tls"], "drop": ["-Wl,--no-undefined"]},
        "PT_TLS",
    ),
}


@pytest.mark.parametrize(("name", "change", "problem"), NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_is_stopped(tmp_path, name, change, problem):
    with pytest.raises(LibraryGateError, match=problem) as caught:
        check_library(link_wrongly(name, tmp_path, **change), target.load(name), exported=EXPORTED)
    assert len(caught.value.problems) == 1, caught.value.problems
    assert (caught.value.exit_code, caught.value.target) == (1, name)


READ_WRITE, READ_WRITE_EXECUTE = 6, 7
CHANGED_SEGMENTS = {
    "executable stack": ((PT_GNU_STACK, READ_WRITE), {"new_flags": READ_WRITE_EXECUTE}, "an executable stack"),
    "nothing said about the stack": ((PT_GNU_STACK, READ_WRITE), {"new_kind": 0x6FFFFFF0}, "an executable stack"),
    "writable code": ((PT_LOAD, READ_WRITE), {"new_flags": READ_WRITE_EXECUTE}, "is writable and executable"),
}


@pytest.mark.parametrize(("segment", "change", "problem"), CHANGED_SEGMENTS.values(), ids=CHANGED_SEGMENTS)
def test_a_changed_segment_is_stopped(tmp_path, libraries, segment, change, problem):
    wrong = with_segment(Path(shutil.copy(libraries("arm64"), tmp_path)), *segment, **change)
    with pytest.raises(LibraryGateError, match=problem) as caught:
        check_library(wrong, target.load("arm64"), exported=EXPORTED)
    assert len(caught.value.problems) == 1, caught.value.problems


def test_a_library_that_needs_another_is_stopped(tmp_path, libraries):
    other = tmp_path / "libother.so"
    shutil.copy(libraries("arm64"), other)
    wrong = link_wrongly("arm64", tmp_path, flags=["-Wl,--no-as-needed"], libraries=[other])
    with pytest.raises(LibraryGateError, match=r"it needs libtoy\.so$"):
        check_library(wrong, target.load("arm64"), exported=EXPORTED)


def test_what_glibc_keeps_to_itself_is_stopped(tmp_path):
    """A stand-in for libm.so.6 offers a symbol of version GLIBC_PRIVATE, which any update of glibc may take away."""
    source, versions, inner = tmp_path / "inner.s", tmp_path / "inner.map", tmp_path / "libm.so.6"
    source.write_text(".globl secret\n.type secret,%function\nsecret:\n")
    versions.write_text("GLIBC_PRIVATE { global: secret; };\n")
    shared = ["-shared", "-nostdlib", "-Wl,-soname,libm.so.6", f"-Wl,--version-script={versions}"]
    zig.run(["cc", "-target", "aarch64-linux-gnu.2.17", *shared, source, "-o", inner], purpose="making an inner libm")
    caller = "void secret(void); __attribute__((constructor)) static void start_up(void) { secret(); }"
    wrong = link_wrongly("arm64", tmp_path, source=caller, libraries=[inner])
    with pytest.raises(LibraryGateError, match="it needs symbols of version GLIBC_PRIVATE$"):
        check_library(wrong, target.load("arm64"), exported=EXPORTED)


def test_a_library_of_glibc_is_not_android_s(libraries, tmp_path):
    """All that differs: whose C library it asks for, in name and in version."""
    wrong = link_wrongly("arm64", tmp_path, flags=["-Wl,-z,max-page-size=16384"])
    with pytest.raises(LibraryGateError) as caught:
        check_library(wrong, target.load("arm64-android"), exported=EXPORTED)
    needed, versions = caught.value.problems
    assert re.search(r"needs .*libpthread\.so\.0", needed)
    assert "GLIBC_2.17" in versions


def test_a_library_of_android_is_not_glibc_s(tmp_path):
    wrong = link_wrongly("arm64-android", tmp_path, flags=["-Wl,-z,max-page-size=65536"])
    with pytest.raises(LibraryGateError, match=r"it needs libc\.so"):
        check_library(wrong, target.load("arm64"), exported=EXPORTED)


def test_exports_are_exactly_those_asked_for(libraries):
    with pytest.raises(LibraryGateError, match="it exports toy_get_api as well"):
        check_library(libraries("arm64"), target.load("arm64"))
    with pytest.raises(LibraryGateError, match="it does not export other_get_api"):
        check_library(libraries("arm64"), target.load("arm64"), exported=(*EXPORTED, "other_get_api"))


def test_a_library_for_another_machine_is_stopped(libraries):
    with pytest.raises(LibraryGateError, match="it is for aarch64, not arm$"):
        check_library(libraries("arm64"), target.load("armv7"), exported=EXPORTED)


def test_a_program_is_no_library(tmp_path):
    with pytest.raises(LibraryGateError, match="it is ET_REL, not position-independent"):
        check_library(link_wrongly("arm64", tmp_path, flags=["-c"]), target.load("arm64"), exported=EXPORTED)


def test_a_damaged_library_is_stopped(libraries, tmp_path):
    damaged = tmp_path / "libtoy.so"
    damaged.write_bytes(libraries("arm64").read_bytes()[:40])
    with pytest.raises(LibraryGateError, match="it is damaged"):
        check_library(damaged, target.load("arm64"), exported=EXPORTED)


# --- which machine --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
def test_the_machine_of_a_library(libraries, name):
    assert elf.machine_of(libraries(name)) == target.load(name).arch


def test_a_machine_without_a_name(libraries, tmp_path):
    start = bytearray(libraries("arm64").read_bytes()[:64])
    start[18:20] = b"\x16\x00"
    (tmp_path / "s390").write_bytes(start)
    assert elf.machine_of(tmp_path / "s390") == "ELF machine 22"


def test_files_that_are_for_no_machine(libraries, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        elf.machine_of(tmp_path / "absent.so")
    with pytest.raises(InputError, match="is a directory"):
        elf.machine_of(tmp_path)
    start = bytearray(libraries("arm64").read_bytes()[:64])
    text = tmp_path / "text"
    for wrong in (b"", start[:19], b"\x7fELG" + start[4:]):
        text.write_bytes(wrong)
        with pytest.raises(InputError, match="not an ELF file"):
            elf.machine_of(text)
    start[5] = 2
    text.write_bytes(start)
    with pytest.raises(InputError, match="big-endian"):
        elf.machine_of(text)
