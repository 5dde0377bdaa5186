"""A shared object mapped from memory of this process's own, its constants in huge pages.

dlopen knows a library by its path and by its inode: it would hand out the old one after the file was replaced, or one half
overwritten after it was written in place. So it gets a copy in memory. Pages of such a file are small ones, and 14 MB of them take
5.5 ms to fill and a fault for every few of them at the first use. Therefore the constants, which are nearly all of an artifact, are
left out of the copy and read into anonymous memory in their place, for which the system has huge pages: 2.3 ms.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from edgevision import elf

HUGE_PAGE_BYTES = 2 << 20
"""Of x86-64, and of arm64 with pages of 4 KiB. Constants below that size are copied with the rest."""
# linux/mman.h and asm-generic/mman-common.h, which arm, arm64, riscv and x86 share.
_PROT_READ, _PROT_WRITE = 1, 2
_MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 2, 0x10, 0x20
_MADV_HUGEPAGE = 14


class DlInfo(ctypes.Structure):
    """dladdr(3)'s Dl_info. ``base``: where the file's first byte is mapped."""

    _fields_ = (
        ("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("symbol", ctypes.c_char_p), ("address", ctypes.c_void_p),
    )  # fmt: skip


def constants(source: int, header: bytes) -> range:
    """The whole pages of the file ``source`` that hold nothing but constants; empty where they would not fill a huge page.

    ``header``: its first bytes.
    """
    found, page = elf.constants(source, header), os.sysconf("SC_PAGE_SIZE")
    pages = range(-(-found.start // page) * page, found.stop // page * page)
    return pages if len(pages) >= HUGE_PAGE_BYTES else range(0)


def copied(source: int, name: str, hole: range) -> int:
    """A new file in memory with what the file ``source`` holds, and zeros in ``hole``."""
    copy = os.memfd_create(name)
    _copy(source, copy, 0, hole.start)
    _copy(source, copy, hole.stop, os.fstat(source).st_size)
    return copy


def fill(hole: range, source: int, function: Any) -> None:
    """Map memory with the ``hole`` of the file ``source`` in its place in the library that defines ``function``.

    Raises:
        OSError: there is no memory for it.
        EOFError: the file became shorter.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    at, size = _base(libc, function) + hole.start, ctypes.c_size_t(len(hole))
    place = ctypes.c_void_p(at)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    if libc.mmap(place, size, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_FIXED | _MAP_ANONYMOUS, -1, 0) != at:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    libc.madvise(place, size, _MADV_HUGEPAGE)  # advice: without huge pages these are small ones
    _read(source, (ctypes.c_char * len(hole)).from_address(at), hole.start)
    libc.mprotect(place, size, _PROT_READ)


def _base(libc: ctypes.CDLL, function: Any) -> int:
    found = DlInfo()
    libc.dladdr(ctypes.cast(function, ctypes.c_void_p), ctypes.byref(found))
    return int(found.base)


def _copy(source: int, destination: int, at: int, end: int) -> None:
    os.lseek(destination, at, os.SEEK_SET)
    while at < end and (sent := os.sendfile(destination, source, at, end - at)):
        at += sent


def _read(source: int, into: ctypes.Array[ctypes.c_char], offset: int) -> None:
    view, done = memoryview(into), 0
    while done < len(view):
        got = os.preadv(source, [view[done:]], offset + done)
        if not got:
            raise EOFError(f"it ends after {offset + done} bytes")
        done += got
