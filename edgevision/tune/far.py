"""A bench behind a transport: the candidates of a batch go there as one static executable and are measured there, each in a
process of its own.

A shell script starts the executable once for a candidate, so that one that crashes or hangs costs itself. What it is told and
what it answers is described in native/trial.c. A few bytes come back: how far the results are from the reference, which was
computed here and sent before, and the samples.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from math import ceil, isfinite
from pathlib import Path

from edgevision.errors import CompilerError, DeviceError
from edgevision.link.trial_program import link_trials
from edgevision.measure.bench_program import CANNOT_EXECUTE, CLOCKS_DIFFER, CLOCKS_DIFFER_S, NOT_FOUND
from edgevision.measure.transport import LostDeviceError, Transport, Workspace, check_timed
from edgevision.target import Target
from edgevision.tune.device import Cooling, load_lines, options
from edgevision.tune.request import Argument, Built
from edgevision.tune.transcript import ENDED, GarbledError, KilledError, Section, first, repeated, seconds, sections
from edgevision.tune.trial import Trial, Verdict, all_of

BATCH = 8
"""Candidates of an executable. Linking takes 0.35 s, sending and starting as long again, a hopeless candidate 0.05 s; with more of
them the search would learn too late what is good."""
AGAIN = (True, False)
"""A candidate that is better must be so in two more processes, in the first of which the two change places: where memory happens to
lie moves a small kernel by several per cent for as long as its process lives."""
SESSION_S = 60.0
"""After which the device is given up for a moment: others who wait for it have their turn, and what it was sent may be removed."""
ANSWER_S = 15.0
MOST_COMMANDS = 5
"""Of one start; each has the trial's limit."""
ALWAYS = 10**9
"""Per cent; no candidate is as slow."""


