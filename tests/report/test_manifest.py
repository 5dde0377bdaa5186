"""The manifest: what it holds, that it is the same twice, and that it is found again."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import jsonschema
import pytest

from edgevision import target as targets
from edgevision.artifact import Artifact
from edgevision.errors import InputError
from edgevision.latency import Verification
from edgevision.model import Model
from edgevision.report import manifest
from edgevision.report.json import SCHEMA

arm64 = targets.load("arm64")


@pytest.fixture
def written(model: Model, artifact: Artifact, verification: Verification) -> Path:
    manifest.write(model, arm64, artifact, verification)
    return artifact.manifest


def test_it_fits_the_schema(written: Path) -> None:
    content = json.loads(written.read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(content)
    assert content["files"]["library"] == {
        "name": "tiny.so", "bytes": 21, "sha256": sha256(b"tiny.so" * 3).hexdigest()
    }  # fmt: skip
    assert content["verification"]["inputs_tried"] == 3 and content["verification"]["how"] == "native"
    assert content["changes"] == [{"rule": "merge", "count": 3, "refusals": ["conv_7: the border is not zero"]}]
    assert list(content["versions"]) == ["edgevision", "tvm"]


def test_the_same_input_gives_the_same_bytes(
    written: Path, model: Model, artifact: Artifact, verification: Verification
) -> None:
    first = written.read_bytes()
    manifest.write(model, arm64, replace(artifact, versions=dict(reversed(artifact.versions.items()))), verification)
    assert written.read_bytes() == first
    assert str(written.parent).encode() not in first


def test_it_is_found_beside_the_library(written: Path, artifact: Artifact) -> None:
    (written.parent / "a.json").write_text("{}")
    (written.parent / "b.json").write_text("not JSON")
    other = json.loads(written.read_text())
    other["files"]["library"]["name"] = "other.so"
    (written.parent / "c.json").write_text(json.dumps(other))
    assert manifest.beside(artifact.path) == written
    assert manifest.read(artifact.path) == manifest.read(written)


def test_an_artifact_is_made_from_it_again(written: Path, artifact: Artifact) -> None:
    again = manifest.artifact_of(artifact.path)
    content = artifact.path.read_bytes()
    assert again == replace(artifact, sha256=sha256(content).hexdigest(), file_bytes=len(content))


def test_what_is_no_manifest_is_refused(tmp_path: Path, artifact: Artifact) -> None:
    refused = "JSON, but not the manifest of an artifact"
    for name, text, message in [
        ("text.json", "hello", "not a manifest"),
        ("list.json", "[1]", refused),
        ("other.json", '{"kind": "compile"}', refused),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=f"{name}: .*{message}"):
            manifest.read(tmp_path / name)
    with pytest.raises(InputError, match=r"gone.json: no such file"):
        manifest.read(tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"tiny.so: no manifest lies beside it; keep the files"):
        manifest.artifact_of(artifact.path)
    with pytest.raises(InputError, match=r"gone.so: no such file"):
        manifest.artifact_of(tmp_path / "gone.so")
