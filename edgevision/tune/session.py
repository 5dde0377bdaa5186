"""A tuning run: trials go where the network's time is, each result into the log at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from edgevision.errors import DeviceError
from edgevision.schedule.identity import serialize
from edgevision.schedule.tasks import Task
from edgevision.target import Target
from edgevision.tune.builder import Build, CandidateError
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import Array, Device
from edgevision.tune.request import Built, Request
from edgevision.tune.search import Search, start
from edgevision.tune.trial import CONFIRM_BLOCKS, CONFIRM_S, LEAST_LIMIT_S, Verdict, blocks, judge
from edgevision.tuning_log import Choice, How, Record, Setting, append

AHEAD = 3
"""Candidates that are compiled or wait for their measurement beyond those that are being compiled."""
GUESS_S = 0.01
"""A default's time before it was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may spend. None: no bound of this kind."""

    trials: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """Where a task stands: times in microseconds of one call, None before they were measured."""

    what: str
    count: int
    default_us: float | None
    best_us: float | None
    ratio: float
    best: Choice
    trials: int
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a run stands. The network's times are sums over its workloads, in milliseconds; None until each was
    measured. ``how`` "modelled": all times are cycles of a core of 1 GHz."""

    tasks: tuple[TaskState, ...]
    trials: int
    outcomes: dict[str, int]
    elapsed_s: float
    budget: Budget
    how: How = "measured"

    @property
    def default_ms(self) -> float | None:
        return _sum_ms([(t.default_us, t.count) for t in self.tasks])

    @property
    def best_ms(self) -> float | None:
        """The default's time times the ratio: both were measured in turn."""
        return _sum_ms([(None if t.default_us is None else t.default_us * t.ratio, t.count) for t in self.tasks])


def _sum_ms(parts: Sequence[tuple[float | None, int]]) -> float | None:
    known = [us * count for us, count in parts if us is not None]
    return sum(known) / 1e3 if len(known) == len(parts) else None


Report = Callable[[State], None]


@dataclass(slots=True, kw_only=True)
class _Bed:
    """What a task needs to be measured, made when its first candidate comes back in this run."""

    default: Built
    incumbent: Built
    reference: tuple[Array, ...]


