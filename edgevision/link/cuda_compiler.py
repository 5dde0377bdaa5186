"""NVRTC, NVIDIA's compiler as a library: CUDA C -> PTX and machine code for one GPU. It needs no GPU and no driver."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgevision.errors import ToolchainError

_OPTIONS = ("--fmad=true",)
"""Multiplications and additions may be fused, which rounds once instead of twice; nothing else is loosened."""
_SHOWN_LINES = 8
_MAJORS = (12, 13, 11)
"""Tried in this order: code of CUDA 12 runs on every driver of CUDA 12 and later, among them those of Jetson Orin's JetPack 6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """``binary`` is a cubin for exactly one compute capability; ``ptx`` is text that the driver of a later GPU compiles.

    ``version`` is the CUDA of the compiler, (12, 6). A cubin runs on every driver of the same major version and later (CUDA
    Compatibility guide, "minor version compatibility"), PTX on drivers that are as new as the compiler.
    """

    binary: bytes
    ptx: bytes
    version: tuple[int, int]


def described() -> str:
    """Its version and the GPUs it knows: "12.6, for compute capabilities 5.0 to 9.0".

    Raises: ToolchainError without NVRTC.
    """
    nvrtc = library()
    known = [f"{number // 10}.{number % 10}" for number in _architectures(nvrtc)]
    return f"{dotted(_version(nvrtc))}, for compute capabilities {known[0]} to {known[-1]}"


def compile_kernels(text: str, compute_capability: str) -> Kernels:
    """``text`` for a GPU of ``compute_capability``, "8.7".

    Raises: ToolchainError without NVRTC, where it does not know the GPU, or where it refuses the text.
    """
    nvrtc = library()
    number = compute_capability.replace(".", "")
    known = _architectures(nvrtc)
    if int(number) not in known:
        raise ToolchainError(
            f"NVRTC {dotted(_version(nvrtc))} compiles for compute capabilities {', '.join(f'{n // 10}.{n % 10}' for n in known)}, "
            f"not for {compute_capability}; install another CUDA's NVRTC, or choose another target"
        )
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None))
    try:
        options = [f"--gpu-architecture=sm_{number}", *_OPTIONS]
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if nvrtc.nvrtcCompileProgram(program, len(options), given) != 0:
            raise ToolchainError(f"NVRTC refused the kernels; it said:\n{_first_lines(_output(nvrtc, program, 'ProgramLog'))}")
        return Kernels(
            binary=_output(nvrtc, program, "CUBIN"), ptx=_output(nvrtc, program, "PTX"), version=_version(nvrtc)
        )  # fmt: skip
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


@cache
def library() -> Any:
    """NVRTC: $EDGEVISION_NVRTC, else that of a PyPI package, else what the loader or an installed toolkit has.

    Raises: ToolchainError where there is none.
    """
    chosen = os.environ.get("EDGEVISION_NVRTC")
    for candidate in [chosen] if chosen else _candidates():
        try:
            return ctypes.CDLL(candidate)
        except OSError as error:
            if chosen:
                raise ToolchainError(f"$EDGEVISION_NVRTC is {chosen!r}, which cannot be opened: {error}") from error
    raise ToolchainError(
        "NVRTC, NVIDIA's compiler for CUDA targets, is not installed; `pip install 'edgevision[cuda]'`, or set $EDGEVISION_NVRTC "
        "to the libnvrtc.so of a CUDA toolkit"
    )


def _candidates() -> Iterator[str]:
    package = importlib.util.find_spec("nvidia")
    folders = [Path(f) for f in (package.submodule_search_locations or ())] if package else []
    toolkit = Path(os.environ.get("CUDA_HOME") or "/usr/local/cuda")
    for major in _MAJORS:
        soname = f"libnvrtc.so.{11.2 if major == 11 else major}"
        for folder in folders:
            yield from (str(p / soname) for p in (folder / "cuda_nvrtc/lib", folder / f"cu{major}/lib") if (p / soname).exists())
        yield soname
        yield str(toolkit / "lib64" / soname)


def _version(nvrtc: Any) -> tuple[int, int]:
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(nvrtc, nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def dotted(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"


def _architectures(nvrtc: Any) -> Sequence[int]:
    count = ctypes.c_int()
    _check(nvrtc, nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    found = (ctypes.c_int * count.value)()
    _check(nvrtc, nvrtc.nvrtcGetSupportedArchs(found))
    return list(found)


def _output(nvrtc: Any, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, nvrtc[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
    content = ctypes.create_string_buffer(size.value)
    _check(nvrtc, nvrtc[f"nvrtcGet{what}"](program, content))
    return content.raw


def _first_lines(log: bytes) -> str:
    lines = [line for line in log.decode(errors="replace").strip("\0\n ").splitlines() if line.strip()]
    return "\n".join(lines[:_SHOWN_LINES]) or "(it printed nothing)"


def _check(nvrtc: Any, status: int) -> None:
    if status != 0:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise ToolchainError(f"NVRTC failed: {nvrtc.nvrtcGetErrorString(status).decode()}; install another one")
