"""`edgevision targets`: what can be compiled for."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command(name="targets")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def targets(as_json: bool) -> None:
    """The targets that come with edgevision; a path to a .toml of the same form is a target too."""
    from edgevision.target import load, names

    known = [load(name) for name in names()]
    if as_json:
        click.echo(json.dumps({"targets": [asdict(t) for t in known]}, indent=2))
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("target", no_wrap=True), "what", "CPU", "cores", Column("runs here", no_wrap=True))
    for t in known:
        table.add_row(t.name, t.description, t.cpu, str(t.cores), t.emulator or "natively")
    Console().print(table)
