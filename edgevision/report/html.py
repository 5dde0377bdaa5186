"""Documents as one HTML page that holds all it shows: no script, no font, no image from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgevision.report import charts, side_by_side
from edgevision.report.page import Document, Entry, entry, histories


def html(documents: Sequence[Document]) -> str:
    """The last document is the one in question: it comes first, those before it are its history."""
    environment = Environment(
        loader=PackageLoader("edgevision.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = [entry(document) for document in documents]
    return environment.get_template("report.html").render(
        entries=shown[::-1], histories=[_history(each) for each in histories(shown) if len(each) > 1],
        distribution=lambda each: Markup(charts.distribution(each.series)),
        bars=lambda each: Markup(charts.bars(each.operators, each.unit)), most_bars=charts.MOST_BARS,
        side_by_side=side_by_side,
    )  # fmt: skip


def _history(entries: Sequence[Entry]) -> tuple[str, str, Markup, Sequence[Entry]]:
    return entries[0].name, entries[0].device, Markup(charts.history(entries)), entries
