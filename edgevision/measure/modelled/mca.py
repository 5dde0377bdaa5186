"""What llvm-mca says of straight pieces of code: cycles, and the floating-point lanes that their instructions fill."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.errors import CompilerError, ToolchainError
from edgevision.measure.modelled.paths import Code

CPUS = ("neoverse-n1", "cortex-a55")
"""LLVM 19 has models of its own for these. neoverse-n1 is a Cortex-A76's core; LLVM's cortex-a76 is a Cortex-A57's model
with one FMA pipe, its cortex-a53 is far off."""

ITERATIONS = 100
_FEATURES = "-mattr=+v8.2a,+dotprod,+fullfp16,+lse,+crc,+aes,+sha2"
_MARK = 0xD503207F | 123 << 5  # hint #123, which no compiler emits
_VECTOR = re.compile(r"^(fmla|fmls|fmul)\tv\d+\.(\d+)[sdh]")
_SCALAR = re.compile(r"^(fmadd|fmsub|fnmadd|fnmsub|fmla|fmls|fmul)\t[sdh]\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of one execution. ``cycles`` waits for operands as llvm-mca thinks a core does, ``port_bound`` counts what the
    busiest execution port needs. ``fma_lanes`` and ``mul_lanes`` are multiplications that also add, and that do not."""

    cycles: float
    port_bound: float
    fma_lanes: int
    mul_lanes: int


def prices(codes: Sequence[Code], cpu: str) -> Mapping[Code, Price]:
    """Raises:
    ToolchainError: no LLVM 19.
    CompilerError: llvm-mca failed, or left out a piece.
    """
    if not codes:
        return {}
    source = "".join(
        f"# LLVM-MCA-BEGIN {number}\n{text}\n# LLVM-MCA-END\n" for number, text in enumerate(_disassembled(codes))
    )
    # Atomics, which no model has, are free.
    views = ("-instruction-info=0", "-resource-pressure=0", "-json", "-skip-unsupported-instructions=lack-sched")
    printed = _run("llvm-mca", [f"-mcpu={cpu}", f"-iterations={ITERATIONS}", *views], source)
    regions = {int(region["Name"]): region for region in json.loads(printed)["CodeRegions"] if region["Name"].isdecimal()}
    missing = [number for number in range(len(codes)) if number not in regions]
    if missing:
        raise CompilerError(f"pricing code for {cpu}", 0, f"{len(missing)} of {len(codes)} pieces have no figure")
    return {code: _price(regions[number]) for number, code in enumerate(codes)}


def _price(region: Mapping[str, Any]) -> Price:
    summary, text = region["SummaryView"], region["Instructions"]
    lanes = [_lanes(line) for line in text]
    return Price(
        cycles=summary["TotalCycles"] / ITERATIONS, port_bound=summary["BlockRThroughput"],
        fma_lanes=sum(n for op, n in lanes if op != "fmul"), mul_lanes=sum(n for op, n in lanes if op == "fmul"),
    )  # fmt: skip


def _lanes(line: str) -> tuple[str, int]:
    """("fmla", 4) of "fmla\tv0.4s, v1.4s, v2.s[0]"; no lanes for what multiplies nothing."""
    if vector := _VECTOR.match(line):
        return vector[1], int(vector[2])
    scalar = _SCALAR.match(line)
    return (scalar[1], 1) if scalar else ("", 0)


def _disassembled(codes: Sequence[Code]) -> list[str]:
    words = [word for code in codes for word in (*code, _MARK)]
    octets = " ".join(f"0x{octet:02x}" for word in words for octet in word.to_bytes(4, "little"))
    printed = _run("llvm-mc", ["--disassemble"], octets)
    parts = re.split(r"\thint\t#(?:0x7b|123)\n", printed.partition(".text\n")[2])
    if len(parts) != len(codes) + 1:
        raise CompilerError("disassembling executed code", 0, f"{len(parts) - 1} of {len(codes)} pieces came back")
    return parts[:-1]


def _run(tool: str, arguments: Sequence[str], text: str) -> str:
    program = shutil.which(f"{tool}-19")
    if program is None:
        raise ToolchainError(f"{tool}-19 is not installed; it prices instructions: `apt-get install llvm-19`")
    done = subprocess.run(
        [program, "-triple=aarch64" if tool == "llvm-mc" else "-mtriple=aarch64", _FEATURES, *arguments],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CompilerError(f"running {tool}", done.returncode, done.stderr)
    return done.stdout
