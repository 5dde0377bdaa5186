"""The manifest: the file beside an artifact that says what it is, from what it was made and how it was verified.

The same model, target and versions give the same bytes: it holds no times, no paths and no dates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgevision.artifact import Artifact, CpuVersion, Step
from edgevision.errors import InputError
from edgevision.latency import Verification
from edgevision.model import Model
from edgevision.outcome import coverage
from edgevision.report.json import Json, change, cpu_version, document, dumps, model_entry, step, tensor, verification
from edgevision.target import Target
from edgevision.tensor import TensorSpec


def manifest(
    model: Model, target: Target, artifact: Artifact, record: Verification, fallback: Verification | None = None
) -> Json:  # fmt: skip
    """What `write` writes; ``fallback``: the comparison of the artifact's CPU version. The files of ``artifact`` must exist: their
    sizes and hashes are taken here."""
    original = model_entry(model)
    return document(
        "manifest",
        {
            "name": model.name,
            "target": _target(target),
            "inputs": [tensor(spec) for spec in artifact.inputs],
            "outputs": [tensor(spec) for spec in artifact.outputs],
            "camera": original["camera"],
            "files": {
                "library": _file(artifact.path),
                "header": _file(artifact.header),
                "bench": _file(artifact.bench),
                "model": _file(artifact.model),
            },
            "original": {"sha256": model.sha256, "opset": model.opset, "provenance": dict(model.provenance)},
            "weight_bytes": artifact.weight_bytes,
            "transformed_bytes": artifact.transformed_bytes,
            "arena_bytes": artifact.arena_bytes,
            "dtype": artifact.dtype,
            "versions": dict(sorted(artifact.versions.items())),
            "verification": verification(record),
            "schedules": coverage(artifact.steps),
            "steps": [step(each) for each in artifact.steps],
            "processor": artifact.processor,
            "fallback": cpu_version(artifact.fallback, fallback),
            "changes": [change(each) for each in model.changes],
            "notes": list(model.notes),
        },
    )


def write(
    model: Model, target: Target, artifact: Artifact, record: Verification, fallback: Verification | None = None
) -> None:  # fmt: skip
    """Write the manifest to ``artifact.manifest``."""
    artifact.manifest.write_text(dumps(manifest(model, target, artifact, record, fallback)), encoding="utf-8")


def read(path: Path) -> Mapping[str, Any]:
    """The manifest at ``path``, or, when ``path`` is an artifact's .so, the one that lies beside it.

    Raises:
        InputError: there is none, or it is something else.
    """
    return _read(beside(path) if path.suffix == ".so" else path)


def beside(library: Path) -> Path:
    """The manifest that describes ``library``: the JSON file of its folder that names it.

    Raises:
        InputError: there is none.
    """
    if not library.is_file():
        raise InputError(f"{library}: no such file; give the .so that a compile wrote")
    for path in sorted(library.parent.glob("*.json")):
        try:
            if _read(path)["files"]["library"]["name"] == library.name:
                return path
        except InputError:
            continue
    raise InputError(f"{library}: no manifest lies beside it; keep the files of a compile together")


def artifact_of(library: Path) -> Artifact:
    """The artifact at ``library``, as the manifest beside it describes it.

    Raises:
        InputError: there is no such file, or no manifest beside it.
    """
    path = beside(library)
    described = _read(path)
    files = {role: library.parent / file["name"] for role, file in described["files"].items()}
    return Artifact(
        path=library,
        header=files["header"],
        bench=files["bench"],
        model=files["model"],
        manifest=path,
        target=described["target"]["name"],
        inputs=tuple(_spec(entry) for entry in described["inputs"]),
        outputs=tuple(_spec(entry) for entry in described["outputs"]),
        sha256=described["files"]["library"]["sha256"],
        model_sha256=described["original"]["sha256"],
        weight_bytes=described["weight_bytes"],
        arena_bytes=described["arena_bytes"],
        file_bytes=described["files"]["library"]["bytes"],
        versions=described["versions"],
        steps=_steps(described["steps"]),
        processor=described.get("processor", "cpu"),  # manifests of 0.1.0 do not say
        fallback=_cpu_version(described.get("fallback")),
        dtype=described.get("dtype", "float32"),
        transformed_bytes=described.get("transformed_bytes", 0),
    )


def _steps(entries: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    return tuple(Step(name=s["name"], ops=tuple(s["ops"]), macs=s["macs"], schedule=s["schedule"]) for s in entries)


def _cpu_version(entry: Mapping[str, Any] | None) -> CpuVersion | None:
    if entry is None:
        return None
    return CpuVersion(
        target=entry["target"], weight_bytes=entry["weight_bytes"], arena_bytes=entry["arena_bytes"], steps=_steps(entry["steps"]),
        transformed_bytes=entry.get("transformed_bytes", 0),
    )  # fmt: skip


def check_bench(artifact: Artifact) -> None:
    """Raises: InputError, when the -bench program is another than the one that was compiled with the library."""
    expected = _read(artifact.manifest)["files"]["bench"]["sha256"]
    if not artifact.bench.is_file():
        raise InputError(f"{artifact.bench}: no such file; keep the files of a compile together")
    if sha256(artifact.bench.read_bytes()).hexdigest() != expected:
        raise InputError(f"{artifact.bench} is not the one that was compiled with {artifact.path}; compile the network again")


def _spec(entry: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(name=entry["name"], shape=tuple(entry["shape"]), dtype=entry["dtype"], layout=entry["layout"])


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a manifest: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != "manifest":
        raise InputError(f"{path}: JSON, but not the manifest of an artifact")
    return content


def _target(target: Target) -> Json:
    return {
        "name": target.name,
        "triple": target.triple,
        "cpu": target.cpu,
        "features": list(target.features),
        "cores": target.cores,
    }


def _file(path: Path) -> Json:
    content = path.read_bytes()
    return {"name": path.name, "bytes": len(content), "sha256": sha256(content).hexdigest()}
