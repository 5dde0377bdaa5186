"""An emitted Metal text, compiled as C++ for the CPU and run by its launch plan: Metal is C++14 with names of its own.

What this cannot see is Apple's compiler: that the text is Metal is said by nothing here.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.link import zig

Array = np.ndarray[Any, Any]
HERE = Path(__file__).parent
KERNEL = re.compile(r"^kernel void (\w+)\(([^{]*)\) \{$", re.MULTILINE)
ALIGNED = 512


def build(text: str, folder: Path) -> ctypes.CDLL:
    """The kernels as functions NAME_on_cpu(groups, items, pointers)."""
    source, library = folder / "kernels.cpp", folder / "kernels.so"
    source.write_text(text + _wrappers(text))
    flags = ["-O1", "-ffp-contract=fast", "-fno-sanitize=all", "-w", "-std=c++17", "-fno-exceptions"]
    words = ["c++", "-shared", "-fPIC", *flags, f"-I{HERE / 'metal'}", f"-I{HERE.parent / 'cuda'}", source, "-o", library]
    zig.run(words, purpose="building Metal's kernels for the CPU", scratch=folder / "zig")
    return ctypes.CDLL(str(library))


def _wrappers(text: str) -> str:
    parts = []
    for kernel, end in _bodies(text):
        kinds = re.findall(r"device (\w+)\* \w+ \[\[ buffer\(\d+\) \]\]", kernel[2])
        given = ", ".join([*(f"({kind}*)a[{i}]" for i, kind in enumerate(kinds)), "blockIdx.x", "threadIdx.x"])
        waits = "true" if "threadgroup_barrier" in text[kernel.start() : end] else "false"
        parts.append(
            f"static void {kernel[1]}_body(void *const *a) {{ {kernel[1]}({given}); }}\n"
            f'extern "C" void {kernel[1]}_on_cpu(unsigned groups, unsigned size, void *const *a) '
            f"{{ grid_(groups, size, {kernel[1]}_body, a, {waits}); }}\n"
        )
    return "".join(parts)


def _bodies(text: str) -> list[tuple[re.Match[str], int]]:
    kernels = list(KERNEL.finditer(text))
    return list(zip(kernels, [*(k.start() for k in kernels[1:]), len(text)], strict=True))


def run(library: ctypes.CDLL, weights: bytes, plan: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    memory = {"weights": _aligned(len(weights)), "arena": _aligned(plan["arena_bytes"])}
    memory["weights"][:] = np.frombuffer(weights, np.uint8)
    arena = memory["arena"]
    for spec, array in zip(plan["inputs"], inputs, strict=True):
        arena[spec["offset"] :][: spec["bytes"]] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for launch in plan["launches"]:
        assert launch["groups"][1:] == launch["group_size"][1:] == [1, 1]
        places = [memory[each["of"]].ctypes.data + each["offset"] for each in launch["buffers"]]
        pointers = (ctypes.c_void_p * len(places))(*places)
        library[f"{launch['kernel']}_on_cpu"](launch["groups"][0], launch["group_size"][0], pointers)
    return [arena[s["offset"] :][: s["bytes"]].copy().view(s["dtype"]).reshape(s["shape"]) for s in plan["outputs"]]


def _aligned(nbytes: int) -> Array:
    """0xFF bytes: NaN, where nothing is written."""
    raw = np.full(nbytes + ALIGNED, 0xFF, np.uint8)
    return raw[-raw.ctypes.data % ALIGNED :][:nbytes]
