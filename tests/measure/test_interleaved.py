"""Two artifacts in turn: who is slower, which rounds count, and what happens when one fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgevision.artifact import Artifact
from edgevision.errors import DeviceError
from edgevision.measure import interleaved
from edgevision.measure.interleaved import Turns, duel
from edgevision.measure.local import LocalDevice
from tests.measure.fakes import artifact, reference

QUICK = Turns(starts=2, rounds=2, limit_s=1.0, burst_s=0.002, profiled=2)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return artifact(tmp_path_factory.mktemp("right"))


def test_an_artifact_is_as_fast_as_itself(right: Artifact) -> None:
    found = duel(right, right, reference().cases(1)[0].inputs, QUICK, LocalDevice(threads=1))
    assert 0.2 < found.ratio < 5 and found.first_ms > 0 and found.second_ms > 0
    assert found.rounds >= 2 and found.quiet <= found.rounds
    assert [name for name, _ in found.steps_ms[1]] == ["scale", "add"]


def test_a_crash_names_the_artifact(right: Artifact, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="crashed with SIGABRT"):
        duel(right, artifact(tmp_path, "CRASH"), reference().cases(1)[0].inputs, QUICK)


def rounds(*values: tuple[float, float, float]) -> dict[str, Any]:
    """(first's seconds, second's, share of the time in which one of them waited)."""
    made = [
        {"seconds": (first, second), "fastest": (first / 2, second / 2), "waiting": (0.0, waiting)}
        for first, second, waiting in values
    ]
    return {"rounds": made, "profiles": [[("step", 1.0)], [("step", first * 1e3) for first, _, _ in values[:1]]]}


def test_only_quiet_rounds_count_and_every_process_once(right: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([
        rounds((1.0, 0.5, 0.0), (1.0, 0.5, 0.01), (1.0, 9.0, 0.06), (1.0, 9.0, 0.5), (1.0, 9.0, 0.5)),
        rounds((2.0, 1.2, 0.0)),
        rounds((1.0, 7.0, 0.9), (0.8, 9.0, 0.9), (9.0, 0.6, 0.9)),
    ])  # fmt: skip
    monkeypatch.setattr(interleaved, "_asked", lambda words, request, timeout_s: next(answers))
    found = duel(right, right, reference().cases(1)[0].inputs, Turns(starts=3))
    assert found.ratio == 0.6  # of 0.5, 0.6 and, where none is quiet, the fastest of each: 0.3 / 0.4
    assert (found.first_ms, found.second_ms) == (1000.0, 500.0)
    assert (found.quiet, found.rounds) == (3, 9)
    assert found.steps_ms[1] == (("step", 1000.0),)
