"""The C interface of an artifact (native/edgevision.h, ABI 1) through ctypes: open a .so, make sessions, run them."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgevision.elf import machine_of
from edgevision.errors import DeviceError, InputError
from edgevision.tensor import TensorSpec

ABI = 1
DTYPES = ("float32", "float64", "float16", "int8", "int16", "int32", "int64",
          "uint8", "uint16", "uint32", "uint64", "bool")  # fmt: skip
"""numpy's name of each ev_dtype, in order."""

EV_OK, EV_INVALID = 0, 1
EV_GPU = 1

FALLBACKS = ("never", "if-needed", "always")
"""The name of each ev_fallback, in order."""


class EvError(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int32), ("text", ctypes.c_char * 256))


class EvTensor(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("layout", ctypes.c_char_p),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * 8),
        ("bytes", ctypes.c_size_t),
    )

    def spec(self) -> TensorSpec:
        shape = tuple(self.shape[: self.rank])
        return TensorSpec(
            name=self.name.decode(), shape=shape, dtype=DTYPES[self.dtype], layout=(self.layout or b"").decode()
        )


class EvModel(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("abi", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("target", ctypes.c_char_p),
        ("compiler_version", ctypes.c_char_p),
        ("model_sha256", ctypes.c_char_p),
        ("n_inputs", ctypes.c_int32),
        ("n_outputs", ctypes.c_int32),
        ("inputs", ctypes.POINTER(EvTensor)),
        ("outputs", ctypes.POINTER(EvTensor)),
        ("weight_bytes", ctypes.c_size_t),
        ("arena_bytes", ctypes.c_size_t),
        ("n_steps", ctypes.c_int32),
    )


class EvOptions(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("threads", ctypes.c_int32),
        ("cores", ctypes.POINTER(ctypes.c_int32)),
        ("n_cores", ctypes.c_int32),
        ("cache_directory", ctypes.c_char_p),
        ("fallback", ctypes.c_int32),
    )


class EvStep(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("nanoseconds", ctypes.c_uint64))


Handle = ctypes.c_void_p
Pointers = ctypes.POINTER(ctypes.c_void_p)
ErrorPointer = ctypes.POINTER(EvError)
Create = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(EvOptions), ctypes.POINTER(Handle), ErrorPointer)
Run = ctypes.CFUNCTYPE(ctypes.c_int, Handle, Pointers, Pointers, ErrorPointer)
Profile = ctypes.CFUNCTYPE(
    ctypes.c_int, Handle, ctypes.POINTER(EvStep), ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t), ErrorPointer
)


