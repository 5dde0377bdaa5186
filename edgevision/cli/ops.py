"""`edgevision ops`: what can be compiled."""

from __future__ import annotations

import json

import click


@click.command(name="ops")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a list.")
def ops(as_json: bool) -> None:
    """Operators that can be compiled, by ONNX's names; all from opset 9 to 23."""
    from edgevision.ingest import ACCEPTED_BY_REWRITING
    from edgevision.lower.operators import OPERATORS

    lowered = sorted(name for name in OPERATORS if "::" not in name)
    rewritten = sorted(set(ACCEPTED_BY_REWRITING) - set(lowered))
    if as_json:
        click.echo(json.dumps({"lowered": lowered, "rewritten": rewritten}, indent=2))
        return
    for name in sorted({*lowered, *rewritten}):
        click.echo(name)
