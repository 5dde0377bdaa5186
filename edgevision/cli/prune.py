"""`edgevision prune`: a network with fewer channels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgevision.cli.evaluate import Numbers
from edgevision.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from edgevision.pruning import Pruning


class Latency(click.ParamType[tuple[str, float]]):
    """A time, 12ms or 12, or a share of the network's own: 60%."""

    name = "latency"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        text = str(value)
        try:
            if text.endswith("%"):
                return "latency_share", float(text.removesuffix("%")) / 100
            return "latency_ms", float(text.removesuffix("ms"))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 12ms, nor a share such as 60%", param, ctx)


@click.command()
@click.argument("source", metavar="MODEL")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .onnx file to write.")
@click.option("--keep", type=float, help="Share of the channels that may go which stays, for instance 0.7.")
@click.option("--macs", type=float, help="Share of the multiply-accumulates that stays.")
@click.option("--params", type=float, help="Share of the parameters that stays.")
@click.option("--latency", type=Latency(), metavar="MS|%",
              help="Time of a run on --target: 12ms, or a share of MODEL's, 60%. Compiles several candidates.")  # fmt: skip
@click.option("--target", default="native", show_default=True,
              help="Where --latency is measured; for other 64-bit ARM targets a share of modelled cycles.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 64), default=None, help="Threads that --latency runs with [default: one a core].")
@click.option("--lossless", is_flag=True, help="Remove only channels that are constant: the function stays the same.")
@click.option("--input-range", type=Numbers(), metavar="LO,HI",
              help="Least and largest value of the input; --lossless finds more with it.")  # fmt: skip
@click.option("--importance", type=click.Choice(["l1", "l2", "bn", "fpgm", "taylor", "random"]), default="l1", show_default=True,
              help="What says which channels matter (docs/prune.md).")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Labelled images for --importance taylor.")
@click.option("--mean", type=Numbers(), default="0", show_default=True, help="Subtracted from their pixels of 0 to 255.")
@click.option("--std", type=Numbers(), default="255", show_default=True, help="Then divided by, one or one a channel.")
@click.option("--scope", type=click.Choice(["global", "uniform"]), default="global", show_default=True,
              help="Compare channels across layers, or keep the same share of every layer.")  # fmt: skip
@click.option("--round-to", type=click.IntRange(min=1), default=8, show_default=True,
              help="Widths that change become multiples of this.")  # fmt: skip
@click.option("--freeze", multiple=True, metavar="NAME", help="A node or tensor whose channels stay; repeatable.")
@click.option("--input-shape", "shapes", multiple=True, metavar="[NAME:]N,C,H,W",
              help="Fix an input's open dimensions; the MACs are counted with it.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of --importance random.")
@click.option("--explain", is_flag=True, help="Print why channels stay.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of a table.")
def prune(source: str, shapes: tuple[str, ...], explain: bool, as_json: bool, **given: Any) -> None:
    """Write MODEL (.onnx, .pt2 or zoo:NAME) with fewer channels.

    The result computes what MODEL does with the removed channels' weights set to zero, and is plain ONNX.
    """
    from edgevision import pruning
    from edgevision.ingest import parse_input_shapes
    from edgevision.measure.evaluate import Preprocessing

    bounds = given.pop("input_range")
    latency = given.pop("latency")
    given |= {latency[0]: latency[1]} if latency else {}
    given["preprocessing"] = Preprocessing(mean=given.pop("mean"), std=given.pop("std"))
    given["threads"] = given["threads"] or 0
    if bounds is not None and not given["lossless"]:
        raise InputError("--input-range tells --lossless what the input can be; no other way to prune uses it")
    if bounds is not None and not (len(bounds) == 2 and bounds[0] < bounds[1]):
        shown = ",".join(map(str, bounds))
        raise InputError(f"--input-range {shown}: give the least and the largest value, such as 0,1")
    result = pruning.prune(
        source, input_shapes=parse_input_shapes(shapes) if shapes else None, input_range=bounds,
        progress=lambda stage: click.echo(stage, err=True), **given,
    )  # fmt: skip
    for skipped in result.skipped:
        click.echo(f"skipped {skipped}", err=True)
    if result.skipped:
        click.echo(f"{len(result.skipped)} unreadable images skipped", err=True)
    if as_json:
        from edgevision.report.json import dumps

        click.echo(dumps(_report(result, given["output"])), nl=False)
        return
    from edgevision.report.console import stdout

    console = stdout()
    console.print(_table(result))
    for line in _lines(result, explain=explain):
        click.echo(line)
    click.echo(given["output"])


def _table(result: Pruning) -> Table:
    """Cost before and after, and every layer that is narrower."""
    from rich.table import Table

    from edgevision.report.table import size, thousands

    table = Table(title=result.model.name, title_justify="left")
    table.add_column("", overflow="fold")
    for column in ("before", "after", "stays"):
        table.add_column(column, justify="right")
    before, after = result.before, result.after
    for label, first, second, show in (
        ("MACs", before.macs, after.macs, thousands),
        ("parameters", before.parameters, after.parameters, thousands),
        ("weights", before.weight_bytes, after.weight_bytes, size),
    ):
        table.add_row(label, show(first), show(second), f"{second / first:.1%}" if first else "-")
    table.add_section()
    for width in result.pruned.changed:
        table.add_row(width.layer, str(width.before), str(width.after), f"{width.after / width.before:.0%}")
    return table


def _lines(result: Pruning, *, explain: bool) -> Iterator[str]:
    pruned = result.pruned
    if result.timed is not None:
        timed = result.timed
        yield (f"{timed.how}: {timed.achieved_ms:.3g} {timed.unit} of {timed.budget_ms:.3g} allowed ({timed.used:.1%}); "
               f"unpruned {timed.full_ms:.3g}; predicted {timed.modelled_ms:.3g}; {timed.candidates} candidates")  # fmt: skip
    elif pruned.requested is not None:
        yield f"requested: {pruned.requested:.1%} of the {pruned.unit}; achieved: {pruned.achieved:.1%}"
    yield f"{len(pruned.changed)} of {len(pruned.widths)} layers are narrower"
    if result.dead is not None:
        yield f"{result.dead.removed} dead channels removed"
        if result.dead.kept:
            yield f"{result.dead.kept} dead channels stay: --round-to, or blocks that keep equal counts"
        yield from (f"nearly dead: {each.filters} of {each.of} filters of {each.layer}" for each in result.dead.near)
    if pruned.unknown:
        yield f"not followed, so the channels that they read stay: {', '.join(pruned.unknown)}"
    if explain:
        yield from (f"{each.count} channels stay: {each.reason}" for each in pruned.held)


def _report(result: Pruning, output: Path) -> dict[str, Any]:
    """What ``edgevision prune --json`` prints."""
    from edgevision.report.json import document

    pruned, dead = result.pruned, result.dead
    counts = {
        key: {"macs": each.macs, "parameters": each.parameters, "weight_bytes": each.weight_bytes}
        for key, each in (("before", result.before), ("after", result.after))
    }
    return document("pruning", {
        "model": result.model.name, "sha256": result.model.sha256, "output": str(output), "unit": pruned.unit,
        "requested": pruned.requested, "achieved": pruned.achieved, **counts,
        "layers": [{"layer": each.layer, "before": each.before, "after": each.after} for each in pruned.widths],
        "held": [{"reason": each.reason, "channels": each.count} for each in pruned.held],
        "not_followed": list(pruned.unknown),
        "latency": None if result.timed is None else {
            "how": result.timed.how, "unit": result.timed.unit, "requested": result.timed.budget_ms,
            "achieved": result.timed.achieved_ms, "unpruned": result.timed.full_ms, "predicted": result.timed.modelled_ms,
            "candidates": result.timed.candidates,
        },
        "dead": None if dead is None else {
            "removed": dead.removed, "kept": dead.kept,
            "near": [{"layer": each.layer, "filters": each.filters, "of": each.of} for each in dead.near],
        },
    })  # fmt: skip
