"""Tune the workloads of one program into a tuning log."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgevision import __version__
from edgevision import host as machine
from edgevision.errors import InputError
from edgevision.measure.cpuinfo import cpu_name
from edgevision.program import Program
from edgevision.schedule.tasks import tasks
from edgevision.target import Target
from edgevision.tune import cluster
from edgevision.tune.benches import benches, check, host
from edgevision.tune.builder import Builder
from edgevision.tune.device import cooling
from edgevision.tune.modelled import CPU
from edgevision.tune.options import Options
from edgevision.tune.scratch import scratch
from edgevision.tune.session import Session
from edgevision.tune.state import Report, State
from edgevision.tuning_log import (
    FILE,
    PROVENANCE,
    SCHEDULES,
    append,
    folder_name,
    isa,
    open_logs,
    setting_of,
    shipped,
)  # fmt: skip


class NothingToTuneError(InputError):
    """A network in which no workload leaves a choice."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(
            f"none of the {count} workloads of this network leaves a choice of schedule; compile it as it is"
        )


def tune_program(
    program: Program, target: Target, logs: Path, options: Options, report: Report, name: str,
    told: Callable[[str], None] = lambda _: None,
) -> State:  # fmt: skip
    """Search the workloads of ``program`` and append every result to the log of ``target`` in ``logs``. ``told`` hears of devices
    that are waited for, or lost.

    Raises: as `check` does; NothingToTuneError, TuningLogError, ToolchainError; DeviceError where a default does not run.
    """
    check(target, options)
    found = tasks(program, target, options.excluded)
    if all(len(task.space) < 2 for task in found):
        raise NothingToTuneError(len(found))
    known, elsewhere = open_logs([logs], target), open_logs([shipped()], target)
    path = logs / folder_name(target) / FILE
    append(path, [])
    cold = cooling(sum(task.weights_bytes * task.count for task in found), target.l2_bytes)
    _note_provenance(path.parent / PROVENANCE, target, options, name)
    with scratch() as folder, ExitStack() as stack:
        ray = stack.enter_context(cluster.connected(options.ray)) if options.ray else None
        measuring = stack.enter_context(benches(target, folder, options, cold, told, ray))
        build = _builder(folder, options, ray)
        stack.callback(build.close)
        session = Session(
            target=target, setting=setting_of(target, options.threads), log=path, folder=folder, build=build,
            benches=measuring, cooling=cold, jobs=build.jobs, seed=options.seed, report=report, told=told, how=options.how,
            reference=host() if options.devices and not options.modelled else None,
        )  # fmt: skip
        return session.run(found, known, options.budget, elsewhere)


def _builder(folder: Path, options: Options, ray: Any) -> Builder | cluster.RayBuilder:
    if ray:
        return cluster.RayBuilder(ray, options.ray, options.jobs)
    return Builder(options.jobs or len(os.sched_getaffinity(0)), folder)


def _note_provenance(path: Path, target: Target, options: Options, name: str) -> None:
    """One table more, before the first trial: who measures what, where and when."""
    cpu = CPU if options.modelled else "" if options.names else cpu_name(machine.cpuinfo())
    devices = json.dumps(list(options.names))
    limits = {"trials": options.budget.trials, "seconds": options.budget.seconds}
    budget = ", ".join(f"{unit} = {round(value)}" for unit, value in limits.items() if value is not None)
    lines = [
        "[[run]]", f"model = {json.dumps(name)}",
        f'date = "{date.today().isoformat()}"', f'cpu = "{cpu}"', f"devices = {devices}",
        f'how = "{options.how}"', f'isa = "{isa(target)}"',
        f"threads = {options.threads}", f"budget = {{ {budget} }}", f"seed = {options.seed}",
        f'tvm = "{version("apache-tvm")}"', f'edgevision = "{__version__}"',
        f"schedules = {SCHEDULES}", "",
    ]  # fmt: skip
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