@dataclass(slots=True, kw_only=True)
class Session:
    """``log`` is the file that results are appended to. ``build`` and ``device`` do the work; ``clock`` is in seconds."""

    target: Target
    setting: Setting
    log: Path
    folder: Path
    build: Build
    device: Device
    jobs: int
    seed: int = 0
    report: Report = lambda _: None
    how: How = "measured"
    clock: Callable[[], float] = time.monotonic
    _searches: list[Search] = field(default_factory=list)
    _beds: dict[str, _Bed] = field(default_factory=dict)
    _outcomes: dict[str, int] = field(default_factory=dict)
    _numbers: int = 0
    _trials: int = 0

    def run(self, tasks: Sequence[Task], known: Sequence[Record], budget: Budget) -> State:
        """Search ``tasks`` until the budget is spent or nothing promises more; ``known`` is what logs hold already.

        Raises: DeviceError where not even a default schedule runs. Whatever ends it, the log holds all results.
        """
        self._searches = [start(task, known, self.setting, self.seed) for task in tasks]
        began = self.clock()
        self._measure_defaults(began, budget)
        flying: dict[Future[Built], tuple[Search, Choice]] = {}
        while True:
            self._send(flying, budget, began)
            if not flying:
                break
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=list(flying).index):
                search, choice = flying.pop(future)
                self._try(search, choice, future)
                self.report(self._state(began, budget))
        self._confirm()
        return self._state(began, budget)

    def _send(self, flying: dict[Future[Built], tuple[Search, Choice]], budget: Budget, began: float) -> None:
        """Keep the workers busy with what promises most."""
        while len(flying) < self.jobs + AHEAD and not self._spent(budget, began, len(flying)):
            search = max(self._searches, key=lambda s: s.promise_us, default=None)
            if search is None or search.promise_us <= 0:
                return
            choice = search.propose([s.best for s in self._searches if s is not search])
            if choice is not None:
                flying[self.build(self._request(search.task, choice))] = (search, choice)

    def _spent(self, budget: Budget, began: float, flying: int) -> bool:
        if budget.trials is not None and self._trials + flying >= budget.trials:
            return True
        return budget.seconds is not None and self.clock() - began >= budget.seconds

    def _measure_defaults(self, began: float, budget: Budget) -> None:
        """The default of every task without a time: what the others are compared with, and where the time is."""
        new = [search for search in self._searches if search.default_us is None]
        waiting = [(search, self.build(self._request(search.task, search.task.default))) for search in new]
        for search, future in waiting:
            self._make_bed(search, future)
            self.report(self._state(began, budget))
        rate = max((s.task.macs / s.us for s in self._searches if s.us), default=0.0)
        for search in self._searches:
            search.rate = rate

    def _request(self, task: Task, choice: Choice) -> Request:
        function = self.folder / f"{task.key.replace('/', '_')}.json"
        if not function.exists():
            function.write_text(serialize(task.func))
        self._numbers += 1
        return Request(
            function=str(function), views=tuple((n, first, channels) for n, (first, channels) in task.views.items()),
            constants=task.constants, outputs=task.outputs, target=asdict(self.target), choice=choice,
            stem=str(self.folder / f"candidate{self._numbers}"), seed=0,
        )  # fmt: skip

    def _make_bed(self, search: Search, future: Future[Built] | None = None) -> _Bed:
        """Compile and run the default, and the best so far where that is another one."""
        task = search.task
        limit_s = LEAST_LIMIT_S + GUESS_S * 100
        try:
            default = (future or self.build(self._request(task, task.default))).result()
            self.device.hold(default, limit_s)
            reference = self.device.results(default, limit_s).arrays
            if search.default_us is None:
                samples = self.device.compare(blocks(GUESS_S, CONFIRM_S, CONFIRM_BLOCKS), limit_s)
                us = sorted((*samples.a, *samples.b))[len(samples.a)] / 1e3
                record = self._record(search, task.default, Verdict(outcome="right", better=True, ratio=1.0, us=us))
                search.note(record)
                append(self.log, [record])
        except (CandidateError, ChildCrashedError, ChildHungError) as error:
            raise DeviceError(
                f"the default schedule of {task.what} cannot be measured on this machine ({error}); "
                "`edgevision doctor` says what this machine lacks"
            ) from error
        bed = _Bed(default=default, incumbent=default, reference=reference)
        if search.best != task.default:
            try:
                bed.incumbent = self.build(self._request(task, search.best)).result()
            except CandidateError:  # the log's best is none here any more
                search.best, search.ratio, search.us = task.default, 1.0, search.default_us
        self._beds[task.key] = bed
        return bed

    def _try(self, search: Search, choice: Choice, future: Future[Built]) -> None:
        bed = self._beds.get(search.task.key) or self._make_bed(search)
        default_s = (search.default_us or 1e6 * GUESS_S) / 1e6
        try:
            built = future.result()
        except CandidateError as error:
            verdict = Verdict(outcome=error.outcome, detail=error.reason)
        else:
            verdict = judge(self.device, bed.incumbent, built, bed.reference, built.tolerance, default_s)
            discarded = built
            if verdict.better:
                discarded, bed.incumbent = bed.incumbent, built
            if discarded is not bed.default:
                _remove(discarded)
        self._keep(search, choice, verdict)

    def _keep(self, search: Search, choice: Choice, verdict: Verdict) -> None:
        """Into the log, as a ratio to the default."""
        record = self._record(search, choice, verdict, to_default=search.ratio)
        append(self.log, [record])
        self._trials += 1
        self._outcomes[verdict.outcome] = self._outcomes.get(verdict.outcome, 0) + 1
        search.note(record)
        search.improved = search.improved or verdict.better

    def _record(self, search: Search, choice: Choice, verdict: Verdict, to_default: float = 1.0) -> Record:
        def scaled(value: float | None) -> float | None:
            return None if value is None else round(value * to_default, 5)

        return Record(
            workload=search.task.key, what=search.task.what, setting=self.setting, choice=choice,
            outcome=verdict.outcome, wins=verdict.better, ratio=scaled(verdict.ratio), low=scaled(verdict.low),
            high=scaled(verdict.high), us=None if verdict.us is None else round(verdict.us, 3), how=self.how,
            detail=verdict.detail, seed=self.seed,
        )  # fmt: skip

    def _confirm(self) -> None:
        """What this run improved once more beside the default: a ratio that came in several steps adds up their errors."""
        for search in self._searches:
            bed = self._beds.get(search.task.key)
            if not search.improved or bed is None:
                continue
            default_s = (search.default_us or 0.0) / 1e6
            try:
                verdict = judge(self.device, bed.default, bed.incumbent, bed.reference, bed.incumbent.tolerance, default_s)
            except (ChildCrashedError, ChildHungError):
                continue
            if verdict.ratio is not None:
                record = self._record(search, search.best, replace(verdict, better=True))
                append(self.log, [record])
                search.ratio = min(1.0, verdict.ratio)
                search.best = search.best if verdict.ratio < 1 else search.task.default

    def _state(self, began: float, budget: Budget) -> State:
        return State(
            tasks=tuple(
                TaskState(
                    what=s.task.what, count=s.task.count, default_us=s.default_us, best_us=s.us, ratio=s.ratio,
                    best=s.best, trials=s.trials, finished=s.finished,
                )
                for s in self._searches
            ),
            trials=self._trials, outcomes=dict(self._outcomes), elapsed_s=self.clock() - began, budget=budget,
            how=self.how,
        )  # fmt: skip


def _remove(built: Built) -> None:
    for file in {built.library, *(a.file for a in built.arguments if a.file != "-")}:
        Path(file).unlink(missing_ok=True)
