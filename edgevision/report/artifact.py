"""An artifact's manifest for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table

from edgevision.report.table import size, thousands


def manifest_view(described: Mapping[str, Any]) -> RenderableType:
    """The manifest's facts, then one line a fused operator."""
    title = f"{described['name']} for {described['target']['name']}"
    facts = Table("", Column(overflow="fold"), title=title, title_justify="left", show_header=False)
    for label, text in _facts(described):
        facts.add_row(label, text)
    steps = Table(title="fused operators, in the order they run", title_justify="left")
    steps.add_column("operator", overflow="fold")
    steps.add_column("fused from", overflow="fold")
    steps.add_column("MACs", justify="right", no_wrap=True)
    steps.add_column("schedule")
    for step in described["steps"]:
        steps.add_row(step["name"], " ".join(step["ops"]), thousands(step["macs"]), step["schedule"])
    return Group(facts, steps)


def _facts(described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    target = described["target"]
    yield (
        "compiled for",
        " ".join([target["triple"], target["cpu"], *target["features"]]) + f", {target['cores']} cores",
    )
    for label in ("inputs", "outputs"):
        for tensor in described[label]:
            shape = ",".join(map(str, tensor["shape"]))
            yield label[:-1], f"{tensor['name']}: {tensor['dtype']}[{shape}] {tensor['layout']}".rstrip()
    if described["camera"]:
        camera = described["camera"]
        yield "camera", f"(pixel - {camera['mean']}) / {camera['std']} is folded in"
    yield "verified", _verified(described["verification"])
    if described.get("fallback"):
        yield "CPU version", f"for {described['fallback']['target']}; {_verified(described['fallback']['verification'])}"
    yield "weights", size(described["weight_bytes"])
    if described.get("transformed_bytes"):
        yield "transformed on loading", size(described["transformed_bytes"])
    yield "arena", size(described["arena_bytes"])
    for file in described["files"].values():
        yield "file", f"{file['name']}, {size(file['bytes'])}"
    yield "schedules", ", ".join(f"{number} {kind}" for kind, number in described["schedules"].items())
    for change in described["changes"]:
        yield "rewriting", f"{change['rule']}: {change['count']} times, {len(change['refusals'])} refusals"
    for note in described["notes"]:
        yield "note", note
    yield "versions", ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    yield "original's SHA-256", described["original"]["sha256"]


def _verified(record: Mapping[str, Any]) -> str:
    if record["how"] == "skipped":
        return "no (--no-verify)"
    return (
        f"{record['how']}: {record['inputs_tried']} inputs (seed {record['seed']}) against {record['reference']}, "
        f"largest error {record['max_error']:.1e}"
    )
