"""A tuning run: trials go where the network's time is, each result into the log at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgevision.errors import DeviceError
from edgevision.schedule.identity import serialize
from edgevision.schedule.tasks import Task
from edgevision.target import Target
from edgevision.tune.builder import Build, CandidateError
from edgevision.tune.device import Cooling
from edgevision.tune.lanes import Finished, Lanes
from edgevision.tune.request import Built, Request
from edgevision.tune.search import Search, start
from edgevision.tune.state import Budget, Report, State, TaskState
from edgevision.tune.trial import Bench, Trial, Verdict
from edgevision.tuning_log import Choice, How, Record, Setting, append

AHEAD = 3
"""Candidates that are compiled or wait for their measurement beyond those that are being compiled; two more for each further
one that is measured at a time."""
GUESS_S = 0.01
"""A default's time before it was measured."""


@dataclass(slots=True, kw_only=True)
class _Bed:
    """What a task needs to be measured, compiled from its first candidate in this run on. ``ratios``: of each incumbent, by its
    library, its time over the default's."""

    default: Future[Built]
    best: Future[Built] | None
    reference: Future[Built] | None
    incumbent: Built | None = None
    ratios: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One measurement: of a default, of a candidate, or of what a run improved, once more beside the default."""

    sort: Literal["default", "candidate", "confirmation"]
    search: Search
    choice: Choice


@dataclass(slots=True, kw_only=True)
class Session:
    """``log`` is the file that results are appended to. ``build`` compiles, ``benches`` measure, with ``cooling`` before each
    sample; ``clock`` is in seconds.
    ``reference``: a target that this machine is, where benches are given programs that are linked, with results that are computed
    here. ``told`` hears of devices that are lost."""

    target: Target
    setting: Setting
    log: Path
    folder: Path
    build: Build
    benches: Sequence[Bench]
    jobs: int
    cooling: Cooling = Cooling()
    seed: int = 0
    report: Report = lambda _: None
    told: Callable[[str], None] = lambda _: None
    how: How = "measured"
    reference: Target | None = None
    clock: Callable[[], float] = time.monotonic
    _lanes: Lanes[_Job] = field(init=False)
    _searches: list[Search] = field(default_factory=list)
    _beds: dict[str, _Bed] = field(default_factory=dict)
    _building: dict[Future[Built], _Job] = field(default_factory=dict)
    _outcomes: dict[str, int] = field(default_factory=dict)
    _budget: Budget = field(default_factory=Budget)
    _began: float = 0.0
    _numbers: int = 0
    _trials: int = 0

    def run(self, tasks: Sequence[Task], known: Sequence[Record], budget: Budget, elsewhere: Sequence[Record] = ()) -> State:
        """Search ``tasks`` until the budget is spent or nothing promises more; ``known`` is what the log holds already,
        ``elsewhere`` what those of other machines do.

        Raises: DeviceError where not even a default schedule runs; NoDeviceLeftError. Whatever ends it, the log holds all results.
        """
        self._searches = [start(task, known, self.setting, self.seed, elsewhere) for task in tasks]
        self._began, self._budget = self.clock(), budget
        self._lanes = Lanes(self.benches, self.told)
        try:
            self._measure_defaults()
            self._work(self._propose)
            self._confirm()
            return self._state()
        finally:
            self._lanes.close()

    # --- what is compiled and measured next ----------------------------------------------------------------------

    def _measure_defaults(self) -> None:
        """The default of every task without a time: what the others are compared with, and where the time is."""
        for search in self._searches:
            if search.default_us is None:
                self._building[self._bed(search).default] = _Job(sort="default", search=search, choice=search.task.default)
        self._work()
        rate = max((s.task.macs / s.us for s in self._searches if s.us), default=0.0)
        for search in self._searches:
            search.rate = rate

    def _propose(self) -> None:
        """Keep the workers busy with what promises most."""
        while not self._spent() and self._flying < self.jobs + AHEAD + 2 * max(0, self._lanes.size - 1):
            search = max(self._searches, key=lambda s: s.promise_us, default=None)
            if search is None or search.promise_us <= 0:
                return
            choice = search.propose([s for s in self._searches if s is not search])
            if choice is not None:
                self._bed(search)
                job = _Job(sort="candidate", search=search, choice=choice)
                self._building[self.build(self._request(search.task, choice))] = job

    @property
    def _flying(self) -> int:
        return len(self._building) + self._lanes.jobs

    def _spent(self) -> bool:
        if self._budget.trials is not None and self._trials + self._flying >= self._budget.trials:
            return True
        return self._budget.seconds is not None and self.clock() - self._began >= self._budget.seconds

    def _confirm(self) -> None:
        """What this run improved once more beside the default: a ratio that came in several steps adds up their errors."""
        for search in self._searches:
            bed = self._beds.get(search.task.key)
            if search.improved and bed is not None and bed.incumbent is not None:
                self._put(_Job(sort="confirmation", search=search, choice=search.best), bed.incumbent)
        self._work()

    def _work(self, propose: Callable[[], None] = lambda: None) -> None:
        """Until nothing is compiled or measured any more."""
        while True:
            propose()
            self._lanes.start()
            running: list[Future[Any]] = [*self._building, *self._lanes.running]
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in [each for each in self._building if each in done]:
                self._take(self._building.pop(future), future)
            for batch in [each for each in self._lanes.running if each in done]:
                for finished in self._lanes.finish(batch):
                    self._conclude(finished)
            self.report(self._state())

    # --- compiling -----------------------------------------------------------------------------------------------

    def _bed(self, search: Search) -> _Bed:
        """Has the default compiled, and the best so far where that is another one."""
        task = search.task
        if task.key not in self._beds:
            self._beds[task.key] = _Bed(
                default=self.build(self._request(task, task.default)),
                best=None if search.best == task.default else self.build(self._request(task, search.best)),
                reference=self.build(self._request(task, None)) if self.reference else None,
            )
        return self._beds[task.key]

    def _request(self, task: Task, choice: Choice | None) -> Request:
        function = self.folder / f"{task.key.replace('/', '_')}.json"
        if not function.exists():
            function.write_text(serialize(task.func))
        self._numbers += 1
        target = self.reference if choice is None and self.reference else self.target
        return Request(
            function=str(function), views=tuple((n, first, channels) for n, (first, channels) in task.views.items()),
            constants=task.constants, outputs=task.outputs, target=asdict(target), choice=choice,
            stem=str(self.folder / f"candidate{self._numbers}"), seed=0, linked=self.reference is not None and choice is not None,
        )  # fmt: skip

    def _take(self, job: _Job, future: Future[Built]) -> None:
        """A candidate comes back from the compiler."""
        try:
            built = future.result()
        except CandidateError as error:
            verdict = Verdict(outcome=error.outcome, detail=error.reason)
            if job.sort == "default":
                raise _no_default(job, verdict) from error
            self._keep(job, verdict)
        else:
            self._put(job, built)

    def _put(self, job: _Job, built: Built) -> None:
        self._lanes.put(job, lambda: self._trial(job, built))

    def _trial(self, job: _Job, built: Built) -> Trial:
        """What a bench measures, as things stand when it takes the job."""
        search, bed = job.search, self._beds[job.search.task.key]
        default = _result(job, bed.default)
        bed.ratios.setdefault(default.library, 1.0)
        incumbent = self._incumbent(search, bed, default) if job.sort == "candidate" else default
        default_s = (search.default_us or 1e6 * GUESS_S) / 1e6
        return Trial(
            workload=search.task.key, default=default, incumbent=incumbent, candidate=built, default_s=default_s,
            cooling_s=self.cooling.seconds, reference=_result(job, bed.reference) if bed.reference else None,
            whole=job.sort == "confirmation",
        )  # fmt: skip

    def _incumbent(self, search: Search, bed: _Bed, default: Built) -> Built:
        if bed.incumbent is None:
            bed.incumbent = default
            try:
                bed.incumbent = bed.best.result() if bed.best else default
                bed.ratios[bed.incumbent.library] = search.ratio
            except CandidateError:  # the log's best is none here any more
                search.best, search.ratio, search.us = search.task.default, 1.0, search.default_us
        return bed.incumbent

    # --- what came of it -----------------------------------------------------------------------------------------

    def _conclude(self, finished: Finished[_Job]) -> None:
        job, trial, verdict = finished.job, finished.trial, finished.verdict
        if trial is None or verdict is None:
            lost = "a device was lost twice while it ran"
            if job.sort == "default":
                raise _no_default(job, Verdict(outcome="crashed", detail=lost))
            self.told(f"{job.search.task.what}: {job.choice} is left out: {lost}")
        elif job.sort == "default":
            self._keep_default(job, verdict, _label(finished.bench))
        elif job.sort == "candidate":
            self._keep(job, verdict, trial, _label(finished.bench))
        elif verdict.ratio is not None:
            record = self._record(job, replace(verdict, better=True), device=_label(finished.bench))
            append(self.log, [record])
            job.search.ratio = min(1.0, verdict.ratio)
            job.search.best = job.choice if verdict.ratio < 1 else job.search.task.default

    def _keep_default(self, job: _Job, verdict: Verdict, device: str) -> None:
        if verdict.outcome != "right":
            raise _no_default(job, verdict, device)
        record = self._record(job, Verdict(outcome="right", better=True, ratio=1.0, us=verdict.us), device=device)
        job.search.note(record)
        append(self.log, [record])

    def _keep(self, job: _Job, verdict: Verdict, trial: Trial | None = None, device: str = "") -> None:
        """Into the log, as a ratio to the default. ``trial`` is None where there was none, for want of a candidate."""
        search, bed = job.search, self._beds[job.search.task.key]
        record = self._record(job, verdict, bed.ratios[trial.incumbent.library] if trial else 1.0, device)
        append(self.log, [record])
        self._trials += 1
        self._outcomes[verdict.outcome] = self._outcomes.get(verdict.outcome, 0) + 1
        search.note(record)
        search.improved = search.improved or verdict.better
        if trial is None:
            return
        if verdict.better and search.best == job.choice and record.ratio is not None:
            bed.incumbent = trial.candidate
            bed.ratios[trial.candidate.library] = record.ratio
        else:
            for file in trial.candidate.files - self._lanes.in_use:
                Path(file).unlink(missing_ok=True)

    def _record(self, job: _Job, verdict: Verdict, to_default: float = 1.0, device: str = "") -> Record:
        def scaled(value: float | None) -> float | None:
            return None if value is None else round(value * to_default, 5)

        task = job.search.task
        return Record(
            workload=task.key, what=task.what, setting=self.setting, choice=job.choice,
            outcome=verdict.outcome, wins=verdict.better, ratio=scaled(verdict.ratio), low=scaled(verdict.low),
            high=scaled(verdict.high), us=None if verdict.us is None else round(verdict.us, 3), how=self.how,
            detail=verdict.detail, seed=self.seed, device=device, beside=str(task.default),
        )  # fmt: skip

    def _state(self) -> State:
        return State(
            tasks=tuple(
                TaskState(
                    what=s.task.what, count=s.task.count, default_us=s.default_us, best_us=s.us, ratio=s.ratio,
                    best=s.best, trials=s.trials, finished=s.finished,
                )
                for s in self._searches
            ),
            trials=self._trials, outcomes=dict(self._outcomes), elapsed_s=self.clock() - self._began, budget=self._budget,
            how=self.how, devices=self._lanes.states,
        )  # fmt: skip


def _result(job: _Job, future: Future[Built]) -> Built:
    try:
        return future.result()
    except CandidateError as error:
        raise _no_default(job, Verdict(outcome=error.outcome, detail=error.reason)) from error


def _no_default(job: _Job, verdict: Verdict, device: str = "") -> DeviceError:
    return DeviceError(
        f"the default schedule of {job.search.task.what} cannot be measured on {device or 'this machine'} "
        f"({verdict.outcome}: {verdict.detail}); `edgevision doctor` says what this machine lacks"
    )


def _label(bench: Bench) -> str:
    """pi5 (Cortex-A76)."""
    return f"{bench.name} ({bench.cpu})" if bench.name and bench.cpu else bench.name