class FarBench:
    """`edgevision.tune.trial.Bench` behind ``transport``. ``folder`` is for its files here; ``reference`` computes the file of
    outputs that a trial's must be like; ``cores`` to bind to. Raises: DeviceError, where the device is emulated."""

    def __init__(
        self, transport: Transport, target: Target, folder: Path, reference: Callable[[Built], Path], *, cooling: Cooling,
        threads: int = 1, cores: tuple[int, ...] = (), size: int = BATCH,
    ) -> None:  # fmt: skip
        check_timed(transport)
        self.size, self.cpu = size, ""
        self._transport, self._target, self._reference, self._folder = transport, target, reference, folder
        bound = ",".join(map(str, cores)) or "-"
        self._options = [*options(threads, cooling), bound]
        self._stack, self._opened, self._batches = ExitStack(), 0.0, 0
        self._workspace: Workspace | None = None
        self._places: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def name(self) -> str:
        return self._transport.name

    def open(self) -> None:
        """Raises: LostDeviceError."""
        self.close()
        self._workspace = self._stack.enter_context(self._transport.open())
        self.cpu, self._opened = self._workspace.info.cpu, time.monotonic()

    def close(self) -> None:
        stack, self._stack = self._stack, ExitStack()
        self._workspace, self._places = None, {}
        stack.close()

    def trials(self, batch: Sequence[Trial]) -> list[Verdict]:
        """Raises: LostDeviceError; DeviceError, when no program for the target starts there."""
        try:
            if self._workspace is None or time.monotonic() - self._opened > SESSION_S:
                self.open()
            return self._measured(batch)
        except LostDeviceError:
            self.close()
            raise

    def _measured(self, batch: Sequence[Trial]) -> list[Verdict]:
        kernels = {built.name: Path(built.library) for trial in batch for built in (trial.incumbent, trial.candidate)}
        self._batches += 1
        program = self._folder / f"batch{self._batches}"
        try:
            link_trials(self._target, kernels, program)
        except CompilerError as error:
            if len(batch) == 1:
                return [Verdict(outcome="uncompilable", detail=error.output.strip().splitlines()[-1])]
            return [verdict for trial in batch for verdict in self._measured([trial])]
        there = self._open_workspace.push(program)
        program.unlink()
        places = {name: number for number, name in enumerate(kernels)}
        verdicts = self._run(there, batch, [self._first(trial, places) for trial in batch], first)
        for exchanged in AGAIN:
            winners = [number for number, verdict in enumerate(verdicts) if verdict.better]
            trials = [batch[number] for number in winners]
            commands = [self._again(trial, places, exchanged=exchanged) for trial in trials]
            for number, verdict in zip(winners, self._run(there, trials, commands, repeated(exchanged)), strict=True):
                verdicts[number] = all_of((verdicts[number], verdict))
        return verdicts

    @property
    def _open_workspace(self) -> Workspace:
        if self._workspace is None:  # closed by another thread
            raise self._lost("the session was ended", "repeat")
        return self._workspace

    def _run(
        self, program: str, trials: Sequence[Trial], commands: Sequence[Sequence[str]], verdict: Callable[[Section, Trial], Verdict]
    ) -> list[Verdict]:
        """Start ``program`` once for each trial, with its commands."""
        if not trials:
            return []
        lines = [shlex.join([program, *self._options, *words]) for words in commands]
        script = "".join(f"{line} </dev/null 2>&1; status=$?; echo; echo {ENDED} $status\n" for line in lines)
        timeout_s = ANSWER_S + sum(MOST_COMMANDS * ceil(trial.limit_s) for trial in trials)
        began = time.monotonic()
        ran = self._open_workspace.run(["sh"], timeout_s=timeout_s, text=script)
        took_s = time.monotonic() - began
        try:
            found = sections(ran.stdout, len(trials))
            self._check(found, took_s)
            return [verdict(section, trial) for section, trial in zip(found, trials, strict=True)]
        except GarbledError as error:
            raise self._lost(f"garbled output ({error})", "see what else writes to its standard output") from error
        except KilledError:
            raise self._lost("killed by SIGKILL", "see whether it ran out of memory, then repeat") from None

    def _check(self, found: Sequence[Section], took_s: float) -> None:
        refused = [section for section in found if section.status in (CANNOT_EXECUTE, NOT_FOUND)]
        if refused:
            raise DeviceError(
                f"what was compiled for target {self._target.name} does not start on device {self.name} ({refused[0].words}); "
                f"`edgevision devices probe {self.name}` names the target that fits"
            )
        if seconds(found) > CLOCKS_DIFFER * took_s + CLOCKS_DIFFER_S:
            then = f"by it, runs took {seconds(found):.3g} s in a command that took {took_s:.3g} s here; restart it"
            raise self._lost("its clock is wrong", then)

    # --- commands ------------------------------------------------------------------------------------------------

    def _first(self, trial: Trial, places: dict[str, int]) -> list[str]:
        """Compare the candidate's results with the reference, then its time with the incumbent's."""
        assert trial.reference is not None
        limit_s = ceil(trial.limit_s)
        expected = self._there(self._reference(trial.reference).read_bytes())
        hopeless = round(100 * trial.hopeless) if isfinite(trial.hopeless) else ALWAYS
        return [
            *self._load(0, trial.incumbent, places, limit_s), *self._load(1, trial.candidate, places, limit_s),
            f"check\t1\t{limit_s}\t{expected}", f"compare\t{limit_s}\t{trial.screen_blocks}",
            f"confirm\t{limit_s}\t{trial.confirm_blocks}\t{hopeless}",
        ]  # fmt: skip

    def _again(self, trial: Trial, places: dict[str, int], *, exchanged: bool) -> list[str]:
        limit_s = ceil(trial.limit_s)
        return [
            *self._load(int(exchanged), trial.incumbent, places, limit_s),
            *self._load(int(not exchanged), trial.candidate, places, limit_s),
            f"compare\t{limit_s}\t{trial.confirm_blocks}",
        ]  # fmt: skip

    def _load(self, slot: int, built: Built, places: dict[str, int], limit_s: int) -> list[str]:
        placed = tuple(self._placed(argument) for argument in built.arguments)
        return load_lines(slot, replace(built, library=str(places[built.name]), arguments=placed), limit_s)

    def _placed(self, argument: Argument) -> Argument:
        if argument.file == "-":
            return argument
        with Path(argument.file).open("rb") as file:
            file.seek(argument.offset)
            content = file.read(argument.nbytes)
        return replace(argument, file=self._there(content), offset=0)

    def _there(self, content: bytes) -> str:
        """Where a file with this content lies on the device: candidates share inputs, and often weights."""
        digest = sha256(content).hexdigest()
        if digest not in self._places:
            path = self._folder / digest
            path.write_bytes(content)
            self._places[digest] = self._open_workspace.push(path)
            path.unlink()
        return self._places[digest]

    def _lost(self, cause: str, then: str) -> LostDeviceError:
        return LostDeviceError(self.name, "measuring candidates", cause, then)
