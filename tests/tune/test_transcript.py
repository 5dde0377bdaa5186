"""What a device prints, and what can be made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgevision.tune.request import Built
from edgevision.tune.transcript import GarbledError, KilledError, Section, first, repeated, seconds, sections
from edgevision.tune.trial import Trial

DEFAULT = Built(library="a.o", schedule="", workspace_bytes=0, arguments=(), tolerance=1e-5)
TRIAL = Trial(
    workload="w", default=DEFAULT, incumbent=DEFAULT, candidate=replace(DEFAULT, library="b.o"), default_s=1e-3
)  # fmt: skip
A = [1000, 1010] * 10
FAST, SLOW = [500, 505] * 10, [2000, 2020] * 10


def text(*answers: Any, status: int = 0, words: str = "") -> str:
    return "".join(json.dumps(answer) + "\n" for answer in answers) + f"{words}\n\nended {status}\n"


def whole(b: list[int] = FAST, error: Any = 1e-7, guarded: Any = True, confirmed: bool = True) -> tuple[Any, ...]:
    checked = {"guarded": guarded, "error": error}
    return {}, {}, checked, {"a": A[:8], "b": b[:8]}, {"a": A, "b": b} if confirmed else {"a": [], "b": []}


def one(printed: str) -> Section:
    (section,) = sections(printed, 1)
    return section


def test_a_candidate_that_is_faster() -> None:
    verdict = first(one(text(*whole())), TRIAL)
    assert verdict.outcome == "right" and verdict.better and verdict.ratio == pytest.approx(0.5)


def test_without_a_confirmation_it_is_not_better() -> None:
    verdict = first(one(text(*whole(confirmed=False))), TRIAL)
    assert verdict.outcome == "right" and not verdict.better and verdict.ratio == pytest.approx(0.5)


def test_exchanged_places_give_the_inverse() -> None:
    again = one(text({}, {}, {"a": A, "b": SLOW}))
    assert repeated(exchanged=False)(again, TRIAL).ratio == pytest.approx(2)
    exchanged = repeated(exchanged=True)(again, TRIAL)
    assert exchanged.ratio == pytest.approx(0.5) and exchanged.better


WRONG = {"too far": {"error": 1e-4}, "no figure": {"error": None}, "elsewhere": {"guarded": False}}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_wrong_results_are_wrong_however_fast(change: dict[str, Any]) -> None:
    verdict = first(one(text(*whole(**change))), TRIAL)
    assert verdict.outcome == "wrong" and not verdict.better and verdict.detail


STATUSES = {139: ("crashed", "SIGSEGV"), 132: ("crashed", "SIGILL"), 142: ("hung", "more than"), 4: ("crashed", "kernel refused")}


@pytest.mark.parametrize(("status", "outcome"), STATUSES.items(), ids=map(str, STATUSES))
def test_how_a_start_ends(status: int, outcome: tuple[str, str]) -> None:
    section = one(text({}, {}, status=status, words="the kernel refused its arguments" if status == 4 else "dumped"))
    for verdict in (first(section, TRIAL), repeated(exchanged=False)(section, TRIAL)):
        assert verdict.outcome == outcome[0] and outcome[1] in verdict.detail


def test_what_somebody_else_killed_says_nothing() -> None:
    with pytest.raises(KilledError):
        first(one(text({}, status=137)), TRIAL)


def test_an_incumbent_that_does_not_run_is_not_the_candidates_fault() -> None:
    section = one(text(status=139))
    with pytest.raises(GarbledError, match="compared with"):
        first(section, TRIAL)
    assert first(section, replace(TRIAL, candidate=DEFAULT)).outcome == "crashed"


GARBAGE = {
    "half an answer": '{"a": [1,\n\nended 0\n', "no end": "{}\n", "another count": text({}) + text({}),
    "after the end": text(*whole()) + "{}\n", "a list of nothing": "{1}\n\nended 0\n", "nothing": "",
}  # fmt: skip


@pytest.mark.parametrize("printed", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_transcript_is_refused(printed: str) -> None:
    with pytest.raises(GarbledError):
        sections(printed, 1)


FALSE = {
    "fewer answers": whole()[:4], "more": (*whole(), {}), "no truth": whole(guarded="yes"), "text": whole(error="small"),
    "negative": whole(error=-1.0), "no error": ({}, {}, {"guarded": True}, *whole()[3:]), "truth": whole(error=True),
    "a clock that stands": whole([0] * 20), "one that goes back": whole([-5] * 20), "fractions": whole([0.5] * 20),  # type: ignore[list-item]
    "an odd count": whole(FAST[:19]), "one list": ({}, {}, {"guarded": True, "error": 0}, {"a": A}, {"a": A, "b": FAST}),
}  # fmt: skip


@pytest.mark.parametrize("answers", FALSE.values(), ids=FALSE)
def test_answers_that_the_program_does_not_give(answers: tuple[Any, ...]) -> None:
    with pytest.raises(GarbledError):
        first(one(text(*answers)), TRIAL)


def test_all_samples_are_counted() -> None:
    found = sections(text(*whole()) + text(*whole(SLOW)), 2)
    per_start = (sum(A) + sum(A[:8])) / 1e9
    assert seconds(found) == pytest.approx(2 * per_start + (sum(FAST) + sum(FAST[:8]) + sum(SLOW) + sum(SLOW[:8])) / 1e9)
