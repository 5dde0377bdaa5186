"""What runs on a machine of a Ray cluster: a compiler of candidates, and a bench. Neither knows of Ray, nor shares a file system
with whoever asks: files come and go with the questions."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from edgevision import __version__, cache
from edgevision import host as machine
from edgevision import target as targets
from edgevision.link.trial_program import link_trial
from edgevision.measure.cpuinfo import cpu_name
from edgevision.measure.transport import LostDeviceError
from edgevision.target import Target
from edgevision.tune.bench import DeviceBench
from edgevision.tune.builder import Builder, CandidateError
from edgevision.tune.device import Cooling, TrialProcess
from edgevision.tune.request import Built, Request
from edgevision.tune.scratch import scratch
from edgevision.tune.trial import Trial, Verdict
from edgevision.tuning_log import SCHEDULES, Outcome

LOCK = "measuring.lock"

Files = Mapping[str, bytes]
"""Contents by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What must be the same everywhere (``versions``), and what a machine is."""

    versions: str
    name: str
    cpu: str
    native: Target
    process: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A candidate with its files, or how it failed. Exceptions with fields of their own do not travel well."""

    built: Built | None = None
    files: Files
    outcome: Outcome = "right"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """``lost``: why there are no verdicts."""

    verdicts: tuple[Verdict, ...] = ()
    lost: str = ""


def hello() -> Hello:
    return Hello(
        versions=f"edgevision {__version__}, templates {SCHEDULES}, TVM {version('apache-tvm')}", name=socket.gethostname(),
        cpu=cpu_name(machine.cpuinfo()), native=targets.load("native"), process=os.getpid(),
    )  # fmt: skip


class Compiler:
    """Compiles one candidate after another, in a process that may crash."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(scratch())
        self._builder = Builder(1, self._folder)
        self._stack.callback(self._builder.close)

    def hello(self) -> Hello:
        return hello()

    def build(self, request: Request, function: str) -> Made:
        """``function``: the content of the file that the request names."""
        here = self._folder / Path(request.function).name
        if not here.exists():
            here.write_text(function)
        moved = replace(request, function=str(here), stem=str(self._folder / Path(request.stem).name))
        try:
            built = self._builder(moved).result()
        except CandidateError as error:
            return Made(files={}, outcome=error.outcome, reason=error.reason)
        files = {Path(file).name: Path(file).read_bytes() for file in built.files}
        for file in built.files:
            Path(file).unlink()
        return Made(built=built, files=files)

    def close(self) -> None:
        self._stack.close()


class Measurer:
    """Runs trials of a target that its machine is. Two on one machine take turns."""

    def __init__(self, target: Target, threads: int, cooling: Cooling) -> None:
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(scratch())
        self._bench = DeviceBench(TrialProcess(link_trial(target), self._folder, threads=threads, cooling=cooling))
        self._stack.callback(self._bench.close)

    def hello(self) -> Hello:
        return hello()

    def trials(self, batch: Sequence[Trial], files: Files) -> Judged:
        """``files``: those of the batch that were not sent before. A candidate's are forgotten unless it is better."""
        for name, content in files.items():
            (self._folder / name).write_bytes(content)
        here = [_moved_trial(trial, self._folder) for trial in batch]
        lock = cache.directory() / LOCK
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with lock.open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                verdicts = self._bench.trials(here)
        except LostDeviceError as error:
            return Judged(lost=error.cause)
        for file in forgotten(here, verdicts):
            Path(file).unlink(missing_ok=True)
        return Judged(verdicts=tuple(verdicts))

    def close(self) -> None:
        self._stack.close()


def forgotten(batch: Iterable[Trial], verdicts: Iterable[Verdict]) -> set[str]:
    """Files that the machine does not keep."""
    judged = list(zip(batch, verdicts, strict=True))
    kept = {file for trial, _ in judged for built in (trial.default, trial.incumbent) for file in built.files}
    return {file for trial, verdict in judged if not verdict.better for file in trial.candidate.files} - kept


def moved(built: Built, folder: Path) -> Built:
    """``built`` with its files in ``folder``."""
    arguments = tuple(a if a.file == "-" else replace(a, file=str(folder / Path(a.file).name)) for a in built.arguments)
    return replace(built, library=str(folder / Path(built.library).name), arguments=arguments)


def _moved_trial(trial: Trial, folder: Path) -> Trial:
    default, incumbent, candidate = (moved(built, folder) for built in (trial.default, trial.incumbent, trial.candidate))
    return replace(trial, default=default, incumbent=incumbent, candidate=candidate)
