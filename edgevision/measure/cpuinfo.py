"""The text of /proc/cpuinfo, of this machine or of a device."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

PARTS = Path(__file__).parent / "arm_cores.toml"


def cpu_name(text: str) -> str:
    """Linux's name for the CPU, or the ARM cores by kind ("4 x Cortex-A55 + 4 x Cortex-A76"); "" where there is neither.

    Hypervisors may leave the name of a family ("AMD EPYC" is Zen 1 as well as Zen 5): then x86's numbers follow it.
    """
    first = next((entry for entry in _processors(text) if entry.get("model name")), {})
    named = first.get("model name", "")
    kinds = Counter(filter(None, map(_part, _processors(text))))
    if kinds and (not named or named.startswith("ARM")):  # "ARMv7 Processor rev 3 (v7l)" says less
        return " + ".join(f"{count} x {kind}" for kind, count in kinds.items())
    if "cpu family" in first and not any(map(str.isdigit, named)):
        return f"{named} (family {first['cpu family']}, model {first.get('model', '?')})"
    return named


def features(text: str) -> tuple[str, ...]:
    """Instruction sets, as the first core lists them."""
    for entry in _processors(text):
        listed = entry.get("Features") or entry.get("flags")
        if listed:
            return tuple(listed.split())
    return ()


def clusters(text: str, speed: Mapping[int, int]) -> tuple[tuple[int, ...], ...]:
    """Cores of one kind (its part, and ``speed``: capacity or highest frequency), slowest first."""
    kinds: dict[tuple[int, str], list[int]] = {}
    for entry in _processors(text):
        core = int(entry["processor"])
        kinds.setdefault((speed.get(core, 0), _part(entry)), []).append(core)
    return tuple(tuple(sorted(cores)) for _, cores in sorted(kinds.items()))


def _processors(text: str) -> list[dict[str, str]]:
    """The entries of single cores. 32-bit kernels before 3.8 name the CPU once, after all of them."""
    entries = []
    for block in text.strip().split("\n\n"):
        entry = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        if entry.get("processor", "").isdecimal():
            entries.append(entry)
    return entries


def _part(entry: Mapping[str, str]) -> str:
    implementer, part = entry.get("CPU implementer", "").lower(), entry.get("CPU part", "").lower()
    return _names().get(implementer, {}).get(part, f"ARM core {implementer}/{part}" if part else "")


@lru_cache(maxsize=1)
def _names() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(PARTS.read_text(encoding="utf-8"))