class EvApi(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("describe", ctypes.CFUNCTYPE(ctypes.POINTER(EvModel))),
        ("create", Create),
        ("run", Run),
        ("profile", Profile),
        ("destroy", ctypes.CFUNCTYPE(None, Handle)),
        ("threads", ctypes.CFUNCTYPE(ctypes.c_int32, Handle)),
        ("processor", ctypes.CFUNCTYPE(ctypes.c_int32, Handle, ErrorPointer)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How to run: ``threads`` (0: the artifact's choice), pinned to ``cores``. ``cache_directory`` keeps what a GPU's driver
    compiles. ``fallback``: one of `FALLBACKS`."""

    threads: int = 0
    cores: tuple[int, ...] | None = None
    cache_directory: Path | None = None
    fallback: str = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """What computes a session's runs: ``name`` is "cpu" or "gpu". ``why``: what the GPU said when the CPU took over, else ""."""

    name: str
    why: str


class SharedObject:
    """An artifact mapped into this process; unmapped when nothing refers to it any more.

    It is mapped from a private copy in memory: dlopen knows a library by its path and by its inode, and would hand out
    the old one after `path` was replaced, or one half overwritten after it was written in place.
    """

    def __init__(self, path: Path, source: int) -> None:
        self.path = path
        copy = os.memfd_create(path.name[:200])
        release = weakref.finalize(self, os.close, copy)
        _copy(source, copy)
        loaded = _dlopen(f"/proc/self/fd/{copy}", path)
        # The descriptor stays open while the library is mapped: its number is the name that dlopen compares.
        release.detach()
        unmap = weakref.finalize(self, _unmap, loaded._handle, copy)
        unmap.atexit = False  # daemon threads may still be running code that lies in it
        self._api = _api(loaded, path)
        self.model: EvModel = self._api.describe().contents

    def create(self, options: SessionOptions | None = None) -> Session:
        return Session(self, self._api, options or SessionOptions())


class Session:
    """One arena and its worker threads; for one caller at a time."""

    def __init__(self, library: SharedObject, api: Any, options: SessionOptions) -> None:
        self._library, self._api = library, api
        cores, folder = options.cores, options.cache_directory
        self._cores = (ctypes.c_int32 * len(cores))(*cores) if cores else None
        self._handle = Handle()
        self._error = EvError()
        asked = EvOptions(
            ctypes.sizeof(EvOptions), options.threads, self._cores, len(cores) if cores else 0,
            os.fsencode(folder) if folder else None, FALLBACKS.index(options.fallback),
        )  # fmt: skip
        self._check(api.create(ctypes.byref(asked), ctypes.byref(self._handle), ctypes.byref(self._error)))

    def run(self, inputs: Any, outputs: Any) -> None:
        """One inference. ``inputs`` and ``outputs`` are arrays of void pointers, which the caller checked."""
        code = self._api.run(self._handle, inputs, outputs, ctypes.byref(self._error))
        if code != EV_OK:
            self._check(code)

    def profile(self) -> list[tuple[str, int]]:
        """Name and nanoseconds of each fused operator in the last run; the first call only switches timing on."""
        capacity = self._library.model.n_steps
        steps, count = (EvStep * capacity)(), ctypes.c_size_t()
        self._check(self._api.profile(self._handle, steps, capacity, ctypes.byref(count), ctypes.byref(self._error)))
        return [(step.name.decode(), step.nanoseconds) for step in steps[: min(count.value, capacity)]]

    @property
    def threads(self) -> int:
        """How many compute one run, the caller's included."""
        return int(self._api.threads(self._handle))

    @property
    def processor(self) -> Processor:
        """What computed the last run, and before the first one will compute it."""
        why = EvError()
        name = "gpu" if self._api.processor(self._handle, ctypes.byref(why)) == EV_GPU else "cpu"
        return Processor(name=name, why=why.text.decode(errors="replace"))

    def destroy(self) -> None:
        self._api.destroy(self._handle)
        self._handle = Handle()

    def _check(self, code: int) -> None:
        if code == EV_OK:
            return
        text = self._error.text.decode(errors="replace") or f"status {code}"
        raise (InputError if code == EV_INVALID else DeviceError)(f"{self._library.path}: {text}")


def load(path: Path) -> SharedObject:
    """Map the artifact at ``path``; the same unchanged file loaded twice is mapped once.

    Raises:
        InputError: no such file, or not an edgevision artifact.
        DeviceError: built for another processor, or the system cannot link it.
    """
    with _opened(path) as file:
        stat = os.fstat(file.fileno())
        _check_elf(path, file.read(1 << 12), stat.st_size)
        key = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
        with _loading:
            library = _loaded.get(key)
            if library is None:
                _loaded[key] = library = SharedObject(path, file.fileno())
        return library


_loading = threading.Lock()
_loaded: weakref.WeakValueDictionary[tuple[int, ...], SharedObject] = weakref.WeakValueDictionary()


def elf_bytes(header: bytes) -> int:
    """How long an ELF file must be for its segments to lie inside, from its first 4096 bytes.

    dlopen of a shorter one ends the process with SIGBUS.
    """
    wide, order = header[4] == 2, "<" if header[5] == 1 else ">"
    table = struct.unpack_from(order + ("Q" if wide else "I"), header, 32 if wide else 28)[0]
    size, count = struct.unpack_from(order + "HH", header, 54 if wide else 42)
    end = table + size * count
    for at in range(table, min(end, len(header) - size + 1), size):
        offset = struct.unpack_from(order + ("Q" if wide else "I"), header, at + (8 if wide else 4))[0]
        in_file = struct.unpack_from(order + ("Q" if wide else "I"), header, at + (32 if wide else 16))[0]
        end = max(end, offset + in_file)
    return int(end)


def _check_elf(path: Path, header: bytes, size_bytes: int) -> None:
    machine, here = machine_of(path), machine_of(Path("/proc/self/exe"))
    if machine != here:
        raise DeviceError(
            f"{path}: compiled for {machine}, but this process is {here}; run it on an {machine} device, "
            "or compile with `--target native`"
        )
    needed = elf_bytes(header) if len(header) >= 64 else 64
    if needed > size_bytes:
        raise InputError(f"{path}: truncated ({size_bytes} bytes of {needed}); copy or compile it again")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{path}: {reason}; give the .so that a compile wrote") from error


def _copy(source: int, destination: int) -> None:
    offset = 0
    while sent := os.sendfile(destination, source, offset, 1 << 30):
        offset += sent


def _dlopen(name: str, path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name, mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        raise DeviceError(f"{path}: the dynamic linker refuses it: {str(error).replace(name, path.name)}") from error


def _api(loaded: ctypes.CDLL, path: Path) -> EvApi:
    try:
        get_api = loaded.ev_get_api
    except AttributeError as error:
        raise InputError(f"{path}: no edgevision artifact: a shared object that exports no ev_get_api") from error
    get_api.argtypes, get_api.restype = [ctypes.c_uint32], ctypes.POINTER(EvApi)
    pointer = get_api(ABI)
    if not pointer or pointer.contents.struct_size < ctypes.sizeof(EvApi):
        raise InputError(f"{path}: does not speak version {ABI} of the C interface; compile it with this edgevision")
    return pointer.contents  # type: ignore[no-any-return]


def _unmap(handle: int, descriptor: int) -> None:
    dlclose = ctypes.CDLL(None).dlclose
    dlclose.argtypes = [ctypes.c_void_p]
    dlclose(handle)
    os.close(descriptor)
