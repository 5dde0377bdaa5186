"""The C interface of an artifact (native/edgevision.h, ABI 1) through ctypes: open a .so, make sessions, run them."""

from __future__ import annotations

import ctypes
import os
import weakref
from _thread import allocate_lock
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from edgevision import elf, own_pages
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


def options(
    *, threads: int = 0, cores: Sequence[int] = (), cache_directory: str | os.PathLike[str] | None = None, fallback: str = "never"
) -> EvOptions:
    """How to run: ``threads`` (0: the artifact's choice), pinned to ``cores``. ``cache_directory`` keeps what a GPU's driver
    compiles. ``fallback``: one of `FALLBACKS`."""
    return EvOptions(
        ctypes.sizeof(EvOptions), threads, (ctypes.c_int32 * len(cores))(*cores) if cores else None, len(cores),
        os.fsencode(cache_directory) if cache_directory else None, FALLBACKS.index(fallback),
    )  # fmt: skip


class Processor(NamedTuple):
    """What computes a session's runs: ``name`` is "cpu" or "gpu". ``why``: what the GPU said when the CPU took over, else ""."""

    name: str
    why: str


class SharedObject:
    """An artifact mapped into this process, from memory of its own or, ``shared``, from its file; unmapped when nothing refers to
    it any more."""

    def __init__(self, path: str, source: int, header: bytes, *, shared: bool) -> None:
        self.path = path
        name, hole = path.rpartition("/")[2], range(0) if shared else own_pages.constants(source, header)
        copy = os.dup(source) if shared else own_pages.copied(source, name[:200], hole)
        release = weakref.finalize(self, os.close, copy)
        loaded = _dlopen(f"/proc/self/fd/{copy}", name, path)
        # The descriptor stays open while the library is mapped: its number is the name that dlopen compares.
        release.detach()
        unmap = weakref.finalize(self, _unmap, loaded._handle, copy)
        unmap.atexit = False  # daemon threads may still be running code that lies in it
        get_api = _entry(loaded, path)
        if hole:
            _fill(hole, source, get_api, path)
        self._api = _api(get_api, path)
        self.model: EvModel = self._api.describe().contents

    def create(self, asked: EvOptions | None = None) -> Session:
        return Session(self, self._api, asked or options())


class Session:
    """One arena and its worker threads; for one caller at a time."""

    def __init__(self, library: SharedObject, api: Any, asked: EvOptions) -> None:
        self._library, self._api = library, api
        self._handle = Handle()
        self._error = EvError()
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


def load(path: str | os.PathLike[str], *, shared: bool = False) -> SharedObject:
    """Map the artifact at ``path``, ``shared`` from the file itself; the same unchanged file loaded twice is mapped once.

    Raises:
        InputError: no such file, or not an edgevision artifact.
        DeviceError: built for another processor, or the system cannot link it.
    """
    path = os.fspath(path)
    with _opened(path) as (file, header):
        stat = os.fstat(file)
        _check_elf(path, header, stat.st_size)
        with _loading:
            key = (stat.st_dev, stat.st_ino, shared, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
            library = _loaded.get(key)
            if library is None:
                written_to = shared and any(other[:3] == key[:3] for other in _loaded)  # dlopen would hand out the other one
                _loaded[key] = library = SharedObject(path, file, header, shared=shared and not written_to)
        return library


_loading = allocate_lock()
_loaded: weakref.WeakValueDictionary[tuple[int, ...], SharedObject] = weakref.WeakValueDictionary()


def _check_elf(path: str, header: bytes, size_bytes: int) -> None:
    with _opened("/proc/self/exe") as (_, own):
        machine, here = elf.machine(path, header), elf.machine("/proc/self/exe", own)
    if machine != here:
        raise DeviceError(
            f"{path}: compiled for {machine}, but this process is {here}; run it on an {machine} device, "
            "or compile with `--target native`"
        )
    needed = elf.bytes_needed(header) if len(header) >= 64 else 64
    if needed > size_bytes:
        raise InputError(f"{path}: truncated ({size_bytes} bytes of {needed}); copy or compile it again")


@contextmanager
def _opened(path: str) -> Iterator[tuple[int, bytes]]:
    """The file, and what it begins with."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        yield file, _start(path, file)
    finally:
        os.close(file)


def _start(path: str, file: int) -> bytes:
    try:
        return os.pread(file, elf.HEADER_BYTES, 0)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> InputError:
    return InputError(f"{path}: {(error.strerror or str(error)).lower()}; give the .so that a compile wrote")


def _dlopen(copy: str, name: str, path: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(copy, mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        raise DeviceError(f"{path}: the dynamic linker refuses it: {str(error).replace(copy, name)}") from error


def _entry(loaded: ctypes.CDLL, path: str) -> Any:
    try:
        get_api = loaded.ev_get_api
    except AttributeError as error:
        raise InputError(f"{path}: no edgevision artifact: a shared object that exports no ev_get_api") from error
    get_api.argtypes, get_api.restype = [ctypes.c_uint32], ctypes.POINTER(EvApi)
    return get_api


def _fill(hole: range, source: int, get_api: Any, path: str) -> None:
    try:
        own_pages.fill(hole, source, get_api)
    except EOFError as error:
        raise InputError(f"{path}: {error}; copy or compile it again") from error
    except OSError as error:
        raise DeviceError(f"{path}: no memory for {len(hole)} bytes of constants: {error}") from error


def _api(get_api: Any, path: str) -> EvApi:
    pointer = get_api(ABI)
    if not pointer or pointer.contents.struct_size < ctypes.sizeof(EvApi):
        raise InputError(f"{path}: does not speak version {ABI} of the C interface; compile it with this edgevision")
    return pointer.contents  # type: ignore[no-any-return]


def _unmap(handle: int, descriptor: int) -> None:
    dlclose = ctypes.CDLL(None).dlclose
    dlclose.argtypes = [ctypes.c_void_p]
    dlclose(handle)
    os.close(descriptor)
