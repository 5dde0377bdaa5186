"""`edgevision bench`: the latency of an artifact on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("file", metavar="ARTIFACT", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), help="How many compute a run [default: one a core].")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=3.0, show_default=True, help="Sample this long at most."
)
@click.option("--precision", type=click.FloatRange(min=0), default=0.01, show_default=True, help=(
    "Stop when the 95 % interval of the median is this narrow (half its width over the median)."))  # fmt: skip
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, help="Operators in the profile.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of tables.")
def bench(file: Path, threads: int | None, seconds: float, precision: float, top: int, as_json: bool) -> None:
    """Time ARTIFACT, a .so compiled for this machine, on random inputs."""
    from edgevision.measure.local import LocalDevice
    from edgevision.measure.reference import inputs_for
    from edgevision.measure.sampling import Sampling
    from edgevision.report.benchmark import benchmark_report, benchmark_view
    from edgevision.report.json import dumps
    from edgevision.report.manifest import artifact_of

    artifact = artifact_of(file)
    device = LocalDevice(threads=threads or len(os.sched_getaffinity(0)))
    [inputs] = inputs_for(artifact.inputs, seed=0, count=1)
    latency = device.time(artifact, inputs, Sampling(limit_s=seconds, precision=precision))
    if as_json:
        click.echo(dumps(benchmark_report(artifact, latency)), nl=False)
        return
    from edgevision.report import console

    console.stdout().print(benchmark_view(artifact, latency, top))
