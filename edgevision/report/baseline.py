"""base.json: which artifact is the baseline, and how it was when it became that."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgevision.artifact import Artifact
from edgevision.bout import Bout
from edgevision.errors import InputError
from edgevision.modelled import ModelledCost
from edgevision.report.check import bout_entry
from edgevision.report.json import Json, document, dumps
from edgevision.report.manifest import artifact_of
from edgevision.report.modelled import cost_entry, cost_of


class BaselineError(InputError):
    """A baseline that is not what it was."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """``artifact`` is None where only modelled costs were saved."""

    artifact: Artifact | None
    costs: tuple[ModelledCost, ...] = ()


def save(path: Path, artifact: Artifact | None, bout: Bout | None, costs: Sequence[ModelledCost]) -> None:
    """Write base.json; the artifact's path is relative to it, so that both can move together."""
    named = None
    if artifact is not None:
        library = Path(os.path.relpath(artifact.path.resolve(), path.resolve().parent))
        named = {
            "library": library.as_posix(), "sha256": _digest(artifact.path), "bench_sha256": _digest(artifact.bench),
            "target": artifact.target, "model_sha256": artifact.model_sha256,
        }  # fmt: skip
    content: Json = {
        "artifact": named, "bout": None if bout is None else bout_entry(bout),
        "costs": [cost_entry(each) for each in costs] or None,
    }  # fmt: skip
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(dumps(document("baseline", content)), encoding="utf-8")
    part.replace(path)


def read(path: Path) -> Baseline:
    """The baseline that ``path`` names: base.json, or an artifact's .so.

    Raises:
        BaselineError: no such file, no such document, or its artifact is missing or another one than was saved.
        InputError: a .so without its manifest.
    """
    if path.suffix == ".so":
        return Baseline(artifact=artifact_of(path))
    described = _document(path)
    named = described["artifact"]
    costs = tuple(cost_of(each) for each in described["costs"] or ())
    return Baseline(artifact=None if named is None else _named(path, named), costs=costs)


def _document(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BaselineError(path, (error.strerror or str(error)).lower() + "; `edgevision check --save` writes one") from error
    except ValueError as error:
        raise BaselineError(path, f"no JSON: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != "baseline":
        raise BaselineError(path, "not a baseline: give what `edgevision check --save` wrote, or the .so of a compile")
    return content


def _named(path: Path, named: Mapping[str, Any]) -> Artifact:
    library = path.parent / named["library"]
    again = "build it again as it was, or save a new baseline with `edgevision check --save`"
    if not library.is_file():
        raise BaselineError(path, f"its artifact {library} is missing; {again}")
    artifact = artifact_of(library)
    for file, expected in ((library, named["sha256"]), (artifact.bench, named["bench_sha256"])):
        if not file.is_file():
            raise BaselineError(path, f"{file}, which belongs to its artifact, is missing; {again}")
        if _digest(file) != expected:
            raise BaselineError(path, f"{file} is not what it was (SHA-256 {_digest(file)[:12]}, not {expected[:12]}); {again}")
    return artifact


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
