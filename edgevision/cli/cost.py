"""`edgevision cost`: modelled cycles on ARM cores."""

from __future__ import annotations

import click


@click.command()
@click.argument("source", metavar="MODEL")
@click.option("-t", "--target", default="arm64", show_default=True, help="A target for 64-bit ARM.")
@click.option("--core", "cores", multiple=True, default=("neoverse-n1", "cortex-a55"), show_default=True,
              help="A core to model; repeatable. neoverse-n1 is a Cortex-A76 too.")  # fmt: skip
@click.option("--input-shape", "shapes", multiple=True, metavar="[NAME:]N,C,H,W",
              help="Fix an input's open dimensions; once an input.")  # fmt: skip
@click.option("--no-winograd", is_flag=True, help="Compute 3x3 convolutions and large depthwise kernels directly.")
@click.option("--caches", is_flag=True, help="Simulate the data caches of a Cortex-A76 too: takes longer.")
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, help="Operators to list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of tables.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def cost(
    source: str, target: str, cores: tuple[str, ...], shapes: tuple[str, ...], no_winograd: bool, caches: bool, top: int,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Count what MODEL, compiled for TARGET, executes on one thread, and what it would take on ARM cores.

    The figures are modelled and repeat to the instruction: good to compare with, no time on a device.
    """
    from edgevision.cli.compile_ import stages
    from edgevision.costing import cost as modelled
    from edgevision.ingest import parse_input_shapes
    from edgevision.pipeline import Options
    from edgevision.report.json import dumps
    from edgevision.report.modelled import cost_report, cost_view

    options = Options(input_shapes=parse_input_shapes(shapes) if shapes else None, winograd=not no_winograd)
    with stages(quiet=quiet) as progress:
        costs = modelled(source, target, cores, options, caches=caches, progress=progress)
    if as_json:
        click.echo(dumps(cost_report(costs)), nl=False)
        return
    from edgevision.report import console

    console.stdout().print(cost_view(costs, top))
