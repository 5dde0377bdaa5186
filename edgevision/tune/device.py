"""What measures candidates: two of them at a time, in turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgevision.tune.child import Child, ChildHungError
from edgevision.tune.request import Argument, Built

WORKSPACE_BYTES = 1 << 28
"""Address space a thread for TVM's workspaces; memory only where it is used."""
WRITTEN_L2 = 4
"""So many times its L2 a core writes between two samples: what a layer finds cold in a network of some ten megabytes."""
MOST_WEIGHTS_BYTES = 64 << 20
"""Of a network's weights that go by between two samples: twice a last-level cache of 32 MiB. More would take time alone."""
WRITTEN_BYTES_A_SECOND, READ_BYTES_A_SECOND = 13e9, 25e9
MARGIN_S = 2.0

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooling:
    """What lies between two samples, in bytes: ``weights`` are read by all threads together, ``written`` by each of its own."""

    weights: int = 0
    written: int = 0

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return self.weights / READ_BYTES_A_SECOND + self.written / WRITTEN_BYTES_A_SECOND


def cooling(weights_bytes: int, l2_bytes: int) -> Cooling:
    """As a layer of a network with so many bytes of weights finds the caches of cores with such an L2."""
    return Cooling(weights=min(weights_bytes, MOST_WEIGHTS_BYTES), written=WRITTEN_L2 * l2_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Times in nanoseconds of the two candidates in the order a b b a, two of each a block."""

    a: tuple[int, ...]
    b: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a candidate wrote into its outputs, and whether it wrote nowhere else."""

    arrays: tuple[Array, ...]
    guarded: bool


class Device(Protocol):
    """Holds an incumbent and a candidate. Every call raises ChildCrashedError or ChildHungError if what runs does; both
    are gone then."""

    def hold(self, incumbent: Built, limit_s: float) -> None:
        """Make ``incumbent`` the one that candidates are compared with, if it is not yet."""
        ...

    def results(self, candidate: Built, limit_s: float) -> Results:
        """Load ``candidate`` and run it once."""
        ...

    def compare(self, blocks: int, limit_s: float) -> Samples:
        """Incumbent and candidate in turn."""
        ...

    def promote(self, candidate: Built) -> None:
        """The candidate becomes the incumbent."""
        ...

    def close(self) -> None: ...


class StepwiseDevice:
    """A `Device`: a process that takes native/trial.c's commands."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, environment: Mapping[str, str] | None = None, nice: int = 0
    ) -> None:
        self._child = Child(command, environment=environment, nice=nice)
        self._outputs = folder / "outputs.bin"
        self._held = ""

    @property
    def running(self) -> bool:
        return self._child.running

    def hold(self, incumbent: Built, limit_s: float) -> None:
        if self._child.running and self._held == incumbent.library:
            return
        self._ask("\n".join(load_lines(0, incumbent, limit_s)), limit_s)
        self._held = incumbent.library

    def results(self, candidate: Built, limit_s: float) -> Results:
        self._ask("\n".join(load_lines(1, candidate, limit_s)), limit_s)
        answer = self._ask(f"outputs\t1\t{ceil(limit_s)}\t{self._outputs}", limit_s)
        return Results(arrays=arrays(self._outputs, candidate.arguments), guarded=answer["guarded"])

    def compare(self, blocks: int, limit_s: float) -> Samples:
        answer = self._ask(f"compare\t{ceil(limit_s)}\t{blocks}", limit_s)
        return Samples(a=tuple(answer["a"]), b=tuple(answer["b"]))

    def promote(self, candidate: Built) -> None:
        self._ask(f"promote\t{ceil(MARGIN_S)}", MARGIN_S)
        self._held = candidate.library

    def close(self) -> None:
        self._child.close()

    def _ask(self, request: str, limit_s: float) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self._child.ask(request, limit_s + MARGIN_S))
        except ChildHungError:
            self._held = ""
            raise
        return answer


class TrialProcess(StepwiseDevice):
    """native/trial.c on this machine."""

    def __init__(self, program: Path, folder: Path, *, threads: int, cooling: Cooling, nice: int = 0) -> None:
        super().__init__([str(program), *options(threads, cooling)], folder, nice=nice)


def options(threads: int, cooling: Cooling) -> list[str]:
    """What native/trial.c is started with."""
    return [str(number) for number in (threads, cooling.weights, cooling.written, WORKSPACE_BYTES)]


def load_lines(slot: int, built: Built, limit_s: float) -> list[str]:
    """The command that loads ``built`` into ``slot``, one line for each argument behind it."""
    lines = [f"load\t{slot}\t{ceil(limit_s)}\t{built.library}\t{len(built.arguments)}"]
    for a in built.arguments:
        lines.append("\t".join(map(str, (a.role, a.code, a.bits, a.offset, a.file, len(a.shape), *a.shape))))
    return lines


def arrays(path: Path, arguments: Sequence[Argument]) -> tuple[Array, ...]:
    """What ``outputs`` wrote to ``path``."""
    kinds = {0: "i", 1: "u", 2: "f", 6: "b"}
    found, offset, content = [], 0, path.read_bytes()
    for a in arguments:
        if a.role == "o":
            dtype = np.dtype(f"{kinds[a.code]}{a.bits // 8}")
            count = int(np.prod(a.shape, dtype=np.int64))
            found.append(np.frombuffer(content, dtype, count, offset).reshape(a.shape))
            offset += dtype.itemsize * count
    return tuple(found)
