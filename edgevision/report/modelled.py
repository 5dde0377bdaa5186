"""A modelled cost as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from edgevision.artifact import Step
from edgevision.modelled import ModelledCost, StepCost
from edgevision.report.json import Json, document

NOTE = "modelled: cycles of a core whose data are in its L1 cache; not a time on a device"


def cost_report(costs: Sequence[ModelledCost]) -> Json:
    """What ``edgevision cost --json`` prints."""
    return document("cost", {"costs": [cost_entry(each) for each in costs]})


def cost_view(costs: Sequence[ModelledCost], top: int) -> RenderableType:
    """A row for each core, then the ``top`` operators that take the first of them longest."""
    table = Table(title=f"{costs[0].name} for {costs[0].target}, one thread", title_justify="left", caption=NOTE)
    table.add_column("core", no_wrap=True)
    for column in ("M cycles", "M port bound", "M instructions", "FMA lanes / MACs", "M L1 misses", "M L2 misses"):
        table.add_column(column, justify="right")
    for each in costs:
        ratio = f"{each.fma_lanes / each.macs:.3f}" if each.macs else "-"
        table.add_row(
            each.cpu, _millions(each.cycles), _millions(each.port_bound), _millions(each.instructions), ratio,
            _millions(each.l1_misses), _millions(each.l2_misses),
        )  # fmt: skip
    return Group(table, _steps_table(costs[0], top)) if top else table


def _steps_table(cost: ModelledCost, top: int) -> Table:
    table = Table(title=f"the {min(top, len(cost.steps))} longest of {len(cost.steps)} operators on {cost.cpu}")
    table.add_column("operator", overflow="fold")
    for column in ("k cycles", "share", "MACs / cycle"):
        table.add_column(column, justify="right")
    table.add_column("schedule")
    for each in sorted(cost.steps, key=lambda s: -s.cycles)[:top]:
        rate = f"{each.step.macs / each.cycles:.2f}" if each.step.macs else ""
        share = f"{each.cycles / cost.cycles:.1%}"
        table.add_row(each.step.name, f"{each.cycles / 1e3:,.0f}", share, rate, each.step.schedule)
    return table


def _millions(count: float | None) -> str:
    return "-" if count is None else f"{count / 1e6:,.2f}"


def cost_entry(cost: ModelledCost) -> Json:
    return {
        "name": cost.name, "target": cost.target, "cpu": cost.cpu, "kind": "modelled", "cycles": cost.cycles,
        "port_bound": cost.port_bound, "instructions": cost.instructions, "fma_lanes": cost.fma_lanes, "macs": cost.macs,
        "l1_misses": cost.l1_misses, "l2_misses": cost.l2_misses, "steps": [_step(each) for each in cost.steps],
    }  # fmt: skip


def _step(cost: StepCost) -> Json:
    return {
        "name": cost.step.name, "schedule": cost.step.schedule, "macs": cost.step.macs, "cycles": cost.cycles,
        "port_bound": cost.port_bound, "instructions": cost.instructions, "fma_lanes": cost.fma_lanes,
        "mul_lanes": cost.mul_lanes, "accesses": cost.accesses, "l1_misses": cost.l1_misses, "l2_misses": cost.l2_misses,
    }  # fmt: skip


def cost_of(entry: Mapping[str, Any]) -> ModelledCost:
    """What `cost_entry` was made of; the operators' ONNX names are not in it."""
    return ModelledCost(
        name=entry["name"], target=entry["target"], cpu=entry["cpu"], steps=tuple(_step_of(each) for each in entry["steps"])
    )


def _step_of(entry: Mapping[str, Any]) -> StepCost:
    counts = {key: value for key, value in entry.items() if key not in ("name", "schedule", "macs")}
    return StepCost(step=Step(name=entry["name"], ops=(), macs=entry["macs"], schedule=entry["schedule"]), **counts)
