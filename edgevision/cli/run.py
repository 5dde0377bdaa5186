"""`edgevision run`: one inference of an artifact on arrays in files."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("-i", "--input", "inputs", type=click.Path(path_type=Path), multiple=True, metavar="FILE.npy", help=(
    "An array for each input, in order."))  # fmt: skip
@click.option("-o", "--output", "outputs", type=click.Path(path_type=Path), multiple=True, metavar="FILE.npy", help=(
    "Where to write each output, in order."))  # fmt: skip
@click.option("--threads", type=click.IntRange(min=0), default=0, help="0: one a core.")
def run(artifact: Path, inputs: tuple[Path, ...], outputs: tuple[Path, ...], threads: int) -> None:
    """Run ARTIFACT, a .so compiled for this machine, on .npy files."""
    from edgevision import runtime
    from edgevision.errors import InputError
    from edgevision.npy import read_array, write_array

    with runtime.load(artifact, threads=threads) as network:
        if len(outputs) not in (0, len(network.outputs)):
            raise InputError(
                f"{artifact} has {len(network.outputs)} outputs, but {len(outputs)} --output files were given"
            )
        results = network.run(*(read_array(path) for path in inputs))
    for path, result in zip(outputs, results, strict=False):
        write_array(path, result)
    for spec, result in zip(network.outputs, results, strict=True):
        click.echo(f"{spec}: {result.min():.5g} to {result.max():.5g}" if result.size else f"{spec}: empty")
