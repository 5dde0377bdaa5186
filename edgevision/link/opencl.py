"""Program -> the pieces of an artifact for an OpenCL device: kernels as text that the device's own driver compiles."""

from __future__ import annotations

from pathlib import Path

from edgevision.link import driver
from edgevision.link.launch_plan import DeviceCode
from edgevision.link.opencl_source import device_source
from edgevision.program import Program
from edgevision.target import Target

RUNTIME = ("opencl_session.c", "opencl_transfer.c", "opencl_program.c", "opencl_cache.c", "opencl.c")

BUILD_OPTIONS = "-cl-std=CL1.2 -cl-mad-enable"
"""Multiplications and additions may be fused, which rounds once instead of twice; nothing else is loosened."""


def device_code(program: Program, _: Target, folder: Path) -> DeviceCode:
    """Write the kernels into ``folder``."""
    text, launches = device_source(program)
    kernels = folder / "kernels.cl"
    kernels.write_text(text)
    fields = ("ev_kernels", f"{len(text.encode())}u", driver.literal(BUILD_OPTIONS))
    definitions = ('#include "opencl_plan.h"', f"const ev_cl_source ev_the_cl_source = {{{', '.join(fields)}}};")
    return DeviceCode(launches=launches, embedded={"ev_kernels": kernels}, definitions=definitions, runtime=RUNTIME)
