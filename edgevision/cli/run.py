"""`edgevision run`: one inference of an artifact on arrays in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgevision.cli.devices import DEVICES_FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgevision.tensor import TensorSpec

    Arrays = Sequence[NDArray[np.generic]]


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("-i", "--input", "inputs", type=click.Path(path_type=Path), multiple=True, metavar="FILE.npy", help=(
    "An array for each input, in order."))  # fmt: skip
@click.option("-o", "--output", "outputs", type=click.Path(path_type=Path), multiple=True, metavar="FILE.npy", help=(
    "Where to write each output, in order."))  # fmt: skip
@click.option("--threads", type=click.IntRange(min=0), default=0, help="0: one a core.")
@click.option("--fallback", type=click.Choice(["never", "if-needed", "always"]), default="never", show_default=True, help=(
    "When the CPU version of a GPU's artifact computes (compile --with-cpu-fallback)."))  # fmt: skip
@click.option("--device", metavar="NAME", help="Run its -bench program on this device (`edgevision devices list`).")
@DEVICES_FILE
def run(
    artifact: Path, inputs: tuple[Path, ...], outputs: tuple[Path, ...], threads: int, fallback: str, device: str | None,
    devices_file: Path | None,
) -> None:  # fmt: skip
    """Run ARTIFACT, a .so compiled for this machine, or for DEVICE, on .npy files."""
    from edgevision.npy import read_array, write_array

    arrays = [read_array(path) for path in inputs]
    if device and fallback != "never":
        raise click.UsageError("--fallback is for this machine; --device runs the -bench program, which takes it too")
    if device:
        specs, results = _there(artifact, arrays, len(outputs), threads, device, devices_file)
    else:
        specs, results = _here(artifact, arrays, len(outputs), threads, fallback)
    for path, result in zip(outputs, results, strict=False):
        write_array(path, result)
    for spec, result in zip(specs, results, strict=True):
        click.echo(f"{spec}: {result.min():.5g} to {result.max():.5g}" if result.size else f"{spec}: empty")


def _here(library: Path, arrays: Arrays, outputs: int, threads: int, fallback: str) -> tuple[Sequence[TensorSpec], Arrays]:
    from edgevision import runtime

    with runtime.load(library, threads=threads, fallback=fallback) as network:
        _check_count(library, network.outputs, outputs)
        results = network.run(*arrays)
        if fallback != "never":
            ran = network.processor
            click.echo(f"ran on the {ran.name.upper()}" + (f": {ran.why}" if ran.why else ""), err=True)
        return network.outputs, results


def _there(
    library: Path, arrays: Arrays, outputs: int, threads: int, device: str, devices_file: Path | None
) -> tuple[Sequence[TensorSpec], Arrays]:
    from edgevision import devices
    from edgevision.measure.remote import RemoteDevice
    from edgevision.report.manifest import artifact_of, check_bench
    from edgevision.runtime import checked_inputs

    artifact = artifact_of(library)
    check_bench(artifact)
    _check_count(library, artifact.outputs, outputs)
    transport = devices.load(device, devices_file, told=lambda text: click.echo(text, err=True))
    [results] = RemoteDevice(transport, threads).execute(artifact, [checked_inputs(str(library), artifact.inputs, arrays)])
    return artifact.outputs, results


def _check_count(library: Path, specs: Sequence[TensorSpec], outputs: int) -> None:
    from edgevision.errors import InputError

    if outputs not in (0, len(specs)):
        raise InputError(f"{library} has {len(specs)} outputs, but {outputs} --output files were given")
