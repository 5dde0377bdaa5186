"""What code an emulated program ran and how often, phase by phase, counted by native/cost_plugin.c."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevision.errors import DeviceError, ToolchainError
from edgevision.measure.device import check_exit

EMULATOR = "qemu-aarch64"
"""The dynamically linked one: a static qemu has no plugins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Instructions that run in a row: ``code`` has one word for each, from ``address`` on."""

    address: int
    code: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """From the entry of the function ``symbol`` to that of the next one that begins a phase.

    ``runs``: how often each block ran. Lines of 64 bytes read or written, and how many were not in the simulated caches
    (L1 64 KiB 4-way, L2 512 KiB 8-way, as in a Cortex-A76); 0 where caches were not simulated.
    """

    symbol: str
    runs: Mapping[Block, int]
    accesses: int
    l1_misses: int
    l2_misses: int

    @property
    def instructions(self) -> int:
        return sum(runs * len(block.code) for block, runs in self.runs.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """``phases`` of a program that ended well, and what it ``printed``."""

    phases: tuple[Phase, ...]
    printed: str


def trace(
    command: Sequence[str], plugin: Path, *, cpu: str, prefix: str = "", caches: bool = False, timeout_s: float,
    options: Sequence[str] = (), text: str = "",
) -> Trace:  # fmt: skip
    """Run ``command``, an AArch64 program of one thread, on an emulated ``cpu``; a phase begins where a function whose
    symbol has ``prefix`` is entered. The same command gives the same counts. ``options`` go to qemu, ``text`` to the
    program's standard input.

    Raises:
        ToolchainError: no qemu that takes plugins.
        DeviceError: the program failed or took longer than ``timeout_s``.
    """
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        raise ToolchainError(f"{EMULATOR} is not installed; it counts instructions: `apt-get install qemu-user`")
    with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
        out = Path(folder) / "trace"
        arguments = [str(plugin), f"out={out}", *([f"phases={prefix}"] if prefix else []), *(["caches=on"] if caches else [])]
        counted = [emulator, "-cpu", cpu, *options, "-plugin", ",".join(arguments), *command]
        try:
            done = subprocess.run(counted, input=text, capture_output=True, text=True, errors="replace", timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{command[0]} ran for more than {timeout_s:g} s under {EMULATOR}") from error
        check_exit(command[0], f"under {EMULATOR}", done.returncode, done.stderr)
        phases = _read(out.read_text().splitlines() if out.is_file() else [], command[0])
        return Trace(phases=phases, printed=done.stdout)


def _read(lines: Sequence[str], program: str) -> tuple[Phase, ...]:
    if not lines or lines[-1] != "end":
        raise DeviceError(f"{program} ended before its instructions were counted")
    blocks: dict[str, Block] = {}
    heads: list[list[str]] = []
    counts: list[list[tuple[str, int]]] = []
    for line in lines[:-1]:
        kind, *words = line.split()
        if kind == "phase":
            heads.append(words)
            counts.append([])
        elif kind == "block":
            number, address, code = words
            blocks[number] = Block(address=int(address, 16), code=_words(code))
        else:
            counts[-1].append((kind, int(words[0])))
    return tuple(
        Phase(
            symbol=symbol, runs={blocks[number]: runs for number, runs in counted}, accesses=int(accesses),
            l1_misses=int(first), l2_misses=int(second),
        )
        for (symbol, accesses, first, second), counted in zip(heads, counts, strict=True)
    )  # fmt: skip


def _words(code: str) -> tuple[int, ...]:
    return tuple(int(code[at : at + 8], 16) for at in range(0, len(code), 8))
