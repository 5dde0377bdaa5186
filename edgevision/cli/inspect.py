"""`edgevision inspect`: what a model or an artifact holds."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of tables.")
def inspect(file: Path, as_json: bool) -> None:
    """What FILE holds.

    An .onnx model: its inputs, operators, multiply-accumulates, parameters, and bytes a layer. An artifact's .so or its
    manifest: the manifest.
    """
    from edgevision.report.json import dumps

    if file.suffix in (".so", ".json"):
        from edgevision.report import manifest
        from edgevision.report.artifact import manifest_view

        described = manifest.read(file)
        report, view = described, manifest_view(described)
    else:
        from edgevision.ingest import onnx_file
        from edgevision.report.inspection import inspect_model, inspection_report, inspection_view

        read = onnx_file.load(file)
        found = inspect_model(file, read.proto, read.sha256)
        report, view = inspection_report(found), inspection_view(found)
    if as_json:
        click.echo(dumps(report), nl=False)
        return
    from edgevision.report import console

    console.stdout().print(view)
