"""A latency as a table and as JSON."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from edgevision.artifact import Artifact
from edgevision.latency import Latency
from edgevision.report.json import Json, document
from edgevision.report.json import latency as latency_entry
from edgevision.report.table import profile_table


def benchmark_report(artifact: Artifact, latency: Latency) -> Json:
    """What ``edgevision bench --json`` prints."""
    return document("benchmark", {"library": str(artifact.path), "latency": latency_entry(latency)})


def benchmark_view(artifact: Artifact, latency: Latency, top: int) -> RenderableType:
    """Whole runs, then the ``top`` longest operators."""
    table = Table(title=f"{artifact.path} on {latency.device.cpu or latency.device.name}", title_justify="left")
    for column in ("threads", "median", "95 % interval (ms)", "p90", "fastest", "spread", "samples"):
        table.add_column(column, justify="right", no_wrap=True)
    interval = latency.interval_ms
    table.add_row(
        f"{latency.threads}",
        f"{latency.median_ms:.4g} ms",
        "-" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}",
        f"{latency.p90_ms:.4g} ms",
        f"{latency.min_ms:.4g} ms",
        f"{latency.spread:.1%}",
        f"{len(latency.samples_ms)}",
    )
    return Group(table, profile_table(artifact, latency, top)) if top else table
