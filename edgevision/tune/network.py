"""Tune the workloads of one program on this machine, into a tuning log."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

from edgevision import __version__, host
from edgevision.errors import DeviceError, InputError
from edgevision.link.trial_program import link_trial
from edgevision.program import Program
from edgevision.schedule.tasks import tasks
from edgevision.target import Target
from edgevision.tune.builder import Builder
from edgevision.tune.device import TrialProcess
from edgevision.tune.scratch import scratch
from edgevision.tune.session import Budget, Report, Session, State
from edgevision.tuning_log import FILE, PROVENANCE, SCHEDULES, append, folder_name, isa, open_logs, setting_of, shipped


class CannotTuneError(DeviceError):
    """A target that this machine cannot run, so that nothing can be timed."""

    def __init__(self, target: Target) -> None:
        self.target = target.name
        super().__init__(
            f"target {target.name} cannot be tuned here: this machine only emulates it, which says nothing about time. "
            f"Run `edgevision tune --target native` on a machine with {target.arch}, and add its log to yours with "
            "`edgevision logs merge`"
        )


class NothingToTuneError(InputError):
    """A network in which no workload leaves a choice."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(
            f"none of the {count} workloads of this network leaves a choice of schedule; compile it as it is"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to tune. ``jobs``: candidates compiled at a time, 0 for one a core. ``nice``: priority of the measuring process.
    ``excluded``: templates that are not used."""

    budget: Budget
    threads: int = 1
    seed: int = 0
    jobs: int = 0
    nice: int = 0
    excluded: frozenset[str] = field(default_factory=frozenset)


def check(target: Target) -> None:
    """Raises: CannotTuneError."""
    if target.emulator:
        raise CannotTuneError(target)


def tune_program(program: Program, target: Target, logs: Path, options: Options, report: Report, name: str) -> State:
    """Search the workloads of ``program`` and append every result to the log of ``target`` in ``logs``.

    Raises: CannotTuneError, NothingToTuneError, TuningLogError, ToolchainError; DeviceError where a default does not run.
    """
    check(target)
    found = tasks(program, target, options.excluded)
    if all(len(task.space) < 2 for task in found):
        raise NothingToTuneError(len(found))
    known = open_logs([logs, shipped()], target)
    path = logs / folder_name(target) / FILE
    append(path, [])
    _note_provenance(path.parent / PROVENANCE, target, options, name)
    jobs = options.jobs or len(os.sched_getaffinity(0))
    with scratch() as folder:
        build = Builder(jobs, folder)
        device = TrialProcess(
            link_trial(target), folder, threads=options.threads, l2_bytes=target.l2_bytes, nice=options.nice
        )
        session = Session(
            target=target, setting=setting_of(target, options.threads), log=path, folder=folder, build=build,
            device=device, jobs=jobs, seed=options.seed, report=report,
        )  # fmt: skip
        try:
            return session.run(found, known, options.budget)
        finally:
            build.close()
            device.close()


def _note_provenance(path: Path, target: Target, options: Options, name: str) -> None:
    """One table more, before the first trial: who measures what, where and when."""
    cpu = next((line.partition(":")[2].strip() for line in host.cpuinfo().splitlines() if line.startswith("model name")), "")
    limits = {"trials": options.budget.trials, "seconds": options.budget.seconds}
    budget = ", ".join(f"{unit} = {round(value)}" for unit, value in limits.items() if value is not None)
    lines = [
        "[[run]]", f"model = {json.dumps(name)}",
        f'date = "{date.today().isoformat()}"', f'cpu = "{cpu}"', f'isa = "{isa(target)}"',
        f"threads = {options.threads}", f"budget = {{ {budget} }}", f"seed = {options.seed}",
        f'tvm = "{version("apache-tvm")}"', f'edgevision = "{__version__}"',
        f"schedules = {SCHEDULES}", "",
    ]  # fmt: skip
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
