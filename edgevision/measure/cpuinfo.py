"""The text of /proc/cpuinfo, of this machine or of a device."""

from __future__ import annotations


def cpu_name(text: str) -> str:
    """Linux's name for the CPU; "" where it has none (most ARM systems)."""
    for line in text.splitlines():
        if line.startswith(("model name", "Model\t")):
            return line.split(":", 1)[1].strip()
    return ""
