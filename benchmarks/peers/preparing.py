"""Each runtime's own form of a network, made once and kept until the network, the pins or the sources change."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.case import Case, Entrant, Runtime
from benchmarks.peers.child import CHECKOUT, Child, WorkerError
from benchmarks.peers.environment import CONSTRAINTS

CONVERT_TIMEOUT_S = 600
"""IREE takes a minute or two over ParNet when the machine is busy."""


def prepare(runtime: Runtime, python: Path, case: Case, root: Path, cores: Sequence[int]) -> tuple[Entrant, float]:
    """Convert ``case`` for ``runtime`` unless that was done before; with how many seconds it took when it was.

    ``cores``: that it converts on; where `Runtime.per_threads`, as many as the network will run on.

    Raises:
        WorkerError: the runtime cannot convert it.
    """
    name = f"{runtime.name}-{len(cores)}" if runtime.per_threads else runtime.name
    place = root / case.name / name
    note = place.with_name(f"{name}.json")
    kept = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    key = _key(runtime, case)
    if kept.get("key") != key:
        note.unlink(missing_ok=True)
        kept = {"key": key, "seconds": _convert(runtime, python, case, place, cores)}
        note.write_text(json.dumps(kept), encoding="utf-8")
    return Entrant(runtime=runtime, python=python, folder=place), kept["seconds"]


def _convert(runtime: Runtime, python: Path, case: Case, place: Path, cores: Sequence[int]) -> float:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        entrant = Entrant(runtime=runtime, python=python, folder=made)
        with Child(entrant, "convert", case, len(cores), cores, Path(scratch, "log")) as child:
            try:
                seconds: float = child.answer(CONVERT_TIMEOUT_S)["seconds"]
            except WorkerError as error:
                raise WorkerError(runtime.name, f"not converted: {error.reason}") from error
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)
    return seconds


def _key(runtime: Runtime, case: Case) -> str:
    """Changes with whatever could change what is converted."""
    digest = hashlib.sha256(case.onnx.read_bytes())
    if runtime.ours:
        sources = sorted(p for p in (CHECKOUT / "edgevision").rglob("*") if p.suffix in (".py", ".c", ".h"))
    else:
        module = runtime.source.partition(":")[0]
        sources = [CONSTRAINTS, CHECKOUT.joinpath(*module.split(".")).with_suffix(".py")]
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()
