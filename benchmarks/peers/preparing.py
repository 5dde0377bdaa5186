"""Each runtime's own form of a network, made once and kept until the network, the pins or the sources change."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.case import Case, Runtime
from benchmarks.peers.child import CHECKOUT, Child, WorkerError
from benchmarks.peers.environment import CONSTRAINTS, Environment

CONVERT_TIMEOUT_S = 600
"""IREE takes a minute or two over ParNet when the machine is busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """``folder`` holds what the runtime loads; ``seconds`` is how long it took to make."""

    folder: Path
    seconds: float

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())


def prepare(runtime: Runtime, case: Case, environment: Environment, root: Path, cores: list[int]) -> Prepared:
    """Convert ``case`` for ``runtime`` unless that was done before.

    Raises:
        WorkerError: the runtime cannot convert it. That is kept too: it costs minutes to find out again.
    """
    place = root / case.name / runtime.name
    note = place.with_name(f"{runtime.name}.json")
    key = _key(runtime, case)
    if note.exists() and (kept := json.loads(note.read_text(encoding="utf-8")))["key"] == key:
        if kept["reason"]:
            raise WorkerError(runtime.name, kept["reason"])
        return Prepared(folder=place, seconds=kept["seconds"])
    note.unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    seconds, reason = 0.0, ""
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        made, log = Path(scratch, "made"), Path(scratch, "log")
        made.mkdir()
        python = environment.interpreter(runtime)
        with Child(python, "convert", runtime.name, case, made, len(cores), cores, log) as child:
            try:
                seconds = child.answer(CONVERT_TIMEOUT_S)["seconds"]
            except WorkerError as error:
                reason = f"not converted: {error.reason}"
        made.rename(place)
    note.write_text(json.dumps({"key": key, "seconds": seconds, "reason": reason}), encoding="utf-8")
    if reason:
        raise WorkerError(runtime.name, reason)
    return Prepared(folder=place, seconds=seconds)


def _key(runtime: Runtime, case: Case) -> str:
    """Changes with whatever could change what is converted."""
    digest = hashlib.sha256(case.onnx.read_bytes())
    if runtime.ours:
        sources = sorted(p for p in (CHECKOUT / "edgevision").rglob("*") if p.suffix in (".py", ".c", ".h"))
    else:
        sources = [CONSTRAINTS, Path(__file__).parent / "runtimes" / f"{runtime.name}.py"]
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()
