"""`edgevision inspect` on models, artifacts and other files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnx.parser
import pytest
from click.testing import CliRunner, Result

from edgevision import target as targets
from edgevision.artifact import Artifact, Step
from edgevision.cli.inspect import inspect
from edgevision.errors import EdgevisionError, InputError, ModelFileError
from edgevision.latency import TensorError, Verification
from edgevision.model import Model
from edgevision.report import manifest
from edgevision.report.json import SCHEMA
from edgevision.tensor import TensorSpec

GRAPH = """<ir_version: 8, opset_import: ["" : 17], producer_name: "by hand">
g (float[N,3,8,8] x, float[8,3,3,3] w) => (float[N,8,4,4] y)
<float[8,3,3,3] w> {
    c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w)
    y = Relu(c)
}"""


def save(path: Path, batch: int | str) -> Path:
    proto = onnx.parser.parse_model(GRAPH.replace("N", str(batch)).replace("<float[8,3,3,3] w> ", ""))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w"))
    onnx.save(proto, path)
    return path


def ran(*arguments: object) -> Result:
    return CliRunner().invoke(inspect, [str(a) for a in arguments], catch_exceptions=False)


def test_a_model_as_json(tmp_path: Path) -> None:
    found = json.loads(ran(save(tmp_path / "m.onnx", 1), "--json").stdout)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 3, 8, 8]}]
    assert found["operators"] == {"Conv": 1, "Relu": 1} and found["opset"] == 17
    assert (found["macs"], found["parameters"], found["weight_bytes"]) == (8 * 27 * 16, 216, 864)
    conv, relu = found["layers"]
    assert conv["output_shape"] == [1, 8, 4, 4] and conv["output_bytes"] == 512 and conv["weight_bytes"] == 864
    assert relu["macs"] == 0 and relu["weight_bytes"] == 0


def test_open_shapes_are_named_and_not_counted(tmp_path: Path) -> None:
    found = json.loads(ran(save(tmp_path / "m.onnx", "batch"), "--json").stdout)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    assert found["inputs"][0]["shape"] == ["batch", 3, 8, 8]
    assert found["uncounted"] == ["Conv_0"] and found["layers"][0]["macs"] is None


def test_a_model_for_people(tmp_path: Path) -> None:
    printed = ran(save(tmp_path / "m.onnx", 1)).stdout
    for text in (
        "x: float32[1,3,8,8]",
        "1 Conv, 1 Relu",
        "3,456",
        "3.46 k",
        "216",
        "864 B",
        "1x8x4x4",
        "512 B",
        "by hand",
    ):
        assert text in printed, text
    assert "Relu_1" not in printed and "…" not in printed
    assert "(and 1 layers whose shapes are open)" in ran(save(tmp_path / "o.onnx", "batch")).stdout


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    folder = tmp_path / "tiny.arm64"
    folder.mkdir()
    paths = {"path": "tiny.so", "header": "edgevision.h", "bench": "tiny-bench", "model": "tiny.onnx"}
    for name in paths.values():
        (folder / name).write_bytes(b"content")
    spec = TensorSpec(name="x", shape=(1, 3, 8, 8), layout="NCHW")
    return Artifact(
        **{role: folder / name for role, name in paths.items()},
        manifest=folder / "tiny.json",
        target="arm64",
        inputs=(spec,),
        outputs=(spec,),
        sha256="",
        model_sha256="ab" * 32,
        weight_bytes=864,
        arena_bytes=4096,
        file_bytes=7,
        versions={"tvm": "0.27.0"},
        steps=(Step(name="conv_relu", ops=("Conv", "Relu"), macs=3456, schedule="template:conv2d"),),
    )


@pytest.fixture
def described(tmp_path: Path, artifact: Artifact) -> Artifact:
    path = save(tmp_path / "m.onnx", 1)
    model = Model(
        name="tiny", proto=onnx.load(path), inputs=artifact.inputs, outputs=artifact.outputs, opset=17,
        sha256="ab" * 32, original=path, notes=("onnxsim was left out",),
    )  # fmt: skip
    errors = (TensorError(name="x", error=1.5e-7, allowed=1e-4),)
    record = Verification(how="qemu", inputs_tried=1, seed=0, errors=errors, reference="onnxruntime 1.31.1")
    manifest.write(model, targets.load("arm64"), artifact, record)
    return artifact


def test_an_artifact_is_its_manifest(described: Artifact) -> None:
    """An arm64 library is looked at, not loaded."""
    from_library, from_manifest = ran(described.path, "--json").stdout, ran(described.manifest, "--json").stdout
    assert from_library == from_manifest == described.manifest.read_text()
    printed = ran(described.path).stdout
    for text in ("tiny for arm64", "aarch64-linux-gnu", "qemu: 1 inputs (seed 0)", "1.5e-07", "conv_relu", "3.46 k",
                 "template:conv2d", "onnxsim was left out", "x: float32[1,3,8,8] NCHW"):  # fmt: skip
        assert text in printed, text


def test_a_lonely_library_is_an_error(tmp_path: Path, described: Artifact) -> None:
    (tmp_path / "alone").mkdir()
    with pytest.raises(InputError, match="no manifest lies beside it; keep the files of a compile together"):
        ran(shutil.copy(described.path, tmp_path / "alone"))


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("gone.onnx", None, ModelFileError, "no such file"),
        ("empty.onnx", b"", ModelFileError, "is empty"),
        ("text.onnx", b"hello there", ModelFileError, "not an ONNX model"),
        ("gone.so", None, InputError, "gone.so: no such file"),
        ("report.json", b"{}", InputError, "JSON, but not the manifest"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, name: str, content: bytes | None, error: type[EdgevisionError], message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message) as raised:
        ran(tmp_path / name)
    assert raised.value.exit_code == 2
