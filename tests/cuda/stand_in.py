"""The CUDA C of an artifact's kernels, compiled for the CPU: a library that the fake driver (fake_cuda.c) launches."""

from __future__ import annotations

import re
from pathlib import Path

from edgevision.link import zig
from edgevision.link.cuda_source import HALF

HERE = Path(__file__).parent
_KERNEL = re.compile(r'^extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(([^)]*)\) \{$', re.MULTILINE)


def build(text: str, folder: Path) -> Path:
    """The library of ``text``'s kernels, in ``folder``; each is called through NAME_on_cpu(blocks, threads, pointers)."""
    source, library = folder / "kernels.cpp", folder / "kernels.so"
    kernels = text.replace("__shared__ alignas(64)", "alignas(64) __shared__")  # the order that C++ wants
    kernels = kernels.replace(HALF, "")  # PTX; cpu_kernels.h has the same type
    source.write_text('#include "cpu_kernels.h"\n' + kernels + _wrappers(text))
    flags = ["-O1", "-ffp-contract=fast", "-march=native", "-fno-sanitize=all", "-w", "-std=c++17", "-fno-exceptions"]
    words = ["c++", "-shared", "-fPIC", *flags, f"-I{HERE}", source, "-o", library]
    zig.run(words, purpose="building the kernels for the CPU", scratch=folder / "zig")
    return library


def _wrappers(text: str) -> str:
    parts = []
    kernels = list(_KERNEL.finditer(text))
    ends = [k.start() for k in kernels[1:]] + [len(text)]
    for kernel, end in zip(kernels, ends, strict=True):
        name, parameters = kernel[1], kernel[2].split(",")
        kinds = [re.sub(r"\s*(__restrict__)?\s*\w+$", "", p.strip()) for p in parameters]
        given = ", ".join(f"({kind})a[{i}]" for i, kind in enumerate(kinds))
        waits = "true" if "__syncthreads" in text[kernel.start() : end] else "false"
        parts.append(
            f"static void {name}_body(void *const *a) {{ {name}({given}); }}\n"
            f'extern "C" void {name}_on_cpu(unsigned groups, unsigned size, void *const *a) '
            f"{{ grid_(groups, size, {name}_body, a, {waits}); }}\n"
        )
    return "".join(parts)
