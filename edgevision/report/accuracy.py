"""An evaluation as a table and as JSON."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from edgevision.accuracy import Evaluation
from edgevision.report.json import Json, document


def evaluation_report(evaluation: Evaluation, dataset: Path) -> Json:
    """What ``edgevision evaluate --json`` prints."""
    networks = [{"network": each.network, "top1": each.top1, "top5": each.top5} for each in evaluation.networks]
    return document(
        "evaluation",
        {
            "dataset": str(dataset),
            "images": evaluation.images,
            "classes": evaluation.classes,
            "networks": networks,
            "agreement": evaluation.agreement,
            "skipped": list(evaluation.skipped),
        },
    )


def evaluation_view(evaluation: Evaluation, dataset: Path) -> RenderableType:
    """One row a network; how often they agree, and what was skipped, below."""
    table = Table(title=f"{dataset}: {evaluation.images} images", title_justify="left")
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
    return Group(table, *notes)
