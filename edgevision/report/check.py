"""A gate's end as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevision.artifact import Artifact
from edgevision.bout import Block, Bout, Profile, Side, Start
from edgevision.report import manifest
from edgevision.report.device import telemetry
from edgevision.report.gate import SHOWN
from edgevision.report.json import Json, device, document
from edgevision.report.modelled import cost_entry
from edgevision.verdict import Check, Estimate, Gated

COPIED = ("weight_bytes", "arena_bytes", "versions", "verification", "schedules", "steps", "changes", "notes")
"""What the manifests say that a reader of the report wants to compare."""


def check_report(gated: Gated) -> Json:
    """What ``edgevision check --json`` writes."""
    costs = gated.costs
    return document(
        "check",
        {
            "name": gated.name,
            "decision": gated.verdict.decision,
            "reason": gated.verdict.reason,
            "exit_code": gated.verdict.exit_code,
            "how": "modelled" if costs else "measured",
            "allow": gated.allow,
            "risk": gated.risk,
            "checks": [_check(each) for each in gated.verdict.checks],
            "baseline": None if gated.baseline is None else contender(gated.baseline),
            "candidate": None if gated.candidate is None else contender(gated.candidate),
            "bout": None if gated.bout is None else bout_entry(gated.bout),
            "costs": None if costs is None else {"baseline": _costs(costs[0]), "candidate": _costs(costs[1])},
        },
    )


def contender(artifact: Artifact) -> Json:
    """An artifact and what its manifest says about it."""
    described = manifest.read(artifact.manifest)
    return {
        "library": str(artifact.path), "name": described["name"], "target": artifact.target, "sha256": artifact.sha256,
        "model_sha256": artifact.model_sha256, "file_bytes": artifact.file_bytes, **{key: described[key] for key in COPIED},
    }  # fmt: skip


def bout_entry(bout: Bout) -> Json:
    return {
        "device": device(bout.device),
        "how": bout.how,
        "began": bout.began,
        "seconds": round(bout.seconds, 3),
        "seed": bout.seed,
        "cores": list(bout.cores),
        "threads": bout.blocks[0].starts[0].threads,
        "median_ms": {"baseline": median(bout.milliseconds("A")), "candidate": median(bout.milliseconds("B"))},
        "profiles": {"baseline": _profile(bout.profiles[0]), "candidate": _profile(bout.profiles[1])},
        "blocks": [_block(each) for each in bout.blocks],
        "telemetry": [telemetry(each) for each in bout.looks],
    }


def start_entry(start: Start) -> Json:
    return {
        "side": start.side, "threads": start.threads, "samples_ns": list(start.samples_ns), "waited_ns": list(start.waited_ns),
        "elapsed_ns": start.elapsed_ns, "asleep_ns": start.asleep_ns, "ran_ns": start.ran_ns, "ready_ns": start.ready_ns,
    }  # fmt: skip


def starts_of(document: Mapping[str, Any]) -> list[Start]:
    """The processes of a check's document."""
    return [
        Start(**{**each, "samples_ns": tuple(each["samples_ns"]), "waited_ns": tuple(each["waited_ns"])})
        for block in document["bout"]["blocks"]
        for each in block["starts"]
    ]


def milliseconds_of(document: Mapping[str, Any], side: Side) -> list[float]:
    """The median run of each process of ``side``, as `Bout.milliseconds` has them."""
    return [start.ns / 1e6 for start in starts_of(document) if start.side == side]


def check_view(gated: Gated) -> RenderableType:
    """A row for each check; then what was measured, and the decision in a line of its own."""
    table = Table(title=gated.name, title_justify="left")
    table.add_column("check")
    for column in ("figure", "between", "limit"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("decision", no_wrap=True)
    for each in gated.verdict.checks:
        show = SHOWN[each.unit]
        ends = each.estimate.interval if each.estimate else None
        table.add_row(
            each.what, "-" if each.measured is None else show(each.measured),
            "-" if ends is None else f"{show(ends[0])} and {show(ends[1])}", show(each.limit), each.decision,
        )  # fmt: skip
    parts: list[RenderableType] = [table] if gated.verdict.checks else []
    if gated.bout is not None:
        parts.append(Text(described(gated.bout)))
    return Group(*parts, Text(f"{gated.verdict.decision}: {gated.verdict.reason or 'nothing was asked'}"))


def described(bout: Bout) -> str:
    """How it was measured, in a line."""
    processes = sum(len(block.starts) for block in bout.blocks)
    threads = bout.blocks[0].starts[0].threads
    return (
        f"measured on {bout.device.name} ({bout.device.cpu or bout.device.transport}), {threads} thread{'s' * (threads > 1)}, "
        f"{processes} processes in turn, {bout.seconds:.0f} s"
    )


def _check(check: Check) -> Json:
    return {
        "what": check.what, "decision": check.decision, "reason": check.reason, "measured": check.measured,
        "limit": check.limit, "unit": check.unit, "estimate": None if check.estimate is None else _estimate(check.estimate),
    }  # fmt: skip


def _estimate(estimate: Estimate) -> Json:
    return {
        "value": estimate.value, "interval": None if estimate.interval is None else list(estimate.interval),
        "used": estimate.used, "taken": estimate.taken,
        "dropped": [{"reason": reason, "count": count} for reason, count in estimate.dropped],
    }  # fmt: skip


def _profile(profile: Profile) -> Json:
    return {
        "cold_start_ms": profile.cold_start_ns / 1e6, "peak_bytes": profile.peak_bytes,
        "steps": [{"name": name, "us": us} for name, us in profile.steps_us],
    }  # fmt: skip


def _block(block: Block) -> Json:
    return {"clock": block.clock, "starts": [start_entry(start) for start in block.starts]}


def _costs(costs: Sequence[Any]) -> list[Json]:
    return [cost_entry(each) for each in costs]
