"""Cold start, peak memory and size, each from fresh processes with nothing else of this benchmark running."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import bytecode
from benchmarks.peers.case import Case, Entrant
from benchmarks.peers.child import Child

STARTS = 5
START_TIMEOUT_S = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Medians of fresh processes, files in the page cache: those of an untimed start, which leaves the bytecode of a checkout.

    ``import_load_ms``: import of the runtime and load of the network; ``first_run_ms``: the first result after that.
    ``peak_bytes``: VmHWM after it; ``bare_bytes``: the same for Python with numpy and the input alone.
    ``library_bytes``: the shared objects of the runtime's packages that were mapped; ``network_bytes``: its files.
    ``convert_s``: how long those took to make.
    """

    import_load_ms: float
    first_run_ms: float
    peak_bytes: int
    bare_bytes: int
    library_bytes: int
    network_bytes: int
    convert_s: float

    @property
    def start_ms(self) -> float:
        return self.import_load_ms + self.first_run_ms

    @property
    def added_bytes(self) -> int:
        """What the runtime and the network add to a bare Python."""
        return self.peak_bytes - self.bare_bytes

    @property
    def shipped_bytes(self) -> int:
        return self.library_bytes + self.network_bytes


def footprint(entrant: Entrant, case: Case, convert_s: float, cores: Sequence[int], nice: int = 0) -> Footprint:
    """Raises: WorkerError."""
    with tempfile.TemporaryDirectory() as folder:
        environment = bytecode.kept_in(Path(folder)) if entrant.runtime.ours else os.environ
        _, *starts = (_fresh("cold", entrant, case, cores, nice, environment) for _ in range(1 + STARTS))
        bare = _fresh("bare", entrant, case, cores, nice, environment)
    return Footprint(
        import_load_ms=1e3 * median(start["import_load_s"] for start in starts),
        first_run_ms=1e3 * median(start["first_run_s"] for start in starts),
        peak_bytes=round(median(start["peak_bytes"] for start in starts)),
        bare_bytes=bare["peak_bytes"],
        library_bytes=starts[0]["library_bytes"],
        network_bytes=sum(path.stat().st_size for path in entrant.folder.iterdir()),
        convert_s=convert_s,
    )


def _fresh(
    verb: str, entrant: Entrant, case: Case, cores: Sequence[int], nice: int, environment: Mapping[str, str]
) -> dict[str, Any]:  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as logs,
        Child(entrant, verb, case, len(cores), cores, Path(logs, "log"), nice, environment) as child,
    ):
        return child.answer(START_TIMEOUT_S)
