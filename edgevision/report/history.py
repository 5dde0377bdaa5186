"""Several documents as one table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table

from edgevision.report.page import Entry


def history_view(entries: Sequence[Entry]) -> RenderableType:
    """One row a document, in the order given."""
    table = Table("when", "network", "device", "decision", "median run", "reason")
    for each in entries:
        median = "-" if each.median_ms is None else f"{each.median_ms:.4g} ms"
        table.add_row(each.when or "-", each.name, each.device or each.how, each.decision or "-", median, each.reason)
    return table
