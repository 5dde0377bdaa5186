"""An evaluation as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from edgevision.accuracy import Evaluation
from edgevision.report.json import Json, document


def evaluation_report(evaluation: Evaluation, dataset: Path) -> Json:
    """What ``edgevision evaluate --json`` prints."""
    return document("evaluation", {"dataset": str(dataset), **asdict(evaluation)})


def evaluation_table(evaluation: Evaluation, dataset: Path) -> Table:
    """One row a network; how often they agree, and what was skipped, below."""
    table = Table(title=f"{dataset}: {evaluation.images} images", title_justify="left", caption_justify="left")
    table.add_column("network")
    table.add_column("top-1", justify="right")
    table.add_column("top-5", justify="right")
    for each in evaluation.networks:
        table.add_row(each.network, f"{each.top1:.2%}", "-" if each.top5 is None else f"{each.top5:.2%}")
    notes = []
    if evaluation.agreement is not None:
        notes.append(f"same top-1 class for {evaluation.agreement:.2%} of the images")
    if evaluation.skipped:
        notes.append(f"{len(evaluation.skipped)} unreadable images skipped")
    table.caption = "\n".join(notes) or None
    return table
