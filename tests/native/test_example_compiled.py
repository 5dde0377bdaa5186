"""The C example on two networks as `edgevision compile` makes them, against onnxruntime on the original files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import PIL.Image
import pytest

from edgevision.pipeline import CameraOptions, Options, compile_model
from tests.native.builds import NATIVE
from tests.native.test_example import answers, build, centre, photograph, run

NAMES = ("mobilenetv2-1.0", "mobilenetv3-small")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAMERA = CameraOptions(
    input_layout="nhwc",
    input_dtype="uint8",
    mean=tuple(255 * value for value in MEAN),
    std=tuple(255 * value for value in STD),
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The original files: mobile0.onnx and mobile1.onnx."""
    pytest.importorskip("torch")
    from edgevision.zoo import export

    folder = tmp_path_factory.mktemp("originals")
    files = {name: folder / f"mobile{number}.onnx" for number, name in enumerate(NAMES)}
    for name, file in files.items():
        export(name, file)
    return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, exported: dict[str, Path]) -> Path:
    """The first network takes normalised floats, the second a camera's bytes; build/ holds the two programs."""
    folder = tmp_path_factory.mktemp("compiled")
    for number, (file, camera) in enumerate(zip(exported.values(), (None, CAMERA), strict=True)):
        options = Options(output=folder, symbol_prefix=f"mobile{number}", camera=camera, verify=False, measure=False)
        compile_model(file, ["native"], options)
    build(folder, folder / "mobile0.so", folder / "mobile1.so", include=folder)
    return folder


def logits(file: Path, picture: PIL.Image.Image) -> np.ndarray:
    """onnxruntime's, on the centre of the photograph as Pillow cuts it out."""
    pixels = np.asarray(centre(picture, 224, 224), np.float32) / 255
    batch = ((pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0]).ravel()


@pytest.mark.parametrize("program", ["classify", "linked"])
def test_both_networks_answer_as_onnxruntime_does(
    folder: Path, exported: dict[str, Path], tmp_path: Path, program: str
) -> None:
    """87.5 % of 256 are the network's 224: the centre is cut out and not scaled, so nothing is rounded otherwise."""
    picture = photograph(256, 256)
    picture.save(tmp_path / "photograph.ppm")
    models = (folder / "mobile0.so", folder / "mobile1.so") if program == "classify" else ()
    done = run(folder / "build" / program, tmp_path / "photograph.ppm", *models)
    assert (done.returncode, done.stderr) == (0, "")
    found = answers(done.stdout)
    assert [name for name, _ in found] == ["mobile0", "mobile1"]
    for (_, best), file in zip(found, exported.values(), strict=True):
        wanted = logits(file, picture)
        reach = np.ptp(wanted)
        assert max(abs(wanted[number] - score) for number, score in best) < 1e-4 * reach
        assert [number for number, _ in best] == np.argsort(-wanted)[:5].tolist()


def test_the_header_beside_an_artifact_is_the_librarys(folder: Path) -> None:
    assert (folder / "edgevision.h").read_bytes() == (NATIVE / "edgevision.h").read_bytes()
