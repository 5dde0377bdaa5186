"""Benches side by side: each takes the next batch of what waits. One that is lost costs its batch, which goes to another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edgevision.errors import DeviceError
from edgevision.measure.transport import LostDeviceError
from edgevision.tune.trial import Bench, Trial, Verdict
from edgevision.tune.worker_thread import WorkerThread

Job = TypeVar("Job")

AGAIN_S = (2.0, 10.0, 30.0)
"""Before each attempt to reach a lost device anew: a cable that was moved, a phone that restarts. Then it is given up."""
MOST_LOSSES = 3
"""In a row, after which a device that can always be reached anew is given up."""
MOST_RUNS = 2
"""A candidate that was running when a device was lost, for so many times, is left out: it may be what takes the device away."""

CLOSING_S = 10.0
"""What a bench that was closed in the middle of a batch is given to notice."""


class NoDeviceLeftError(DeviceError):
    """All devices that a run began with are lost. ``causes``: a sentence for each."""

    def __init__(self, causes: Sequence[str]) -> None:
        self.causes = tuple(causes)
        super().__init__(
            "no device is left to tune on; what was measured is in the log, and the same command continues there. "
            + ". ".join(causes)
        )


@dataclass(slots=True, kw_only=True)
class _Lane:
    """``lost``: why its bench is out, "" while it is in; ``losses``: in a row."""

    bench: Bench
    thread: WorkerThread = field(default_factory=WorkerThread)
    trials: int = 0
    losses: int = 0
    lost: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """One bench in a run. ``lost`` is "" unless it was given up."""

    name: str
    cpu: str
    trials: int
    lost: str


@dataclass(slots=True, kw_only=True)
class _Waiting(Generic[Job]):
    job: Job
    trial: Callable[[], Trial]
    runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Generic[Job]):
    """``verdict`` None: a job that is left out."""

    job: Job
    trial: Trial | None
    verdict: Verdict | None
    bench: Bench


@dataclass(slots=True, kw_only=True)
class _Batch(Generic[Job]):
    waiting: list[_Waiting[Job]]
    trials: list[Trial]


@dataclass(slots=True)
class Lanes(Generic[Job]):
    """``told`` hears of devices that are lost. All methods belong to one thread; benches work in others."""

    benches: Sequence[Bench]
    told: Callable[[str], None] = lambda _: None
    again_s: tuple[float, ...] = field(default_factory=lambda: AGAIN_S)
    _lanes: list[_Lane] = field(init=False)
    _free: list[_Lane] = field(init=False)
    _waiting: deque[_Waiting[Job]] = field(default_factory=deque)
    _running: dict[Future[list[Verdict] | None], tuple[_Lane, _Batch[Job]]] = field(default_factory=dict)
    _closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._lanes = [_Lane(bench=bench) for bench in self.benches]
        self._free = list(self._lanes)

    @property
    def size(self) -> int:
        """How many trials are needed for all benches to be busy."""
        return sum(lane.bench.size for lane in self._lanes if not lane.lost)

    @property
    def jobs(self) -> int:
        """Those that wait or run."""
        return len(self._waiting) + sum(len(batch.waiting) for _, batch in self._running.values())

    @property
    def running(self) -> Sequence[Future[list[Verdict] | None]]:
        return list(self._running)

    @property
    def states(self) -> tuple[LaneState, ...]:
        return tuple(
            LaneState(name=e.bench.name, cpu=e.bench.cpu, trials=e.trials, lost=e.lost) for e in self._lanes if e.bench.name
        )

    @property
    def in_use(self) -> frozenset[str]:
        """Files that a bench may still read."""
        return frozenset().union(*(trial.files for _, batch in self._running.values() for trial in batch.trials))

    def put(self, job: Job, trial: Callable[[], Trial]) -> None:
        """``trial`` is asked for when a bench takes the job."""
        self._waiting.append(_Waiting(job=job, trial=trial))

    def start(self) -> None:
        """Every free bench takes what waits. Raises: NoDeviceLeftError, when something waits and nothing is left to take it."""
        while self._free and self._waiting:
            lane = self._free.pop(0)
            taken = self._take(lane.bench.size)
            batch = _Batch(waiting=taken, trials=[each.trial() for each in taken])
            self._running[lane.thread.begin(lane.bench.trials, batch.trials)] = lane, batch
        if self._waiting and all(lane.lost for lane in self._lanes):
            raise NoDeviceLeftError([lane.lost for lane in self._lanes])

    def finish(self, future: Future[list[Verdict] | None]) -> list[Finished[Job]]:
        """What came of a batch. Raises: what its bench raised, but for LostDeviceError."""
        lane, batch = self._running.pop(future)
        try:
            verdicts = future.result()
        except LostDeviceError as error:
            return self._lose(lane, batch, error)
        self._free.append(lane)
        if verdicts is None:  # reached anew
            return []
        lane.losses = 0
        lane.trials += len(verdicts)
        return [
            Finished(job=each.job, trial=trial, verdict=verdict, bench=lane.bench)
            for each, trial, verdict in zip(batch.waiting, batch.trials, verdicts, strict=True)
        ]

    def close(self) -> None:
        self._closing.set()
        for lane in self._lanes:
            lane.bench.close()
        wait(self._running, CLOSING_S)
        for lane in self._lanes:
            lane.thread.end()

    def _take(self, size: int) -> list[_Waiting[Job]]:
        """What was running when a device was lost runs alone, so that it can be known by what it does."""
        taken = [self._waiting.popleft()]
        while not taken[0].runs and self._waiting and not self._waiting[0].runs and len(taken) < size:
            taken.append(self._waiting.popleft())
        return taken

    def _lose(self, lane: _Lane, batch: _Batch[Job], error: LostDeviceError) -> list[Finished[Job]]:
        left_out: list[Finished[Job]] = []
        for each in reversed(batch.waiting):
            each.runs += 1
            if each.runs < MOST_RUNS:
                self._waiting.appendleft(each)
            else:
                left_out.append(Finished(job=each.job, trial=None, verdict=None, bench=lane.bench))
        lane.losses += 1
        others = any(not each.lost for each in self._lanes if each is not lane)
        if not batch.waiting or lane.losses >= MOST_LOSSES:
            lane.lost = str(error)
            self.told(f"{error}. It is given up{'; others go on' if others else ''}")
        else:
            self.told(f"{error}. It is tried again{', others take its work' if others else ''}")
            self._running[lane.thread.begin(self._reach, lane.bench)] = lane, _Batch(waiting=[], trials=[])
        return left_out

    def _reach(self, bench: Bench) -> None:
        """Raises: LostDeviceError, after the last attempt."""
        for number, pause_s in enumerate(self.again_s, start=1):
            if self._closing.wait(pause_s):
                return
            try:
                bench.open()
            except LostDeviceError:
                if number == len(self.again_s):
                    raise
            else:
                return
