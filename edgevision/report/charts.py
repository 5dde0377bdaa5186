"""Charts as SVG, without a script: they print, and take their colours from the page, light or dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import ceil

import numpy as np

from edgevision.report.page import Entry, Operator, Series

WIDTH, ROW, LEFT, RIGHT = 440, 56, 8, 8
MOST_BARS = 24
BINS = 48
MOST_DATES = 3


def distribution(series: Sequence[Series]) -> str:
    """A histogram for each series over one common scale of milliseconds, its median as a line. What lies beyond the 99th percentile
    is counted in the last bin."""
    every = np.concatenate([each.ms for each in series])
    low, high = float(every.min()), float(np.quantile(every, 0.99))
    high = max(high, low * 1.001)
    edges = np.linspace(low, high, BINS + 1)
    counts = [np.histogram(np.clip(each.ms, low, high), edges)[0] for each in series]
    most = max(int(each.max()) for each in counts)
    parts, height = [], ROW * len(series) + 26
    for number, (each, count) in enumerate(zip(series, counts, strict=True)):
        base = ROW * (number + 1)
        for at, found in enumerate(count):
            if found:
                tall = (ROW - 18) * found / most
                parts.append(_box(_at(edges[at], low, high), base - tall, (WIDTH - LEFT - RIGHT) / BINS - 1, tall, each.label))
        middle = float(np.median(each.ms))
        x = _at(middle, low, high)
        parts.append(f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="{base - ROW + 16}" y2="{base}"/>')
        parts.append(_text(LEFT, base - ROW + 12, f"{each.label}: median {middle:.4g} ms, {len(each.ms)} values"))
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    parts += _scale(low, high, height)
    return _svg(height, "Latency distribution", parts)


def history(entries: Sequence[Entry]) -> str:
    """The candidates' medians in the order of time, with the middle 80 % of each; the baseline's medians as a second line."""
    height, floor = 190, 160
    spans = [np.quantile(series.ms, (0.1, 0.9)) for each in entries for series in each.series]
    low, high = 0.98 * float(min(span[0] for span in spans)), 1.02 * float(max(span[1] for span in spans))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(entries))

    def y(ms: float) -> float:
        return floor - (floor - 20) * (ms - low) / (high - low)

    parts: list[str] = []
    for label in dict.fromkeys(series.label for each in entries for series in each.series):
        beside = 0 if all(len(each.series) == 1 for each in entries) else -6 if label == "baseline" else 6
        known = [(number, series) for number, each in enumerate(entries) for series in each.series if series.label == label]
        places = [(LEFT + step * (number + 0.5) + beside, series) for number, series in known]
        parts += [_range(x, series, y) for x, series in places]
        points = " ".join(f"{x:.1f},{y(float(np.median(series.ms))):.1f}" for x, series in places)
        parts.append(f'<polyline class="{_kind(label)}" points="{points}"/>')
    for number in range(0, len(entries), ceil(len(entries) / MOST_DATES)):
        parts.append(_text(LEFT + step * number, height - 8, entries[number].when[:16].replace("T", " ")))
    parts += [_text(LEFT, 12, f"{high:.4g} ms"), _text(LEFT, floor + 12, f"{low:.4g} ms")]
    return _svg(height, "Latency over time", parts)


def _range(x: float, series: Series, y: Callable[[float], float]) -> str:
    least, middle, most = (float(each) for each in np.quantile(series.ms, (0.1, 0.5, 0.9)))
    kind, tip = _kind(series.label), escape(f"{series.label}: {middle:.4g} ms")
    return (
        f'<line class="range {kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y(least):.1f}" y2="{y(most):.1f}"/>'
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y(middle):.1f}" r="4"><title>{tip}</title></circle>'
    )


def bars(operators: Sequence[Operator], unit: str) -> str:
    """The `MOST_BARS` longest operators, before and after."""
    shown = sorted(operators, key=lambda each: -each.longest)[:MOST_BARS]
    most, row = max((each.longest for each in shown), default=0.0) or 1.0, 40
    parts = []
    for number, each in enumerate(shown):
        top = row * number
        figures = [f"{value:,.1f}" for value in (each.before, each.after) if value is not None]
        parts.append(_text(LEFT, top + 14, f"{each.name}: {' → '.join(figures)} {unit}"))
        for offset, (label, value) in enumerate((("baseline", each.before), ("candidate", each.after))):
            if value is not None:
                parts.append(_box(LEFT, top + 18 + 9 * offset, (WIDTH - LEFT - RIGHT) * value / most, 8, label))
    return _svg(row * len(shown) + 4, "Time by operator", parts)


def _kind(label: str) -> str:
    return "baseline" if label == "baseline" else "candidate"


def _at(ms: float, low: float, high: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (ms - low) / (high - low)


def _box(x: float, y: float, wide: float, tall: float, label: str) -> str:
    return f'<rect class="{_kind(label)}" x="{x:.1f}" y="{y:.1f}" width="{max(wide, 0.5):.1f}" height="{tall:.1f}"/>'


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _scale(low: float, high: float, height: int) -> list[str]:
    first, last = f"{low:.4g} ms", f"{high:.4g} ms"
    return [_text(LEFT, height - 8, first), f'<text class="end" x="{WIDTH - RIGHT}" y="{height - 8}">{escape(last)}</text>']


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">\n{inside}\n</svg>'
