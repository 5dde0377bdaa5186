"""Tables for people: what a compile gave, one column a target, and where a run's time goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from edgevision.artifact import Artifact
from edgevision.latency import Latency, Verification
from edgevision.outcome import Outcome, coverage, time_share

Cell = Callable[[Outcome], str]


def compile_table(name: str, outcomes: Sequence[Outcome]) -> Table:
    """One row a property, one column a target. Reasons for what was not measured stand below."""
    table = Table(title=name, title_justify="left", caption=_caption(outcomes), caption_justify="left")
    table.add_column("target")
    for outcome in outcomes:
        table.add_column(outcome.target.name, justify="right")
    for label, cell in ROWS:
        cells = [cell(outcome) for outcome in outcomes]
        if any(cells):
            table.add_row(label, *cells)
    return table


def profile_table(artifact: Artifact, latency: Latency, top: int = 10) -> Table:
    """The ``top`` fused operators by time: share of their sum, and billions of MACs a second."""
    total_us = sum(step.median_us for step in latency.steps)
    table = Table(title=f"the {min(top, len(latency.steps))} longest of {len(latency.steps)} operators")
    table.add_column("operator", overflow="fold")
    table.add_column("fused from", overflow="fold")
    for column in ("µs", "share", "GMAC/s"):
        table.add_column(column, justify="right")
    table.add_column("schedule")
    compiled = {step.name: step for step in artifact.steps_on(latency.processor)}
    for step in sorted(latency.steps, key=lambda each: -each.median_us)[:top]:
        known = compiled.get(step.name)
        table.add_row(
            step.name,
            " ".join(known.ops) if known else "",
            f"{step.median_us:.1f}",
            f"{step.median_us / total_us:.1%}" if total_us else "",
            f"{step.macs / step.median_us / 1e3:.1f}" if step.macs and step.median_us else "",
            known.schedule if known else "",
        )
    return table


def size(count_bytes: int) -> str:
    """Bytes in a decimal unit of three digits: 13.9 MB."""
    value, unit = float(count_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"


def thousands(number: int) -> str:
    """A count in three digits: 10.8 M; the exact number below a thousand."""
    value, unit = float(number), ""
    for larger in (" k", " M", " G"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g}{unit}"


def verified(record: Verification) -> str:
    """How it was verified, in a few words: "qemu, 1 input"."""
    if record.how == "skipped":
        return "no (--no-verify)"
    plural = "" if record.inputs_tried == 1 else "s"
    return f"{record.how}, {record.inputs_tried} input{plural}"


def _max_error(outcome: Outcome) -> str:
    return f"{outcome.verification.max_error:.1e}" if outcome.verification.errors else "-"


def _timed(text: Callable[[Latency], str]) -> Cell:
    return lambda outcome: text(outcome.latency) if outcome.latency else "not measured"


def _detail(text: Callable[[Latency], str]) -> Cell:
    return lambda outcome: text(outcome.latency) if outcome.latency else "-"


def _median(latency: Latency) -> str:
    return f"{latency.median_ms:.3g} ms"


def _schedules(outcome: Outcome) -> str:
    shares = time_share(outcome)
    return "\n".join(
        f"{count} {kind}" + (f" ({shares[kind]:.0%} of time)" if kind in shares else "")
        for kind, count in coverage(outcome.artifact.steps).items()
    )


def _caption(outcomes: Sequence[Outcome]) -> str | None:
    reasons = [f"{o.target.name} was not measured: {o.not_measured}" for o in outcomes if o.not_measured]
    return "\n".join(reasons) or None


def _fallback(outcome: Outcome) -> str:
    record = outcome.fallback_verification
    return "" if record is None else f"{verified(record)}" + (f"\n{record.max_error:.1e}" if record.errors else "")


def _transformed(outcome: Outcome) -> str:
    artifact = outcome.artifact
    nbytes = artifact.transformed_bytes + (artifact.fallback.transformed_bytes if artifact.fallback else 0)
    return size(nbytes) if nbytes else ""


ROWS: tuple[tuple[str, Cell], ...] = (
    ("verified", lambda outcome: verified(outcome.verification)),
    ("largest error", _max_error),
    ("CPU version verified", _fallback),
    ("median", _timed(_median)),
    ("p90", _detail(lambda latency: f"{latency.p90_ms:.3g} ms")),
    ("fastest", _detail(lambda latency: f"{latency.min_ms:.3g} ms")),
    ("spread (MAD / median)", _detail(lambda latency: f"{latency.spread:.1%}")),
    ("samples", _detail(lambda latency: f"{len(latency.samples_ms)}")),
    ("threads", _detail(lambda latency: f"{latency.threads}")),
    ("stored in", lambda outcome: "" if outcome.artifact.dtype == "float32" else outcome.artifact.dtype),
    ("weights", lambda outcome: size(outcome.artifact.weight_bytes)),
    ("transformed on loading", _transformed),
    ("arena", lambda outcome: size(outcome.artifact.arena_bytes)),
    ("library", lambda outcome: size(outcome.artifact.file_bytes)),
    ("fused operators", lambda outcome: f"{len(outcome.artifact.steps)}"),
    ("schedules", _schedules),
    ("built in", lambda outcome: f"{outcome.build_s:.1f} s"),
)
