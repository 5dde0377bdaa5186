"""Tune the workloads of one program, on this machine or by a model of another one, into a tuning log."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

from edgevision import __version__, host
from edgevision.errors import DeviceError, InputError
from edgevision.link.toolchain import link_cost_plugin
from edgevision.link.trial_program import link_trial
from edgevision.program import Program
from edgevision.schedule.tasks import tasks
from edgevision.target import Target
from edgevision.tune.builder import Builder
from edgevision.tune.device import TrialProcess
from edgevision.tune.modelled import CPU, ModelledProcess
from edgevision.tune.scratch import scratch
from edgevision.tune.session import Budget, Report, Session, State
from edgevision.tuning_log import (
    FILE,
    PROVENANCE,
    SCHEDULES,
    How,
    append,
    folder_name,
    isa,
    open_logs,
    setting_of,
    shipped,
)  # fmt: skip

ARM64 = "aarch64"


class CannotTuneError(DeviceError):
    """A target that this machine cannot run, so that nothing can be timed."""

    def __init__(self, target: Target) -> None:
        self.target = target.name
        super().__init__(
            f"target {target.name} cannot be tuned here: this machine only emulates it, which says nothing about time. "
            f"Run `edgevision tune --target native` on a machine with {target.arch}, and add its log to yours with "
            f"`edgevision logs merge`{'; or rank by a model of its cycles: --modelled' if target.arch == ARM64 else ''}"
        )


class NoModelError(InputError):
    """A target that no model has cycles of."""

    def __init__(self, target: Target) -> None:
        self.target = target.name
        super().__init__(f"--modelled: there is a model of 64-bit ARM cores alone, and target {target.name} is {target.arch}")


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
    ``excluded``: templates that are not used. ``modelled``: by cycles of `modelled.CPU` on one thread, not by time."""

    budget: Budget
    threads: int = 1
    seed: int = 0
    jobs: int = 0
    nice: int = 0
    excluded: frozenset[str] = field(default_factory=frozenset)
    modelled: bool = False

    @property
    def how(self) -> How:
        return "modelled" if self.modelled else "measured"


def check(target: Target, options: Options) -> None:
    """Raises: CannotTuneError, NoModelError; InputError for modelled cycles of several threads."""
    if options.modelled and target.arch != ARM64:
        raise NoModelError(target)
    if options.modelled and options.threads > 1:
        raise InputError(f"--modelled --threads {options.threads}: the model is of one thread")
    if target.emulator and not options.modelled:
        raise CannotTuneError(target)


def tune_program(program: Program, target: Target, logs: Path, options: Options, report: Report, name: str) -> State:
    """Search the workloads of ``program`` and append every result to the log of ``target`` in ``logs``.

    Raises: as `check` does; NothingToTuneError, TuningLogError, ToolchainError; DeviceError where a default does not run.
    """
    check(target, options)
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
        device = _device(target, folder, options)
        session = Session(
            target=target, setting=setting_of(target, options.threads), log=path, folder=folder, build=build,
            device=device, jobs=jobs, seed=options.seed, report=report, how=options.how,
        )  # fmt: skip
        try:
            return session.run(found, known, options.budget)
        finally:
            build.close()
            device.close()


def _device(target: Target, folder: Path, options: Options) -> TrialProcess | ModelledProcess:
    program = link_trial(target)
    if options.modelled:
        return ModelledProcess(program, link_cost_plugin(), target, folder)
    return TrialProcess(program, folder, threads=options.threads, l2_bytes=target.l2_bytes, nice=options.nice)


def _note_provenance(path: Path, target: Target, options: Options, name: str) -> None:
    """One table more, before the first trial: who measures what, where and when."""
    here = next((line.partition(":")[2].strip() for line in host.cpuinfo().splitlines() if line.startswith("model name")), "")
    cpu = CPU if options.modelled else here
    limits = {"trials": options.budget.trials, "seconds": options.budget.seconds}
    budget = ", ".join(f"{unit} = {round(value)}" for unit, value in limits.items() if value is not None)
    lines = [
        "[[run]]", f"model = {json.dumps(name)}",
        f'date = "{date.today().isoformat()}"', f'cpu = "{cpu}"', f'how = "{options.how}"', f'isa = "{isa(target)}"',
        f"threads = {options.threads}", f"budget = {{ {budget} }}", f"seed = {options.seed}",
        f'tvm = "{version("apache-tvm")}"', f'edgevision = "{__version__}"',
        f"schedules = {SCHEDULES}", "",
    ]  # fmt: skip
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
