"""`edgevision compile`: the main job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgevision.errors import InputError

if TYPE_CHECKING:
    from edgevision.pipeline import CameraOptions, Compilation
    from edgevision.pruned_model import PruneOptions

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(name="compile")
@click.argument("source", metavar="MODEL")
@click.option("-t", "--target", "names", multiple=True, default=("native",), show_default=True,
              help="A target's name (`edgevision targets`) or a path to a .toml; may be given repeatedly.")  # fmt: skip
@click.option("-o", "--output", type=FOLDER, help="Folder for the artifact [default: build/<model>.<target>].")
@click.option("--input-shape", "shapes", multiple=True, metavar="[NAME:]N,C,H,W",
              help="Fix an input's open dimensions; once an input.")  # fmt: skip
@click.option("--no-simplify", is_flag=True, help="Leave onnxsim out.")
@click.option("--no-reparam", is_flag=True, help="Leave linear branches apart (`edgevision reparam` merges them alone).")
@click.option("--prune", metavar="WHAT=SHARE",
              help="Compile with fewer channels: keep=0.7, macs=0.5 or params=0.5 (docs/prune.md).")  # fmt: skip
@click.option("--prune-importance", type=click.Choice(["l1", "l2", "bn", "fpgm", "random"]), default="l1", show_default=True,
              help="What says which channels matter to --prune.")  # fmt: skip
@click.option("--cpu", help="Override the target's CPU (LLVM's name).")
@click.option("--features", metavar="+A,-B", help="Override the target's instruction set features.")
@click.option("--cores", type=click.IntRange(1, 64), help="Override the target's number of cores.")
@click.option(
    "--input-layout", type=click.Choice(["nchw", "nhwc"]), help="Layout in which the artifact takes its image."
)
@click.option("--input-dtype", type=click.Choice(["float32", "uint8"]), help="Type in which it takes it.")
@click.option("--mean", help="Per-channel mean to subtract, in the input's units, comma-separated.")
@click.option("--std", help="Per-channel standard deviation to divide by, comma-separated.")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True,
              help="What a GPU keeps weights and activations in; it computes in float32 either way (docs/gpu.md).")  # fmt: skip
@click.option("--symbol-prefix", default="", help="Export PREFIX_get_api too, to link several models into one program.")
@click.option("--threads", type=click.IntRange(1, 64), help="Threads for measuring [default: the target's cores].")
@click.option("--no-winograd", is_flag=True, help=(
    "Compute 3x3 convolutions and large depthwise kernels directly: slower, rounding errors smaller."))  # fmt: skip
@click.option("--store-transformed", is_flag=True, help=(
    "Keep Winograd's weights in the library as its kernels read them: it is larger and starts sooner."))  # fmt: skip
@click.option("--tuning-logs", type=FOLDER, help="Look here first for tuned schedules (`edgevision tune` writes them).")
@click.option("--no-tuning-logs", is_flag=True, help="Use no tuned schedule, not even those that come with edgevision.")
@click.option("--tune", type=click.IntRange(min=1), metavar="N",
              help="Make N trials first, into --tuning-logs [default: tuning_logs].")  # fmt: skip
@click.option("--with-cpu-fallback", is_flag=True,
              help="Put a version for the host's CPU beside a GPU's, for where the GPU is missing or lost.")  # fmt: skip
@click.option("--compare-cpu", is_flag=True,
              help="Time a GPU beside the CPU, operator by operator; the artifact gets the CPU version too.")  # fmt: skip
@click.option("--emit-source", "languages", multiple=True, type=click.Choice(["metal", "webgpu"]),
              help="Write a GPU's kernels, their weights and the launch plan in this language too; not run here.")  # fmt: skip
@click.option("--no-verify", is_flag=True, help="Do not run the artifact against onnxruntime; the manifest records it.")
@click.option("--no-measure", is_flag=True, help="Do not time the artifact.")
@click.option("--profile", is_flag=True, help="Print the longest operators too.")
@click.option("--dump-ir", type=FOLDER, help="Write the module after each lowering phase.")
@click.option("--keep-failed", type=FOLDER, help="Keep the pieces of an artifact that failed verification.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON (docs/json.md).")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def compile_(source: str, names: tuple[str, ...], as_json: bool, quiet: bool, profile: bool, **given: Any) -> None:
    """Compile MODEL (.onnx, a torch.export .pt2, or zoo:NAME) to a self-contained .so for each target.

    Every artifact is run against onnxruntime on the original file before it is written; on this machine it is timed
    too.
    """
    from edgevision.ingest import parse_input_shapes
    from edgevision.pipeline import Options, compile_model

    if given["compare_cpu"] and given["no_measure"]:
        raise click.UsageError("--compare-cpu measures; leave --no-measure out")
    threads = given["threads"] or 0
    options = Options(
        output=given["output"],
        input_shapes=parse_input_shapes(given["shapes"]) if given["shapes"] else None,
        simplify=not given["no_simplify"],
        reparam=not given["no_reparam"],
        prune=_pruning(given["prune"], given["prune_importance"]),
        cpu=given["cpu"],
        features=given["features"].split(",") if given["features"] else None,
        cores=given["cores"],
        camera=_camera(given),
        symbol_prefix=given["symbol_prefix"],
        winograd=not given["no_winograd"],
        transform_on_load=not given["store_transformed"],
        tuning_logs=(given["tuning_logs"],) if given["tuning_logs"] else (),
        shipped_logs=not given["no_tuning_logs"],
        tune=given["tune"] or 0,
        cpu_fallback=given["with_cpu_fallback"],
        compare_cpu=given["compare_cpu"],
        emit_source=tuple(dict.fromkeys(given["languages"])),
        verify=not given["no_verify"],
        measure=not given["no_measure"],
        dtype=given["dtype"],
        threads=threads,
        dump_ir=given["dump_ir"],
        keep_failed=given["keep_failed"],
    )
    with stages(quiet=quiet) as progress:
        result = compile_model(source, names, options, progress)
    _print(result, as_json=as_json, profile=profile)


def _camera(given: dict[str, Any]) -> CameraOptions | None:
    from edgevision.pipeline import CameraOptions

    if not any(given[k] for k in ("input_layout", "input_dtype", "mean", "std")):
        return None
    return CameraOptions(
        input_layout=given["input_layout"] or "nchw", input_dtype=given["input_dtype"] or "float32",
        mean=_numbers("--mean", given["mean"]), std=_numbers("--std", given["std"]),
    )  # fmt: skip


def _pruning(text: str | None, importance: str) -> PruneOptions | None:
    """macs=0.5"""
    from edgevision.pruned_model import PruneOptions
    from edgevision.rewrite.prune.pruning import MEASURES

    if text is None:
        return None
    measure, _, share = text.partition("=")
    try:
        wanted = float(share)
    except ValueError:
        wanted = 0.0
    if measure not in MEASURES or not 0 < wanted < 1:
        raise InputError(
            f"--prune {text}: give keep=, macs= or params= and the share that stays, between 0 and 1, for instance "
            "macs=0.5; a latency is found by `edgevision prune --latency` first"
        )
    return PruneOptions(measure=measure, share=wanted, importance=importance)


def _numbers(flag: str, text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise InputError(
            f"{flag} {text}: not numbers separated by commas; write for example 0.485,0.456,0.406"
        ) from None


@contextmanager
def stages(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on a terminal, a line a stage elsewhere, nothing with --quiet; always on stderr."""
    if quiet:
        yield lambda _: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage: click.echo(stage, err=True)
        return
    with console.status("starting") as status:
        yield lambda stage: status.update(stage)


def _print(result: Compilation, *, as_json: bool, profile: bool) -> None:
    from edgevision.report import json, side_by_side, table

    if as_json:
        click.echo(json.dumps(json.compile_report(result.model, result.outcomes)), nl=False)
        return
    from edgevision.report.console import stdout

    console = stdout()
    for note in result.model.notes:
        click.echo(f"note: {note}")
    console.print(table.compile_table(result.model.name, result.outcomes))
    for outcome in result.outcomes:
        if profile and outcome.latency:
            console.print(table.profile_table(outcome.artifact, outcome.latency))
        if outcome.side_by_side:
            console.print(side_by_side.view(outcome.side_by_side))
        for path in (outcome.artifact.path, *outcome.sources):
            click.echo(path)
