"""`edgevision evaluate`, `run` and `bench` on a classifier by brightness."""

from __future__ import annotations

import json
from pathlib import Path

import click
import jsonschema
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from edgevision import target as targets
from edgevision.artifact import Artifact, Step
from edgevision.cli.bench import bench
from edgevision.cli.evaluate import evaluate
from edgevision.cli.run import run
from edgevision.errors import InputError
from edgevision.measure.verify import skipped
from edgevision.model import Model
from edgevision.report import manifest
from edgevision.report.json import SCHEMA
from edgevision.tensor import TensorSpec
from tests.measure.photographs import folder_of_images, save_classifier
from tests.runtime.fake_artifact import SOURCE, build

IMAGE = TensorSpec(name="image", shape=(1, 3, 4, 4), layout="NCHW")
SCORES = TensorSpec(name="scores", shape=(1, 6))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with everything that a compile writes beside it."""
    folder = tmp_path_factory.mktemp("brightness.native")
    path = build(folder / "brightness.so", "BIAS=0.1f", source=SOURCE.parent / "brightness.c")
    files = {"header": folder / "edgevision.h", "bench": folder / "brightness-bench"}
    for file in files.values():
        file.touch()
    original = save_classifier(folder / "brightness.onnx")
    artifact = Artifact(
        path=path, model=original, manifest=folder / "brightness.json", **files, target="native", inputs=(IMAGE,),
        outputs=(SCORES,), sha256="", model_sha256="", weight_bytes=0, arena_bytes=216, file_bytes=0, versions={},
        steps=(Step(name="mean", ops=("ReduceMean",), macs=0, schedule="fallback"),),
    )  # fmt: skip
    model = Model(
        name="brightness", proto=onnx.load(original), inputs=(IMAGE,), outputs=(SCORES,), opset=17, sha256="",
        original=original,
    )  # fmt: skip
    manifest.write(model, targets.load("x86_64"), artifact, skipped())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of_images(tmp_path / "photos")


def ran(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def fits_the_schema(text: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(text)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    return document


def test_an_artifact_is_compared_with_the_model_beside_it(library: Path, photos: Path) -> None:
    found = fits_the_schema(ran(evaluate, library, "--data", photos, "--json").stdout)
    assert found["networks"] == [
        {"network": "original", "top1": 1.0, "top5": 1.0},
        {"network": "artifact", "top1": 0.6, "top5": 1.0},
    ]
    assert (found["images"], found["classes"], found["agreement"]) == (15, 6, 0.6)


def test_a_model_alone_and_with_its_artifact(library: Path, photos: Path) -> None:
    model = library.with_suffix(".onnx")
    alone = fits_the_schema(ran(evaluate, model, "--data", photos, "--json").stdout)
    assert [n["network"] for n in alone["networks"]] == ["original"]  # type: ignore[attr-defined]
    printed = ran(evaluate, model, "--data", photos, "--artifact", library, "--limit", 10).stdout
    assert "10 images" in printed and "100.00%" in printed and "60.00%" in printed


def test_preprocessing_and_damaged_images(library: Path, photos: Path) -> None:
    (photos / "3" / "1.png").write_bytes(b"damaged")
    arguments = (evaluate, library.with_suffix(".onnx"), "--data", photos)
    result = ran(*arguments, "--mean", "0,0,0", "--std", "765,765,765", "--json")
    assert "skipped" in result.stderr and "3/1.png: cannot identify" in result.stderr
    found = fits_the_schema(result.stdout)
    assert found["images"] == 14 and found["networks"][0]["top1"] == pytest.approx(3 / 14)  # type: ignore[index]
    assert "1 unreadable images skipped" in ran(*arguments).stdout
    refused = ran(*arguments, "--mean", "grey")
    assert refused.exit_code == 2 and "'grey' is not a list of numbers" in refused.stderr


def test_evaluate_refuses_what_proves_nothing(tmp_path: Path, library: Path, photos: Path) -> None:
    with pytest.raises(InputError, match="images of 1 class"):
        ran(evaluate, library, "--data", folder_of_images(tmp_path / "one", classes=1))
    with pytest.raises(InputError, match="gone.so: no such file"):
        ran(evaluate, tmp_path / "gone.so", "--data", photos)


def test_run_reads_and_writes_arrays(tmp_path: Path, library: Path) -> None:
    np.save(tmp_path / "image.npy", np.full((1, 3, 4, 4), 0.5, np.float32))
    printed = ran(run, library, "-i", tmp_path / "image.npy", "-o", tmp_path / "scores").stdout
    assert printed == "scores: float32[1,6]: -0.5625 to 0.0375\n"
    expected = np.float32([[-0.25, 0.0375, 0, -0.0625, -0.25, -0.5625]])
    np.testing.assert_allclose(np.load(tmp_path / "scores"), expected, atol=1e-6)


def test_run_refuses_other_files(tmp_path: Path, library: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "right.npy", np.zeros((1, 3, 4, 4), np.float32))
    (tmp_path / "text.npy").write_text("hello")
    for name, message in [("two.npz", "archive of several arrays"), ("objects.npy", "not an array saved by numpy.save"),
                          ("text.npy", "not an array saved by numpy.save"), ("gone.npy", "no such file")]:  # fmt: skip
        with pytest.raises(InputError, match=f"{name}: .*{message}"):
            ran(run, library, "-i", tmp_path / name)
    with pytest.raises(InputError, match="takes 1 inputs .* but 0 were given"):
        ran(run, library)
    with pytest.raises(InputError, match="has 1 outputs, but 2 --output files were given"):
        ran(run, library, "-i", tmp_path / "right.npy", "-o", "a", "-o", "b")
    with pytest.raises(InputError, match="cannot be written: No such file"):
        ran(run, library, "-i", tmp_path / "right.npy", "-o", tmp_path / "gone" / "scores.npy")


def test_bench_measures_and_profiles(library: Path) -> None:
    arguments = (bench, library, "--threads", 1, "--seconds", 0.2)
    latency = fits_the_schema(ran(*arguments, "--json").stdout)["latency"]
    assert latency["how"] == "measured" and latency["threads"] == 1  # type: ignore[index]
    assert latency["steps"] == [{"name": "mean", "median_us": 2.0, "macs": 0}]  # type: ignore[index]
    printed = ran(*arguments).stdout
    assert "the 1 longest of 1 operators" in printed and "100.0%" in printed
    assert "longest" not in ran(*arguments, "--top", 0).stdout
