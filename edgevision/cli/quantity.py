"""Numbers with a unit on the command line: 12ms, 20MB, 3%."""

from __future__ import annotations

import re

import click

MILLISECONDS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
SHARE = {"%": 0.01}


class Quantity(click.ParamType):  # type: ignore[type-arg] # generic from click 8.3 on
    """A positive number and one of ``units``; its value in the unit that counts 1. ``zero``: may it be 0?"""

    def __init__(self, name: str, units: dict[str, float], *, zero: bool = False) -> None:
        self.name, self._units, self._zero = name, units, zero

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(\S+)", str(value).strip())
        if not found or found[2] not in self._units or (float(found[1]) == 0 and not self._zero):
            self.fail(f"{value!r} is no {self.name}: write a number and one of {', '.join(self._units)}", param, ctx)
        return float(found[1]) * self._units[found[2]]
