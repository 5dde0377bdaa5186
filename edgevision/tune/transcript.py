"""What native/trial.c printed on a device, told apart by candidate, and what it means."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.tune.device import Samples
from edgevision.tune.trial import BETTER, Trial, Verdict, fault, hung, timed

ENDED = "ended"
"""After the answers of a candidate a line with this word and the exit status."""
SIGNALLED = 128
LOADED = 2
"""Answers that only say that both kernels are there."""


class GarbledError(ValueError):
    """Nothing that the program prints."""


class KilledError(Exception):
    """Somebody else ended the program: nothing can be said of its candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One start of the program: its answers, what else it said, its exit status."""

    answers: tuple[Mapping[str, Any], ...]
    words: str
    status: int


def sections(printed: str, count: int) -> list[Section]:
    """Raises: GarbledError, when these are not ``count`` starts."""
    found: list[Section] = []
    answers: list[Mapping[str, Any]] = []
    words: list[str] = []
    for line in filter(None, map(str.strip, printed.splitlines())):
        ended = re.fullmatch(rf"{ENDED} (\d+)", line)
        if ended:
            found.append(Section(answers=tuple(answers), words=" ".join(words[-2:]), status=int(ended[1])))
            answers, words = [], []
        elif line.startswith("{"):
            answers.append(_object(line))
        else:
            words.append(line)
    if len(found) != count or answers:
        raise GarbledError(f"{len(found)} results of {count} candidates")
    return found


def first(section: Section, trial: Trial) -> Verdict:
    """Of a start that checks, screens and confirms. Raises: GarbledError, KilledError."""
    failed = _failed(section, trial)
    if failed is not None:
        return failed
    checked, screened, confirmed = _answers(section, 3)
    wrong = fault(guarded=_truth(checked.get("guarded")), error=_error(checked), tolerance=trial.candidate.tolerance)
    screen, confirmation = samples(screened), samples(confirmed)
    if wrong is not None:
        return wrong
    return timed(confirmation, below=BETTER) if confirmation.a else timed(screen)


def repeated(exchanged: bool) -> Callable[[Section, Trial], Verdict]:
    """Of a start that only compares; ``exchanged``: the candidate where the incumbent was."""

    def verdict(section: Section, trial: Trial) -> Verdict:
        failed = _failed(section, trial)
        if failed is not None:
            return failed
        found = samples(*_answers(section, 1))
        return timed(Samples(a=found.b, b=found.a) if exchanged else found, below=BETTER)

    return verdict


def _answers(section: Section, count: int) -> tuple[Mapping[str, Any], ...]:
    if len(section.answers) != LOADED + count:
        raise GarbledError(f"{len(section.answers)} answers of {LOADED + count}")
    return section.answers[LOADED:]


def _failed(section: Section, trial: Trial) -> Verdict | None:
    number = section.status - SIGNALLED
    if number == signal.SIGKILL:
        raise KilledError
    if section.status and not section.answers and trial.candidate != trial.default:
        raise GarbledError(f"what candidates are compared with does not run: {section.words or f'status {section.status}'}")
    if number == signal.SIGALRM:
        return hung(trial.limit_s)
    if number > 0:
        named = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return Verdict(outcome="crashed", detail=f"signal {named}")
    if section.status:
        return Verdict(outcome="crashed", detail=section.words or f"exit status {section.status}")
    return None


def samples(answer: Mapping[str, Any]) -> Samples:
    """Raises: GarbledError."""
    try:
        a, b = ([_nanoseconds(value) for value in answer[key]] for key in ("a", "b"))
    except (KeyError, TypeError) as error:
        raise GarbledError(f"{type(error).__name__}: {error}") from error
    if len(a) != len(b) or len(a) % 2:
        raise GarbledError(f"{len(a)} and {len(b)} samples")
    return Samples(a=tuple(a), b=tuple(b))


def seconds(sections: Sequence[Section]) -> float:
    """All samples together. Raises: GarbledError."""
    timings = [samples(answer) for section in sections for answer in section.answers if "a" in answer]
    return sum(sum(each.a) + sum(each.b) for each in timings) / 1e9


def _object(line: str) -> Mapping[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise GarbledError(f"not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise GarbledError(f"no object: {line[:40]}")
    return answer


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise GarbledError(f"{value!r} is neither true nor false")
    return value


def _error(checked: Mapping[str, Any]) -> float:
    """null is the error of results that no figure says anything about."""
    value = checked.get("error", "")
    if value is None:
        return float("inf")
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise GarbledError(f"{value!r} is no error")
    return float(value)


def _nanoseconds(value: object) -> int:
    """A clock that does not move gives no time, and neither does one that goes back."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise TypeError(f"{value!r} is no time")
    return value
