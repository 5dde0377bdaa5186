"""Whether a CUDA device is here: asked of NVIDIA's driver, without a context on the device."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from edgevision.target import Target

LIBRARIES = (
    "libcuda.so.1", "libcuda.so", "/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1", "/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1",
    "/usr/lib/wsl/lib/libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1",
)  # fmt: skip
"""Those that native/cuda.c opens, in the same order."""
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


def why_absent(target: Target) -> str:
    """Why this machine has no GPU for ``target``; "" where it has one, of its compute capability or a later one."""
    found = compute_capabilities()
    if isinstance(found, str):
        return found
    wanted = tuple(int(part) for part in target.compute_capability.split("."))
    if any(capability >= wanted for capability in found):
        return ""
    told = ", ".join(f"{major}.{minor}" for major, minor in found)
    return f"the CUDA devices here have compute capability {told}, not {target.compute_capability} or later"


def compute_capabilities() -> list[tuple[int, int]] | str:
    """Of every CUDA device; in words why there is none."""
    cuda = driver()
    if cuda is None:
        return f"no CUDA device here: {LIBRARIES[0]} cannot be opened"
    count = ctypes.c_int()
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status or not count.value:
        return f"no CUDA device here: the driver says {status or 'there are none'}"
    return [(_attribute(cuda, _MAJOR, device), _attribute(cuda, _MINOR, device)) for device in range(count.value)]


def driver() -> ctypes.CDLL | None:
    """NVIDIA's driver as a library; None where there is none."""
    for name in LIBRARIES:
        with suppress(OSError):
            return ctypes.CDLL(name)
    return None


def _attribute(cuda: ctypes.CDLL, which: int, device: int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value
