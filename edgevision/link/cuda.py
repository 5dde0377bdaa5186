"""Program -> the pieces of an artifact for a CUDA device: machine code for the target's GPU, and PTX for later ones."""

from __future__ import annotations

from pathlib import Path

from edgevision.link import cuda_compiler
from edgevision.link.cuda_compiler import Kernels
from edgevision.link.cuda_source import device_source
from edgevision.link.launch_plan import DeviceCode
from edgevision.program import Program
from edgevision.target import Target

RUNTIME = ("cuda_session.c", "cuda_module.c", "cuda.c")


def device_code(program: Program, target: Target, folder: Path) -> DeviceCode:
    """Write the kernels into ``folder``, as text too: kernels.cu.

    Raises: ToolchainError without NVRTC; UnsupportedError for types that only NVIDIA's header files know.
    """
    text, launches = device_source(program, target.compute_capability)
    made = cuda_compiler.compile_kernels(text, target.compute_capability)
    binary, ptx = folder / "kernels.cubin", folder / "kernels.ptx"
    (folder / "kernels.cu").write_text(text)
    binary.write_bytes(made.binary)
    ptx.write_bytes(made.ptx)
    return DeviceCode(
        launches=launches, embedded={"ev_binary": binary, "ev_ptx": ptx}, definitions=_definitions(target, made), runtime=RUNTIME,
        versions={"nvrtc": cuda_compiler.dotted(made.version)},
    )  # fmt: skip


def _definitions(target: Target, made: Kernels) -> tuple[str, str]:
    capability = target.compute_capability.partition(".")
    fields = ("ev_binary", "ev_ptx", capability[0], capability[2], _number((made.version[0], 0)), _number(made.version))
    return '#include "cuda_module.h"', f"const ev_cuda_code ev_the_cuda_code = {{{', '.join(fields)}}};"


def _number(version: tuple[int, int]) -> str:
    """As cuDriverGetVersion tells it: 12.6 is 12060."""
    return str(1000 * version[0] + 10 * version[1])
