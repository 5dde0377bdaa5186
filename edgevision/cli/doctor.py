"""`edgevision doctor`: what this machine has for compiling and checking, and what it lacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edgevision import __version__
from edgevision.errors import ToolchainError

if TYPE_CHECKING:
    from edgevision.doctor import Finding


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--strict", is_flag=True, help="Exit 4 when anything is missing.")
def doctor(as_json: bool, strict: bool) -> None:
    """What is there, what is missing, what that costs and what to install."""
    from edgevision.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps({"edgevision": __version__, "findings": [asdict(each) for each in findings]}, indent=2))
    else:
        _print(findings)
    missing = [each.name for each in findings if not each.found]
    if strict and missing:
        raise ToolchainError(f"missing: {', '.join(missing)}; `edgevision doctor` says what to install")


def _print(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "what", "here", title=f"edgevision {__version__}", title_justify="left")
    table.columns[-1].overflow = "fold"
    for each in findings:
        table.add_row("ok" if each.found else "missing", each.name, each.detail)
    Console().print(table)
    absent = [each for each in findings if not each.found]
    click.echo(f"{len(findings) - len(absent)} found, {len(absent)} missing")
    for each in absent:
        click.echo(f"without {each.name}: {each.cost}. Remedy: {each.remedy}")
