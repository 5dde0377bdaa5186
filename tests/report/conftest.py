"""An outcome with every kind of field, on files that exist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx.parser
import pytest

from edgevision import target as targets
from edgevision.artifact import Artifact, Step
from edgevision.latency import DeviceInfo, Latency, StepTime, TensorError, Verification
from edgevision.model import Camera, Change, Model
from edgevision.outcome import EMULATED, Outcome
from edgevision.tensor import TensorSpec

IMAGE = TensorSpec(name="image", shape=(1, 8, 8, 3), dtype="uint8", layout="NHWC")
SCORES = TensorSpec(name="scores", shape=(1, 4))


@pytest.fixture
def model() -> Model:
    graph = "g (float[1,4] x) => (float[1,4] y) { y = Relu(x) }"
    proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> ' + graph)
    return Model(
        name="tiny",
        proto=proto,
        inputs=(IMAGE,),
        outputs=(SCORES,),
        opset=17,
        sha256="ab" * 32,
        original=b"",
        camera=Camera(input="image", layout="NHWC", dtype="uint8", mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)),
        changes=(Change(rule="merge", count=3, refusals=("conv_7: the border is not zero",)),),
        notes=("onnxsim crashed; went on without it",),
        provenance={"producer": "pytorch 2.13"},
    )


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    paths = {"path": "tiny.so", "header": "edgevision.h", "bench": "tiny-bench", "model": "tiny.onnx"}
    for name in paths.values():
        (tmp_path / name).write_bytes(name.encode() * 3)
    return Artifact(
        **{role: tmp_path / name for role, name in paths.items()},
        manifest=tmp_path / "tiny.json",
        target="arm64",
        inputs=(IMAGE,),
        outputs=(SCORES,),
        sha256="cd" * 32,
        model_sha256="ab" * 32,
        weight_bytes=13_900_000,
        arena_bytes=6_000_000,
        file_bytes=14_400_000,
        versions={"tvm": "0.27.0", "edgevision": "0.1.0"},
        steps=(
            Step(name="conv_relu", ops=("Conv", "Relu"), macs=2_000_000, schedule="template:conv2d"),
            Step(name="depthwise", ops=("Conv",), macs=500_000, schedule="template:depthwise"),
            Step(name="resize", ops=("Resize",), macs=0, schedule="fallback"),
        ),
    )


@pytest.fixture
def verification() -> Verification:
    return Verification(
        how="native",
        inputs_tried=3,
        seed=0,
        errors=(TensorError(name="scores", error=2.3456e-7, allowed=1e-4),),
        reference="onnxruntime 1.31.1",
    )


@pytest.fixture
def latency() -> Latency:
    return Latency(
        samples_ms=(5.2, 5.0, 5.1, 5.3, 5.1, 9.9),
        warmup=12,
        threads=2,
        device=DeviceInfo(name="this machine", cpu="Cortex-A76", cores=4, transport="local process"),
        how="measured",
        artifact_sha256="cd" * 32,
        steps=(
            StepTime(name="conv_relu", median_us=1000.0, macs=2_000_000),
            StepTime(name="depthwise", median_us=500.0, macs=500_000),
            StepTime(name="resize", median_us=2500.0, macs=0),
        ),
    )


@pytest.fixture
def outcomes(artifact: Artifact, verification: Verification, latency: Latency) -> tuple[Outcome, ...]:
    """Measured here, emulated, and not verified at all."""
    native, arm64 = targets.load("x86_64"), targets.load("arm64")
    emulated = replace(verification, how="qemu", inputs_tried=1)
    skipped = Verification(how="skipped", inputs_tried=0, seed=0, errors=(), reference="")
    return (
        Outcome(target=native, artifact=artifact, verification=verification, latency=latency, build_s=12.34567),
        Outcome(target=arm64, artifact=artifact, verification=emulated, not_measured=EMULATED),
        Outcome(target=arm64, artifact=artifact, verification=skipped, not_measured=EMULATED),
    )
