"""Fake runtimes in real processes: the protocol, who is stopped when, and what becomes of those that fail."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import contest
from benchmarks.peers.case import Case, Entrant, Runtime
from benchmarks.peers.child import Child, WorkerError, last_words
from benchmarks.peers.cold import footprint
from benchmarks.peers.contest import compete, rotated
from benchmarks.peers.preparing import prepare
from tests.benchmarks import fakes

CORE = [min(os.sched_getaffinity(0))]


def entrants(case: Case, *runtimes: Runtime) -> list[Entrant]:
    folder = case.folder.parent / "converted"
    folder.mkdir(exist_ok=True)
    return [Entrant(runtime=runtime, python=Path(sys.executable), folder=folder) for runtime in runtimes]


def test_everybody_runs_in_every_round(case: Case) -> None:
    result = compete(case, entrants(case, fakes.FAST, fakes.SLOW), 1, CORE, rounds=3)
    assert not result.failures
    assert {name: len(bursts) for name, bursts in result.bursts.items()} == {"fast": 3, "slow": 3}
    assert min(b.median_s for b in result.bursts["slow"]) >= 4 * fakes.PAUSE_S
    for bursts in result.bursts.values():
        assert all(len(b.seconds) >= contest.FEWEST_RUNS and b.ran_s > 0 and b.waited_s >= 0 for b in bursts)


def test_errors_are_of_the_output(case: Case) -> None:
    result = compete(case, entrants(case, fakes.FAST, fakes.WRONG), 1, CORE, rounds=1)
    assert result.errors["fast"] == 0
    assert result.errors["wrong"] == pytest.approx(0.01, rel=1e-3)


def test_all_others_are_stopped_meanwhile(case: Case) -> None:
    result = compete(case, entrants(case, fakes.WITNESS, fakes.OBSERVER, fakes.FAST), 1, CORE, rounds=3)
    assert result.failures == {}
    assert len(list(case.folder.glob("*.witness"))) == 2


def test_a_witness_sees_who_is_not_stopped(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Child, "stop", lambda self: None)
    result = compete(case, entrants(case, fakes.WITNESS, fakes.OBSERVER), 1, CORE, rounds=3)
    assert any("is in state" in reason for reason in result.failures.values())


def test_who_fails_is_named_and_the_others_go_on(case: Case) -> None:
    result = compete(case, entrants(case, fakes.BROKEN, fakes.MORTAL, fakes.FAST), 1, CORE, rounds=3)
    assert result.failures["broken"] == "ValueError: this file is for another version"
    assert result.failures["mortal"] == "ended with status 3"
    assert len(result.bursts["fast"]) == 3


def test_who_does_not_answer_is_named(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "LOAD_TIMEOUT_S", 2)
    result = compete(case, entrants(case, fakes.HANGING, fakes.FAST), 1, CORE, rounds=1)
    assert result.failures == {"hanging": "no answer within 2 s"}
    assert len(result.bursts["fast"]) == 1


def test_no_round_begins_after_the_deadline(case: Case) -> None:
    result = compete(case, entrants(case, fakes.FAST), 1, CORE, rounds=3, deadline=time.monotonic())
    assert result.bursts == {"fast": []}


def test_no_process_is_left(case: Case) -> None:
    compete(case, entrants(case, fakes.WITNESS, fakes.OBSERVER), 1, CORE, rounds=1)
    assert [p for p in case.folder.glob("*.witness") if Path("/proc", p.stem).exists()] == []


def test_threads_cores_and_priority_reach_the_runtime(case: Case, tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    (entrant,) = entrants(case, fakes.OBEDIENT)
    with Child(entrant, "serve", case, 7, cores, tmp_path / "log", nice=5) as child:
        child.ask(str(tmp_path / "out.npy"), 60)
    assert np.all(np.load(tmp_path / "out.npy") == 500 + 10 * len(cores) + 7)


def test_the_order_turns_round() -> None:
    items = [1, 2, 3]
    assert [rotated(items, number) for number in range(4)] == [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]
    assert rotated([], 2) == []


def test_a_footprint_is_of_fresh_processes(case: Case) -> None:
    (entrant,) = entrants(case, fakes.SLOW)
    fakes.write_something(case, entrant.folder)
    found = footprint(entrant, case, 1.5, CORE)
    assert found.first_run_ms >= 4e3 * fakes.PAUSE_S
    assert 10e6 < found.bare_bytes < found.peak_bytes * 1.2 < 500e6
    assert (found.network_bytes, found.library_bytes, found.convert_s) == (1000, 0, 1.5)


def test_a_conversion_is_kept_until_the_network_changes(case: Case, tmp_path: Path) -> None:
    def again() -> Entrant:
        return prepare(fakes.FAST, Path(sys.executable), case, tmp_path / "converted", CORE)[0]

    made = again().folder / "network.fake"
    assert made.read_bytes() == b"x" * 1000
    made.write_bytes(b"kept")
    assert (again().folder / "network.fake").read_bytes() == b"kept"
    case.onnx.write_bytes(b"another network")
    assert (again().folder / "network.fake").read_bytes() == b"x" * 1000


def test_a_conversion_that_fails_says_why_and_leaves_nothing(case: Case, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="not converted: ValueError: no lowering for Mystery"):
        prepare(fakes.REFUSES, Path(sys.executable), case, tmp_path / "converted", CORE)
    assert list((tmp_path / "converted" / case.name).iterdir()) == []


def test_last_words_are_the_last_line_that_says_something(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\nValueError: it\n\n  \n")
    assert last_words(log) == "ValueError: it"
    log.write_text("")
    assert last_words(log) == ""


@pytest.mark.parametrize(("runtime", "same"), [(fakes.FAST, True), (fakes.PER_THREADS, False)], ids=["any", "own"])
def test_each_number_of_threads_has_its_own_conversion_where_that_matters(
    runtime: Runtime, same: bool, case: Case, tmp_path: Path
) -> None:
    one, two = (prepare(runtime, Path(sys.executable), case, tmp_path / "converted", CORE * count)[0].folder for count in (1, 2))
    assert (one == two) == same
