"""A network's CPU and GPU versions side by side in words and tables, from what JSON says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from edgevision.report.json import side_by_side
from edgevision.side_by_side import ALIKE, LONGER, SideBySide

MOST = 10
"""Operators that are named in words and in tables; the JSON has all of them."""

KIND_HEAD = ("operators", "CPU: number", "CPU µs", "GPU: launches", "GPU µs", "GPU / CPU")
SLOWER_HEAD = ("operator", "fused from", "CPU µs", "GPU µs", "GPU / CPU")


def verdict(shown: Mapping[str, Any]) -> str:
    """Whether the GPU is worth it, and which operators speak against it. Programs that take cores slow the two down unequally."""
    ratio, slower = shown["ratio"], _slower(shown)
    threads = f"{shown['threads']} thread{'s' * (shown['threads'] > 1)}"
    times = f"{shown['gpu_ms']:.3g} ms, the CPU {shown['cpu_ms']:.3g} ms with {threads}"
    if shown["quiet"] == 0:
        said = f"Undecided, as other programs ran in every round: the GPU's fastest run took {times}."
    elif abs(ratio - 1) <= ALIKE:
        said = f"The GPU is as fast as the CPU: it takes {times}."
    elif ratio > 1:
        said = f"The GPU is slower, {ratio:.2f} times: it takes {times}."
    else:
        said = f"The GPU is faster, {1 / ratio:.2f} times: it takes {times}."
    if not slower:
        return f"{said} No operator takes longer on it."
    named = ", ".join(f"{each['name']} (+{each['gpu_us'] - each['cpu_us']:.0f} µs)" for each in slower[:MOST])
    more = f" and {len(slower) - MOST} others" if len(slower) > MOST else ""
    count = f"{len(slower)} of {len(shown['operators'])} operators take over {LONGER:.0%} longer on it"
    return f"{said} {count}: {named}{more}."


def trust(shown: Mapping[str, Any]) -> str:
    """How far the figures go."""
    rounds = f"{shown['how']} on {shown['device']['name']}, {shown['rounds']} rounds in turn"
    if shown["quiet"] is None:
        return rounds
    return f"{rounds}, {shown['quiet'] or 'none'} of them undisturbed{'' if shown['quiet'] else ': these are the fastest runs'}"


def kind_rows(shown: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Under `KIND_HEAD`; the last row is a whole run, which holds what lies between the operators too."""
    rows = [
        (
            each["kind"], str(each["cpu_operators"]), f"{each['cpu_us']:,.0f}", str(each["gpu_launches"]), f"{each['gpu_us']:,.0f}",
            _ratio(each),
        )
        for each in shown["kinds"]
    ]  # fmt: skip
    numbers = [str(sum(each[key] for each in shown["kinds"])) for key in ("cpu_operators", "gpu_launches")]
    whole = [f"{1e3 * shown[key]:,.0f}" for key in ("cpu_ms", "gpu_ms")]
    return [*rows, ("whole run", numbers[0], whole[0], numbers[1], whole[1], f"{shown['ratio']:.2f}")]


def slower_rows(shown: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Under `SLOWER_HEAD`: where the GPU loses most."""
    return [
        (each["name"], " ".join(each["ops"]), f"{each['cpu_us']:,.1f}", f"{each['gpu_us']:,.1f}", _ratio(each))
        for each in _slower(shown)[:MOST]
    ]


def view(found: SideBySide) -> RenderableType:
    shown = side_by_side(found)
    rows = slower_rows(shown)
    parts: list[RenderableType] = [verdict(shown), _table(trust(shown), KIND_HEAD, kind_rows(shown), texts=1)]
    if rows:
        parts.append(_table("where the GPU loses most", SLOWER_HEAD, rows, texts=2))
    return Group(*parts)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Table:
    """The first ``texts`` columns hold words."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(head):
        table.add_column(column, justify="left" if i < texts else "right", overflow="fold" if i < texts else "ellipsis")
    for row in rows:
        table.add_row(*row)
    return table


def _slower(shown: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [shown["operators"][index] for index in shown["slower"]]


def _ratio(each: Mapping[str, Any]) -> str:
    return f"{each['gpu_us'] / each['cpu_us']:.2f}" if each["cpu_us"] else "-"
