"""`edgevision evaluate`: accuracy of a network and of its artifact on labelled images."""

from __future__ import annotations

from pathlib import Path

import click


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them: 123.7,116.3,103.5."""

    name = "numbers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 123.7,116.3,103.5", param, ctx)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data", "dataset", type=click.Path(path_type=Path), required=True, metavar="DIR", help=(
    "A folder with a subfolder of images for each class, or the idx files of Fashion-MNIST."))  # fmt: skip
@click.option("--artifact", type=click.Path(path_type=Path), help="An artifact of the model, evaluated beside it.")
@click.option("--mean", type=Numbers(), default="0", show_default=True, help="Subtracted from pixels of 0 to 255.")
@click.option("--std", type=Numbers(), default="255", show_default=True, help="Then divided by, one or one a channel.")
@click.option("--limit", type=click.IntRange(min=1), help="Use this many images, taken from all classes in turn.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads of the artifact; 0: one a core.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of a table.")
def evaluate(
    file: Path,
    dataset: Path,
    artifact: Path | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    limit: int | None,
    threads: int,
    as_json: bool,
) -> None:
    """Top-1 and top-5 of FILE, an .onnx model or an artifact's .so, on the labelled images in DIR.

    An artifact is compared with the rewritten .onnx that lies beside it.
    """
    from edgevision.measure.dataset import open_dataset
    from edgevision.measure.evaluate import Preprocessing, evaluate_files
    from edgevision.report import manifest
    from edgevision.report.accuracy import evaluation_report, evaluation_view
    from edgevision.report.json import dumps

    if file.suffix == ".so":
        file, artifact = manifest.artifact_of(file).model, file
    images = open_dataset(dataset, limit)
    evaluation = evaluate_files(images, file, artifact, Preprocessing(mean=mean, std=std), threads)
    for skipped in evaluation.skipped:
        click.echo(f"skipped {skipped}", err=True)
    if as_json:
        click.echo(dumps(evaluation_report(evaluation, dataset)), nl=False)
        return
    from edgevision.report import console

    console.stdout().print(evaluation_view(evaluation, dataset))
