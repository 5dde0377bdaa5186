"""`edgevision zoo`: list and export the networks that ship with edgevision."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from edgevision import zoo as networks


@click.group(name="zoo")
def zoo() -> None:
    """List and export the networks that ship with edgevision."""


@zoo.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_networks(as_json: bool) -> None:
    """Names, parameters and multiply-accumulates (1 MAC = 2 FLOPs) at 224x224 in both forms."""
    if as_json:
        click.echo(json.dumps({"networks": [asdict(entry) for entry in networks.entries()]}, indent=2))
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("network", no_wrap=True), "paper")
    for form in ("train", "deploy"):
        table.add_column(f"{form}: parameters", justify="right")
        table.add_column("MACs", justify="right")
    for entry in networks.entries():
        sizes = (entry.train, entry.deploy)
        cells = [cell for size in sizes for cell in (f"{size.parameters / 1e6:.2f} M", f"{size.macs / 1e6:,.0f} M")]
        table.add_row(entry.name, entry.paper, *cells)
    Console().print(table)


@zoo.command(name="export")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .onnx file to write.")
@click.option(
    "--form",
    type=click.Choice(["train", "deploy"]),
    default="train",
    show_default=True,
    help="train: branches and BatchNorms as in training. deploy: the same function, merged and folded.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="A torch state dict (.pth) of the training form.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random weights.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images per run.")
@click.option("--widths", type=click.Path(path_type=Path), metavar="FILE",
              help="Layers as wide as in this table, which `finetune` writes and `prune --json` prints.")  # fmt: skip
def export_network(
    name: str, output: Path, form: networks.Form, weights: Path | None, seed: int, batch: int, widths: Path | None
) -> None:
    """Write the network NAME as an ONNX file (see `edgevision zoo list`)."""
    if widths is not None:
        from edgevision.rebuilding import rebuild

        rebuild(name, widths, output, form=form, seed=seed, weights=weights, batch=batch)
        click.echo(output)
        return
    click.echo(networks.export(name, output, form=form, seed=seed, weights=weights, batch=batch))
