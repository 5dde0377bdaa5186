"""The ImageNet-trained MobileNetV2 on real photographs: same top-5 as onnxruntime, logits within 1e-4 of their
range."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from edgevision import target as targets
from edgevision import zoo
from edgevision.artifact import Artifact
from edgevision.link import toolchain
from edgevision.measure.emulator import Emulator
from edgevision.measure.local import LocalDevice
from edgevision.pipeline import CameraOptions, Options, compile_model
from tests.graphs import trained

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
EXPECTED = {"chelsea": {281, 282, 285}, "coffee": {967, 504}}
"""scikit-image's photographs, and the ImageNet classes that are right for them: tabby, tiger or Egyptian cat;
espresso or mug."""
PHOTOGRAPHS = (*EXPECTED, "astronaut", "rocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The exported network, its photographs as pixels [224, 224, 3], and its logits in onnxruntime."""

    path: Path
    pixels: dict[str, np.ndarray]
    logits: dict[str, np.ndarray]


def prepared(pixels: np.ndarray) -> np.ndarray:
    image = (pixels.astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)


def _photograph(name: str) -> np.ndarray:
    from skimage import data

    return np.asarray(getattr(data, name)())[..., :3]


def _pixels(name: str) -> np.ndarray:
    """The middle square of a photograph at 224 x 224."""
    image = Image.fromarray(_photograph(name))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.convert("RGB").resize((224, 224), box=(left, top, left + side, top + side)))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    try:
        weights = trained.mobilenetv2(trained.cache_folder())
    except trained.NotObtainableError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("trained") / "mobilenetv2.onnx"
    zoo.export("mobilenetv2-1.0", path, weights=weights)
    session = onnxruntime.InferenceSession(path)
    pixels = {name: _pixels(name) for name in PHOTOGRAPHS}
    logits = {name: session.run(None, {"input": prepared(p)})[0] for name, p in pixels.items()}
    yield Trained(path=path, pixels=pixels, logits=logits)


@pytest.mark.trained
def test_the_weights_are_the_real_ones(network: Trained) -> None:
    for name, classes in EXPECTED.items():
        assert int(network.logits[name].argmax()) in classes


def _run(artifact: Artifact, image: np.ndarray) -> np.ndarray:
    target = targets.load(artifact.target)
    runner = toolchain.link_runner(target) if target.emulator else None
    device = Emulator(target=target, runner=runner) if target.emulator else LocalDevice()
    return device.execute(artifact, [[image]])[0][0]


@pytest.mark.trained
@pytest.mark.qemu
@pytest.mark.parametrize("target", ["native", "arm64"])
def test_top_five_and_logits_are_onnxruntimes(target: str, network: Trained, tmp_path: Path) -> None:
    options = Options(output=tmp_path, measure=False)
    (outcome,) = compile_model(network.path, [target], options).outcomes
    for name, pixels in network.pixels.items():
        actual, expected = _run(outcome.artifact, prepared(pixels)), network.logits[name]
        assert np.abs(actual - expected).max() <= 1e-4 * np.ptp(expected)
        assert np.argsort(actual[0])[-5:].tolist() == np.argsort(expected[0])[-5:].tolist(), name


@pytest.mark.trained
@pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")
def test_the_c_example_classifies_pixels_of_a_camera(network: Trained, tmp_path: Path) -> None:
    """examples/c, built with its own CMakeLists.txt, on two artifacts: one takes floats, one takes the camera's
    bytes."""
    camera = CameraOptions(input_layout="nhwc", input_dtype="uint8", mean=tuple(255 * MEAN), std=tuple(255 * STD))
    libraries = []
    for folder, chosen in (("plain", None), ("camera", camera)):
        options = Options(output=tmp_path / folder, camera=chosen, measure=False)
        libraries.append(compile_model(network.path, options=options).outcomes[0].artifact.path)
    program = _built(tmp_path)
    for name, classes in EXPECTED.items():
        picture = tmp_path / f"{name}.ppm"
        Image.fromarray(_photograph(name)).save(picture)
        command = [str(program), str(picture), *map(str, libraries)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        ranked = [int(number) for number in re.findall(r"class (\d+)", done.stdout)]
        assert len(ranked) == 10
        assert ranked[0] in classes, done.stdout
        assert ranked[:5] == ranked[5:]


def _built(folder: Path) -> Path:
    """The example's `classify`, with zig as the C compiler."""
    example = Path(__file__).parents[2] / "examples" / "c"
    compiler = folder / "cc"
    compiler.write_text(f'#!/bin/sh\nexec {sys.executable} -m ziglang cc "$@"\n')
    compiler.chmod(0o755)
    build, environment = folder / "build", {**os.environ, "CC": str(compiler)}
    for command in (["cmake", "-S", str(example), "-B", str(build)], ["cmake", "--build", str(build)]):
        subprocess.run(command, check=True, capture_output=True, env=environment)
    return build / "classify"
