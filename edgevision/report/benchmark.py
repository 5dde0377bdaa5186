"""A latency as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table

from edgevision.artifact import Artifact
from edgevision.errors import EdgevisionError
from edgevision.latency import Latency
from edgevision.measurement import Measurement
from edgevision.report.device import lost, measurement
from edgevision.report.json import Json, document, side_by_side
from edgevision.report.json import latency as latency_entry
from edgevision.report.side_by_side import view
from edgevision.report.table import profile_table
from edgevision.side_by_side import SideBySide


def benchmark_report(
    artifact: Artifact, latency: Latency, record: Measurement | None = None, compared: SideBySide | None = None
) -> Json:
    """What ``edgevision bench --json`` prints; ``record`` for a device, ``compared`` where this machine ran both versions."""
    around = {} if record is None else {"measurement": measurement(record)}
    beside = _beside(compared or (record.side_by_side if record else None))
    return document("benchmark", {"library": str(artifact.path), "latency": latency_entry(latency), **around, **beside})


def _beside(compared: SideBySide | None) -> Json:
    return {} if compared is None else {"side_by_side": side_by_side(compared)}


def benchmarks_report(artifact: Artifact, results: Mapping[str, Measurement | EdgevisionError]) -> Json:
    """What it prints for several devices."""
    return document(
        "benchmarks",
        {
            "library": str(artifact.path),
            "devices": [
                {
                    "name": name,
                    "latency": latency_entry(each.latency),
                    "measurement": measurement(each),
                    **_beside(each.side_by_side),
                }
                for name, each in results.items()
                if isinstance(each, Measurement)
            ],
            "lost": [lost(name, each) for name, each in results.items() if isinstance(each, EdgevisionError)],
        },
    )


def measurement_view(artifact: Artifact, record: Measurement, top: int) -> RenderableType:
    """Like `benchmark_view`, with what surrounds the figure."""
    latency, device = record.latency, record.latency.device
    around = Table(title=f"{device.name}: {device.cpu}", title_justify="left", show_header=False)
    around.add_row("cold start", f"{record.create_ms:.3g} ms to a session, first run {record.first_run_ms:.3g} ms")
    if record.peak_rss_bytes is not None:
        around.add_row("memory", f"{record.peak_rss_bytes / 1e6:.3g} MB resident at most")
    around.add_row("processes", str(record.starts))
    around.add_row("cores", ",".join(map(str, record.cores)) or "the system's choice")
    hottest = [each.hottest_c for each in record.looks if each.hottest_c is not None]
    if hottest:
        around.add_row("temperature", f"{hottest[0]:.0f} degrees C before, {max(hottest):.0f} at most, {hottest[-1]:.0f} after")
    around.add_row("trust", "\n".join(f"- {doubt}" for doubt in record.doubts) or "nothing speaks against it")
    return Group(benchmark_view(artifact, latency, top), around, *([view(record.side_by_side)] if record.side_by_side else []))


def benchmark_view(artifact: Artifact, latency: Latency, top: int, compared: SideBySide | None = None) -> RenderableType:
    """Whole runs, then the ``top`` longest operators, then the CPU's version beside the GPU's."""
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
    parts: list[RenderableType] = [table]
    if artifact.fallback and latency.processor:
        parts.append(f"ran on the {latency.processor.upper()}{': ' if latency.fell_back else ''}{latency.fell_back}")
    parts += [profile_table(artifact, latency, top)] if top else []
    return Group(*parts, *([view(compared)] if compared else []))
