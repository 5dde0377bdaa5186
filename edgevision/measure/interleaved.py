"""Two artifacts timed in turn by one process, so that whatever else the machine does falls on both."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgevision.artifact import Artifact
from edgevision.errors import DeviceError
from edgevision.measure.compare import Array
from edgevision.measure.device import check_exit
from edgevision.measure.local import LocalDevice, child_environment, save


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """``starts`` processes, one after the other: where the pages of weights and activations happen to lie moves a network
    by several per cent for as long as its process lives (ratios of one pair: 0.560, 0.562, 0.578, 0.618, 0.559, 0.563).

    Each stops after ``rounds`` quiet rounds, or ``limit_s``. A round is one burst of each artifact of at least
    ``burst_s``, long enough to hold several of the scheduler's slices of 3 ms. It is quiet when neither burst's threads
    waited for a core for ``noisy`` of their time: less than one slice.

    ``nice``: priority of what is timed, -20 to 19; below 0 needs root. ``profiled``: runs timed step by step.
    """

    starts: int = 9
    rounds: int = 4
    limit_s: float = 4.0
    burst_s: float = 0.06
    noisy: float = 0.05
    profiled: int = 30
    nice: int = 0


TURNS = Turns()


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """``first_ms``, ``second_ms`` and ``ratio`` (second / first): the median over processes of the median over rounds.
    ``quiet`` of ``rounds`` rounds were quiet; in each process those are the ones that count. Where none was, the fastest run
    of each artifact counts instead: another program can only slow a run down.

    ``steps_ms``: what each fused operator takes, in the order they run, for the first and for the second.
    """

    first_ms: float
    second_ms: float
    ratio: float
    quiet: int
    rounds: int
    steps_ms: tuple[tuple[tuple[str, float], ...], tuple[tuple[str, float], ...]]


def duel(
    first: Artifact, second: Artifact, inputs: Sequence[Array], turns: Turns = TURNS, device: LocalDevice | None = None,
    fallbacks: tuple[str, str] = ("never", "never"),
) -> Duel:  # fmt: skip
    """Time ``second`` against ``first`` on the same ``inputs``, as many threads as ``device`` says; ``fallbacks`` of the first and
    of the second as in `edgevision.runtime.load`.

    Raises: DeviceError, when one of them crashes or takes longer than the device's time-out.
    """
    device = device or LocalDevice()
    with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
        save(Path(folder), "in0", inputs)
        words = [str(first.path), str(second.path), folder]
        request = {"threads": device.threads, "fallbacks": fallbacks, **asdict(turns)}
        answers = [_asked(words, request, device.timeout_s) for _ in range(turns.starts)]
    found = [_start(answer["rounds"], turns) for answer in answers]
    first_ms, second_ms, ratio = (median(each[index] for each in found) for index in range(3))
    return Duel(
        first_ms=first_ms, second_ms=second_ms, ratio=ratio,
        quiet=sum(len(_quiet(answer["rounds"], turns)) for answer in answers),
        rounds=sum(len(answer["rounds"]) for answer in answers),
        steps_ms=(_profile(0, answers), _profile(1, answers)),
    )  # fmt: skip


Answer = dict[str, list[Any]]


def _start(rounds: Sequence[dict[str, Any]], turns: Turns) -> tuple[float, float, float]:
    """What one process says: milliseconds of the first, of the second, and their ratio."""
    quiet = _quiet(rounds, turns)
    if not quiet:
        fastest = [1e3 * min(each["fastest"][who] for each in rounds) for who in (0, 1)]
        return fastest[0], fastest[1], fastest[1] / fastest[0]
    times = [median(1e3 * each["seconds"][who] for each in quiet) for who in (0, 1)]
    return times[0], times[1], median(each["seconds"][1] / each["seconds"][0] for each in quiet)


def _quiet(rounds: Sequence[dict[str, Any]], turns: Turns) -> list[dict[str, Any]]:
    return [each for each in rounds if max(each["waiting"]) < turns.noisy]


def _profile(who: int, answers: Sequence[Answer]) -> tuple[tuple[str, float], ...]:
    """The median over processes, step by step."""
    names = [name for name, _ in answers[0]["profiles"][who]]
    columns = zip(*([ms for _, ms in answer["profiles"][who]] for answer in answers), strict=True)
    return tuple((name, median(times)) for name, times in zip(names, columns, strict=True))


def _asked(words: Sequence[str], request: Mapping[str, object], timeout_s: float) -> Answer:
    """What `interleaved_process` answers. In a session of its own: Linux shares cores between sessions first."""
    command = [sys.executable, "-m", "edgevision.measure.interleaved_process", *words]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=timeout_s,
            env=child_environment(), start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{words[1]} ran for more than {timeout_s:.0f} s on this machine") from error
    check_exit(words[1], "on this machine", done.returncode, done.stderr)
    answer: Answer = json.loads(done.stdout)
    return answer
