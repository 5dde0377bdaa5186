"""`edgevision finetune`: train a pruned network again, and say how accurate it is before and after."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgevision.cli.evaluate import Numbers

if TYPE_CHECKING:
    from rich.table import Table

    from edgevision.accuracy import TopOne
    from edgevision.finetuning import Finetuning
    from edgevision.rewrite.prune.finetune.training import Step

RECIPE = ("epochs", "batch", "lr", "weight_decay", "distillation", "temperature", "shift", "flip", "seed")


@click.command()
@click.argument("source", metavar="MODEL")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .onnx file to write.")
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="DIR", help=(
    "Labelled images: train/ and val/ with a subfolder a class, a subfolder a class, or the idx files of Fashion-MNIST."
))  # fmt: skip
@click.option("--teacher", metavar="MODEL", help="The unpruned network, whose scores are learned as well as the labels.")
@click.option("--epochs", type=click.IntRange(min=1), required=True, help="Passes over the training images.")
@click.option("--from-scratch", is_flag=True, help="Train the same architecture from fresh weights too, and report both.")
@click.option("--batch", type=click.IntRange(min=2), default=128, show_default=True, help="Images a step.")
@click.option("--lr", type=float, default=0.1, show_default=True, help="Highest learning rate.")
@click.option("--weight-decay", type=click.FloatRange(min=0), default=1e-4, show_default=True, help="Of filters.")
@click.option("--distillation", type=click.FloatRange(0, 1), default=0.9, show_default=True,
              help="Share of the loss that comes from the teacher.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=4.0, show_default=True,
              help="Softens what teacher and student say.")  # fmt: skip
@click.option("--shift", type=click.IntRange(min=0), default=2, show_default=True,
              help="Training images are moved by up to so many pixels.")  # fmt: skip
@click.option("--flip/--no-flip", default=True, show_default=True,
              help="Training images are mirrored left to right half the time; not for text.")  # fmt: skip
@click.option("--mean", type=Numbers(), default="0", show_default=True, help="Subtracted from pixels of 0 to 255.")
@click.option("--std", type=Numbers(), default="255", show_default=True, help="Then divided by, one or one a channel.")
@click.option("--limit", type=click.IntRange(min=1), help="Use this many images of each part, of all classes in turn.")
@click.option("--input-shape", "shapes", multiple=True, metavar="[NAME:]N,C,H,W", help="Fix MODEL's open dimensions.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is random.")
@click.option("--threads", type=click.IntRange(min=0), default=0,
              help="0: as many as torch chooses. With 1, the same seed gives the same bits.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue where a run with these options was killed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of a table.")
def finetune(source: str, output: Path, shapes: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Train MODEL (a pruned .onnx) on labelled images, and write it with the same graph and new weights.

    The accuracy before and after is measured in onnxruntime on images that training does not see.
    """
    from edgevision import finetuning
    from edgevision.ingest import parse_input_shapes
    from edgevision.measure.evaluate import Preprocessing
    from edgevision.rewrite.prune.finetune.recipe import Recipe

    recipe = Recipe(**{name: given.pop(name) for name in RECIPE})
    preprocessing = Preprocessing(mean=given.pop("mean"), std=given.pop("std"))
    with _progress() as progress:
        result = finetuning.finetune(
            source, output, recipe=recipe, preprocessing=preprocessing, progress=progress,
            input_shapes=parse_input_shapes(shapes) if shapes else None, **given,
        )  # fmt: skip
    for skipped in result.skipped:
        click.echo(f"skipped {skipped}", err=True)
    if as_json:
        from edgevision.report.json import dumps

        click.echo(dumps(_report(result)), nl=False)
        return
    from edgevision.report.console import stdout

    stdout().print(_table(result))
    for line in _lines(result):
        click.echo(line)


@contextmanager
def _progress() -> Iterator[Callable[[str, Step], None]]:
    """A bar on a terminal, else a line an epoch; both on standard error."""
    if not sys.stderr.isatty():
        yield _say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[where]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(name: str, step: Step) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=step.steps, where="")
            where = f"epoch {step.epoch}/{step.epochs}, loss {step.loss:.3f}"
            bars.update(tasks[name], completed=step.step, where=where)

        yield show


def _say(name: str, step: Step) -> None:
    if step.step * step.epochs % step.steps == 0:
        click.echo(f"{name}: epoch {step.epoch} of {step.epochs}, loss {step.loss:.3f}", err=True)


def _rows(result: Finetuning) -> dict[str, TopOne | None]:
    return {
        "teacher": result.teacher, "before": result.before, "fine-tuned": result.after, "from scratch": result.scratch,
    }  # fmt: skip


def _table(result: Finetuning) -> Table:
    from rich.table import Table

    table = Table(title=f"{result.model.name}: {result.after.images} images that training did not see", title_justify="left")
    table.add_column("")
    table.add_column("top-1", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, score in _rows(result).items():
        if score is not None:
            low, high = score.interval
            table.add_row(name, f"{score.share:.2%}", f"{low:.2%} to {high:.2%}")
    return table


def _lines(result: Finetuning) -> Iterator[str]:
    if result.skipped:
        yield f"{len(result.skipped)} unreadable images skipped"
    if result.scratch is not None:
        better, worse = ("from scratch", result.after) if result.scratch.correct > result.after.correct else (
            "fine-tuned", result.scratch)  # fmt: skip
        best = max(result.scratch.correct, result.after.correct) / result.after.images
        clear = "" if best > worse.interval[1] else ", which is within what another set of images could turn around"
        yield f"keep: {better}{clear}"
        yield str(result.scratch_output)
    yield str(result.widths_output)
    yield str(result.output)


def _report(result: Finetuning) -> dict[str, Any]:
    """What ``edgevision finetune --json`` prints."""
    from edgevision.report.json import document

    def entry(score: TopOne | None) -> dict[str, Any] | None:
        if score is None:
            return None
        return {"top1": score.share, "correct": score.correct, "interval": list(score.interval)}

    scores = {name.replace("-", "_").replace(" ", "_"): entry(score) for name, score in _rows(result).items()}
    return document("finetuning", {
        "model": result.model.name, "sha256": result.model.sha256, "output": str(result.output),
        "scratch_output": None if result.scratch_output is None else str(result.scratch_output),
        "widths_output": str(result.widths_output), "images": result.after.images, "trained_on": result.trained_on,
        **scores, "recipe": asdict(result.recipe), "layers": result.widths, "skipped": list(result.skipped),
    })  # fmt: skip
