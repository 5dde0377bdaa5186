"""`edgevision bench`: the latency of an artifact, here or on devices."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgevision.cli.devices import DEVICES_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgevision.artifact import Artifact
    from edgevision.device_file import DeviceEntry
    from edgevision.measure.sampling import Sampling
    from edgevision.measurement import Measurement


@click.command()
@click.argument("file", metavar="ARTIFACT", type=click.Path(path_type=Path))
@click.option("--device", "names", multiple=True, metavar="NAME", help=(
    "Time its -bench program on this device (`edgevision devices list`); may be repeated: all at the same time."))  # fmt: skip
@click.option("--label", "labels", multiple=True, help="On all devices with this label; may be repeated.")
@DEVICES_FILE
@click.option("--cores", help="Bind the threads: a set of the device's entry (big), or numbers (4,5). Needs --device.")
@click.option("--threads", type=click.IntRange(min=1), help="How many compute a run [default: one a core].")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=3.0, show_default=True, help="Sample this long at most."
)
@click.option("--precision", type=click.FloatRange(min=0), default=0.01, show_default=True, help=(
    "Stop when the 95 % interval of the median is this narrow (half its width over the median)."))  # fmt: skip
@click.option("--fallback", type=click.Choice(["never", "if-needed", "always"]), default="never", show_default=True, help=(
    "When the CPU version of a GPU's artifact computes (compile --with-cpu-fallback)."))  # fmt: skip
@click.option("--compare-cpu", is_flag=True, help="Then the CPU and the GPU version of such an artifact in turn, side by side.")
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, help="Operators in the profile.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of tables.")
def bench(
    file: Path, names: tuple[str, ...], labels: tuple[str, ...], devices_file: Path | None, cores: str | None, threads: int | None,
    seconds: float, precision: float, fallback: str, compare_cpu: bool, top: int, as_json: bool,
) -> int:  # fmt: skip
    """Time ARTIFACT, a .so with the files that a compile wrote beside it, on random inputs.

    Without --device it must be compiled for this machine.
    """
    from edgevision.measure.sampling import Sampling
    from edgevision.report.manifest import artifact_of

    artifact = artifact_of(file)
    sampling = Sampling(limit_s=seconds, precision=precision)
    if compare_cpu and fallback != "never":
        raise click.UsageError("--compare-cpu runs both versions; leave --fallback out")
    if (names or labels) and fallback != "never":
        raise click.UsageError("--fallback is for this machine; --device runs the -bench program, which takes it too")
    if names or labels:
        from edgevision.devices import chosen

        return _on_devices(artifact, chosen(names, labels, devices_file), cores, threads, sampling, compare_cpu, top, as_json)
    if cores:
        raise click.UsageError("--cores needs --device; this machine is --device local")
    _here(artifact, threads, fallback, sampling, compare_cpu, top, as_json)
    return 0


def _here(
    artifact: Artifact, threads: int | None, fallback: str, sampling: Sampling, compare_cpu: bool, top: int, as_json: bool
) -> None:  # fmt: skip
    from edgevision.measure.local import LocalDevice
    from edgevision.measure.reference import inputs_for
    from edgevision.measure.side_by_side import compared_here
    from edgevision.report import console
    from edgevision.report.benchmark import benchmark_report, benchmark_view
    from edgevision.report.json import dumps

    device = LocalDevice(threads=threads or len(os.sched_getaffinity(0)), fallback=fallback)
    [inputs] = inputs_for(artifact.inputs, seed=0, count=1)
    latency = device.time(artifact, inputs, sampling)
    compared = compared_here(artifact, inputs, device) if compare_cpu else None
    if as_json:
        click.echo(dumps(benchmark_report(artifact, latency, compared=compared)), nl=False)
    else:
        console.stdout().print(benchmark_view(artifact, latency, top, compared))


def _on_devices(
    artifact: Artifact, found: Sequence[DeviceEntry], cores: str | None, threads: int | None, sampling: Sampling,
    compare_cpu: bool, top: int, as_json: bool,
) -> int:  # fmt: skip
    from edgevision import devices
    from edgevision.errors import EdgevisionError
    from edgevision.measure.side_by_side import compared_on
    from edgevision.measure.timed import Plan, time_on
    from edgevision.report import console
    from edgevision.report.benchmark import benchmark_report, benchmarks_report, measurement_view
    from edgevision.report.json import dumps
    from edgevision.report.manifest import check_bench

    check_bench(artifact)

    def timed(device: DeviceEntry) -> Measurement:
        bound = devices.cores(device, cores) if cores else ()
        plan = Plan(threads=threads or len(bound), cores=bound, limit_s=sampling.limit_s, precision=sampling.precision)
        transport = devices.transport(device, told=_tell)
        found = time_on(transport, artifact, plan, _tell)
        return replace(found, side_by_side=compared_on(transport, artifact, plan, _tell)) if compare_cpu else found

    results = devices.each(found, timed)
    lost = [each for each in results if isinstance(each, EdgevisionError)]
    if len(results) == 1 and lost:
        raise lost[0]
    if as_json:
        whole = benchmarks_report(artifact, {device.name: each for device, each in zip(found, results, strict=True)})
        one = next((each for each in results if not isinstance(each, EdgevisionError)), None)
        single = len(results) == 1 and one is not None
        click.echo(dumps(benchmark_report(artifact, one.latency, one) if single and one else whole), nl=False)
    for each in results:
        if isinstance(each, EdgevisionError):
            click.echo(f"edgevision: {each}", err=True)
        elif not as_json:
            console.stdout().print(measurement_view(artifact, each, top))
    return max((each.exit_code for each in lost), default=0)


def _tell(text: str) -> None:
    click.echo(text, err=True)
