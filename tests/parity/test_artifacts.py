"""Whole artifacts: every target, batches, several inputs and outputs, reproducible bytes, footprint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgevision import runtime
from edgevision.pipeline import CameraOptions, Options, compile_model
from tests.parity import networks

UNTIMED = {"measure": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.mark.qemu("arm64", "armv7")
def test_one_call_compiles_for_every_target(folder: Path, tmp_path: Path) -> None:
    source = networks.small("mobilenetv3-small", 64, folder)
    names = ["native", "x86_64", "arm64", "arm64-android", "armv7"]
    result = compile_model(source, names, Options(output=tmp_path, **UNTIMED))
    assert [o.target.name for o in result.outcomes] == names
    for outcome in result.outcomes:
        assert outcome.verification.how == ("qemu" if "arm" in outcome.target.name else "native")
        assert outcome.verification.passed
        assert outcome.verification.max_error < 1e-4
        record = json.loads(outcome.artifact.manifest.read_text())
        assert record["verification"]["passed"] is True
        assert record["files"]["library"]["sha256"] == hashlib.sha256(outcome.artifact.path.read_bytes()).hexdigest()


def test_batches_run_and_images_do_not_mix(folder: Path, tmp_path: Path) -> None:
    source = networks.small("ghostnet-0.5", 64, folder, batch=3)
    (outcome,) = compile_model(source, options=Options(output=tmp_path, **UNTIMED)).outcomes
    images = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype(np.float32)
    with runtime.load(outcome.artifact.path) as network:
        (together,) = network.run(images)
        (turned,) = network.run(images[::-1])
    assert np.array_equal(together[::-1], turned)
    assert not np.allclose(together[0], together[1])


def test_integers_booleans_and_a_passed_through_input(tmp_path: Path) -> None:
    source = networks.mixed(tmp_path)
    (outcome,) = compile_model(source, options=Options(output=tmp_path / "out", **UNTIMED)).outcomes
    rng = np.random.default_rng(3)
    feed = {
        "image": rng.integers(0, 256, (1, 3, 9, 7)).astype(np.uint8),
        "indices": rng.integers(-10, 10, 4),
        "mask": rng.random((4, 6)) < 0.5,
    }
    expected = onnxruntime.InferenceSession(source).run(None, feed)
    with runtime.load(outcome.artifact.path, threads=1) as network:
        actual = network.run(*feed.values())
    assert [a.dtype for a in actual] == [np.asarray(e).dtype for e in expected]
    assert np.allclose(actual[0], expected[0], rtol=1e-5, atol=1e-5)
    for a, e in zip(actual[1:], expected[1:], strict=True):
        assert np.array_equal(a, e)


@pytest.mark.parametrize("target", ["native", "arm64-android"])
def test_the_same_input_gives_the_same_bytes(target: str, folder: Path, tmp_path: Path) -> None:
    source = networks.small("mobilenetv3-small", 64, folder)
    contents = []
    for place in (tmp_path / "a", tmp_path / "somewhere else"):
        options = Options(output=place, verify=False, **UNTIMED)
        compile_model(source, [target], options)
        contents.append({p.name: p.read_bytes() for p in sorted(place.iterdir())})
    assert contents[0].keys() == contents[1].keys()
    for name, content in contents[0].items():
        assert content == contents[1][name], name


def test_a_camera_is_folded_in(folder: Path, tmp_path: Path) -> None:
    source = networks.small("mobilenetv3-small", 64, folder)
    camera = CameraOptions(input_layout="nhwc", input_dtype="uint8", mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
    (outcome,) = compile_model(source, options=Options(output=tmp_path, camera=camera, **UNTIMED)).outcomes
    pixels = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    plain = (pixels.astype(np.float32) - np.float32(camera.mean)) / np.float32(camera.std)
    session = onnxruntime.InferenceSession(source)
    (expected,) = session.run(None, {"input": np.ascontiguousarray(plain.transpose(0, 3, 1, 2))})
    with runtime.load(outcome.artifact.path) as network:
        assert network.inputs[0].shape == (1, 64, 64, 3)
        (actual,) = network.run(pixels)
    assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()
    assert "Transpose" not in {op for step in outcome.artifact.steps for op in step.ops}


def test_a_library_is_its_weights_and_little_more(folder: Path, tmp_path: Path) -> None:
    """MobileNetV2 at 224: weights plus less than 1 MB, activations under 8 MB."""
    source = networks.small("mobilenetv2-1.0", 224, folder)
    options = Options(output=tmp_path, verify=False, **UNTIMED)
    for outcome in compile_model(source, ["native", "arm64"], options).outcomes:
        artifact = outcome.artifact
        assert artifact.file_bytes - artifact.weight_bytes < 1_000_000
        assert artifact.arena_bytes < 8_000_000
        assert artifact.bench.stat().st_size - artifact.weight_bytes < 1_000_000


def test_winograds_weights_are_made_when_the_library_is_loaded(folder: Path, tmp_path: Path) -> None:
    """The library has the network's own, a quarter or so of what the kernels read; the results are those of one that has these."""
    source, artifacts = networks.dense(folder), []
    for name, on_load in (("small", True), ("ready", False)):
        options = Options(output=tmp_path / name, transform_on_load=on_load, **UNTIMED)
        artifacts.append(compile_model(source, ["native"], options).outcomes[0].artifact)
    small, ready = artifacts
    assert {step.schedule.split()[0] for step in small.steps if step.macs} == {"template:winograd"}
    assert ready.transformed_bytes == 0 < small.transformed_bytes
    assert small.weight_bytes < 0.5 * ready.weight_bytes
    assert small.weight_bytes + small.transformed_bytes > ready.weight_bytes
    image = np.random.default_rng(0).standard_normal((1, 20, 28, 28)).astype(np.float32)
    results = []
    for artifact in artifacts:
        with runtime.load(artifact.path) as one, runtime.load(artifact.path) as other:
            results += [one.run(image)[0], other.run(image)[0]]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_allclose(results[0], results[2], rtol=0, atol=1e-6 * np.abs(results[2]).max())
