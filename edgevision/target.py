"""Target: what a program is compiled for. A file of targets/ each; data only."""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from edgevision.errors import InputError, UnknownNameError


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``vector_bits`` and ``vector_registers`` describe the SIMD unit that schedules tile for; ``l2_bytes`` is per core.

    ``zig_target`` is the triple for zig cc, ``triple`` the one for LLVM; ``emulator`` names the qemu binary and CPU that
    can run the result for correctness ("" where the host itself can). ``page_bytes`` is the ELF segment alignment.
    """

    name: str
    description: str
    kind: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    os: str  # "linux" or "android"
    arch: str  # "x86_64", "aarch64", "arm"
    zig_target: str
    zig_cpu: str
    bench_zig_target: str
    page_bytes: int
    vector_bits: int
    vector_registers: int
    l2_bytes: int
    emulator: str
    emulator_cpu: str
    sysroot: str
