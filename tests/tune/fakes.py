"""Compiling and measuring without doing either: a candidate's time is a function of its choice."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgevision.schedule.tasks import Task
from edgevision.target import load
from edgevision.tune.bench import DeviceBench
from edgevision.tune.builder import CandidateError
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import Results, Samples
from edgevision.tune.request import Built, Request
from edgevision.tune.session import Session
from edgevision.tuning_log import FILE, Choice, setting_of
from tests.schedule.workloads import prim_func

RESULT = np.ones(4, np.float32)
Cost = Callable[[Choice], float]
"""Microseconds; a string instead of a number is how the candidate fails."""


def space(pixels: int = 10, sweeps: int = 5) -> tuple[Choice, ...]:
    return tuple(Choice.of("conv2d", {"pixels": p, "sweep": s}) for p in range(1, pixels + 1) for s in range(sweeps))


def task(key: str = "a", count: int = 1, choices: tuple[Choice, ...] | None = None, macs: int = 1) -> Task:
    from tvm import te

    x = te.placeholder((4,), name="x")
    choices = choices or space()
    return Task(
        key=key, what=f"conv2d {key}", func=prim_func([x, te.compute((4,), lambda i: x[i] + 1)]), views={}, constants=(),
        outputs=1, count=count, names=(key,), macs=macs, weights_bytes=0, default=choices[0], space=choices,
    )  # fmt: skip


def bowl(choice: Choice) -> float:
    """100 us at the best, pixels=7 sweep=3."""
    at = choice.mapping
    return 100.0 + 12 * abs(at["pixels"] - 7) + 5 * abs(at["sweep"] - 3)


@dataclass
class FakeBench:
    """Both the compiler and the device. ``fails``: choices that go wrong, and how."""

    cost: Cost = bowl
    fails: dict[Choice, str] = field(default_factory=dict)
    delay_s: float = 0.0
    built: list[Choice] = field(default_factory=list)
    incumbent: Choice | None = None
    candidate: Choice | None = None
    choices: dict[str, Choice] = field(default_factory=dict)

    def build(self, request: Request) -> Future[Built]:
        future: Future[Built] = Future()
        self.built.append(request.choice)
        if self.fails.get(request.choice) == "uncompilable":
            future.set_exception(CandidateError("uncompilable", "no such instruction"))
            return future
        self.choices[request.stem] = request.choice
        future.set_result(Built(library=request.stem, schedule="", workspace_bytes=0, arguments=(), tolerance=1e-5))
        return future

    def hold(self, incumbent: Built, limit_s: float) -> None:
        self.incumbent = self.choices[incumbent.library]

    def results(self, candidate: Built, limit_s: float) -> Results:
        time.sleep(self.delay_s)
        self.candidate = self.choices[candidate.library]
        how = self.fails.get(self.candidate)
        if how == "crashed":
            raise ChildCrashedError("signal SIGSEGV")
        if how == "hung":
            raise ChildHungError
        return Results(arrays=(RESULT * (2 if how == "wrong" else 1),), guarded=True)

    def compare(self, blocks: int, limit_s: float) -> Samples:
        assert self.incumbent is not None
        assert self.candidate is not None
        a, b = round(1e3 * self.cost(self.incumbent)), round(1e3 * self.cost(self.candidate))
        return Samples(a=(a,) * 2 * blocks, b=(b,) * 2 * blocks)

    def promote(self, candidate: Built) -> None:
        self.incumbent = self.choices[candidate.library]

    def close(self) -> None:
        pass


def session(
    folder: Path, bench: FakeBench, *, seed: int = 0, threads: int = 1, clock: Callable[[], float] = time.monotonic
) -> Session:
    target = load("x86_64")
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return Session(
        target=target, setting=setting_of(target, threads), log=folder / FILE, folder=scratch, build=bench.build,
        benches=(DeviceBench(bench),), jobs=2, seed=seed, clock=clock,
    )  # fmt: skip
