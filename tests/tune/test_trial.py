"""What one trial concludes, with devices that misbehave on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import Array, Results, Samples
from edgevision.tune.request import Built
from edgevision.tune.trial import Trial, difference, judge

RIGHT = np.linspace(-1, 1, 50, dtype=np.float32)
DEFAULT = Built(library="default", schedule="", workspace_bytes=0, arguments=(), tolerance=1e-5)
CANDIDATE = Built(library="candidate", schedule="", workspace_bytes=0, arguments=(), tolerance=1e-5)

TRIAL = Trial(workload="w", default=DEFAULT, incumbent=DEFAULT, candidate=CANDIDATE, default_s=1e-3)


@dataclass
class FakeDevice:
    """Answers what a test wants; ``ratio`` times with ``noise`` beside an incumbent of 1 ms."""

    result: Array = field(default_factory=lambda: RIGHT)
    guarded: bool = True
    ratio: float = 1.0
    noise: float = 0.01
    failure: Exception | None = None
    fails_at: str = "results"
    held: str = ""
    blocks: list[int] = field(default_factory=list)

    def hold(self, incumbent: Built, limit_s: float) -> None:
        self.held = incumbent.library

    def results(self, candidate: Built, limit_s: float) -> Results:
        if self.failure and self.fails_at == "results":
            raise self.failure
        return Results(arrays=(self.result,), guarded=self.guarded)

    def compare(self, blocks: int, limit_s: float) -> Samples:
        if self.failure and self.fails_at == "compare":
            raise self.failure
        self.blocks.append(blocks)
        random = np.random.default_rng(blocks)
        a, b = (1e6 * scale * (1 + self.noise * random.standard_normal(2 * blocks)) for scale in (1.0, self.ratio))
        return Samples(a=tuple(map(int, a)), b=tuple(map(int, b)))

    def promote(self, candidate: Built) -> None:
        self.held = candidate.library

    def close(self) -> None:
        pass


def outcome(device: FakeDevice) -> tuple[str, bool]:
    verdict = judge(device, TRIAL, (RIGHT,))
    assert (device.held == "candidate") is verdict.better
    assert (verdict.ratio is not None) is (verdict.outcome == "right")
    return verdict.outcome, verdict.better


@pytest.mark.parametrize("where", ["results", "compare"])
def test_a_candidate_that_crashes_or_hangs_costs_one_trial(where: str) -> None:
    assert outcome(FakeDevice(failure=ChildCrashedError("SIGSEGV"), fails_at=where)) == ("crashed", False)
    assert outcome(FakeDevice(failure=ChildHungError(), fails_at=where)) == ("hung", False)


def test_an_incumbent_that_crashes_is_not_the_candidates_fault() -> None:
    class Broken(FakeDevice):
        def hold(self, incumbent: Built, limit_s: float) -> None:
            raise ChildCrashedError("SIGILL")

    with pytest.raises(ChildCrashedError):
        judge(Broken(), TRIAL, (RIGHT,))


WRONG = {
    "scaled by 1.01": RIGHT * 1.01, "zeros": RIGHT * 0, "one NaN": np.where(np.arange(50) == 7, np.nan, RIGHT),
    "another shape": RIGHT[:-1], "another type": RIGHT.astype(np.float64), "one element": RIGHT + (np.arange(50) == 3),
}  # fmt: skip


@pytest.mark.parametrize("result", WRONG.values(), ids=WRONG)
def test_wrong_numbers_are_seen_however_fast_they_are(result: Array) -> None:
    assert outcome(FakeDevice(result=result.astype(result.dtype, copy=False), ratio=0.1)) == ("wrong", False)


def test_rounding_is_not_wrong_and_writing_elsewhere_is() -> None:
    assert outcome(FakeDevice(result=RIGHT * np.float32(1 + 1e-6), ratio=0.5)) == ("right", True)
    assert outcome(FakeDevice(guarded=False, ratio=0.5)) == ("wrong", False)


@pytest.mark.parametrize(("ratio", "better"), [(0.5, True), (0.97, True), (0.999, False), (1.0, False), (1.5, False)])
def test_only_what_is_faster_beyond_doubt_is_better(ratio: float, better: bool) -> None:
    assert outcome(FakeDevice(ratio=ratio)) == ("right", better)


@pytest.mark.parametrize(("ratio", "stages"), [(0.97, 4), (0.99, 4), (1.0, 3), (1.02, 3), (1.2, 2), (1.6, 1)])
def test_what_is_no_faster_is_given_up_early(ratio: float, stages: int) -> None:
    device = FakeDevice(ratio=ratio, noise=0.003)
    assert outcome(device) == ("right", stages == 4 and ratio < 0.995)
    assert device.blocks == [*(stage.blocks for stage in TRIAL.stages), TRIAL.confirm_blocks][:stages]


def test_what_is_clearly_faster_is_taken_early() -> None:
    device = FakeDevice(ratio=0.8, noise=0.02)
    assert outcome(device) == ("right", True)
    assert len(device.blocks) < 1 + len(TRIAL.stages)


def test_the_default_is_timed_whatever_it_looks_like_beside_itself() -> None:
    device, trial = FakeDevice(ratio=2.0), replace(TRIAL, candidate=DEFAULT)
    judge(device, trial, (RIGHT,))
    assert device.blocks == [trial.confirm_blocks]
    assert trial.confirm_blocks < TRIAL.confirm_blocks


@pytest.mark.parametrize("ratio", [0.5, 1.2])
def test_what_a_run_improved_is_measured_in_full(ratio: float) -> None:
    device = FakeDevice(ratio=ratio)
    judge(device, replace(TRIAL, whole=True), (RIGHT,))
    assert device.blocks == [TRIAL.confirm_blocks]


def test_noise_alone_does_not_win() -> None:
    assert outcome(FakeDevice(ratio=0.99, noise=0.5)) == ("right", False)


def test_the_comparator_of_integers_and_infinities() -> None:
    whole = np.arange(5)
    assert difference([whole], [whole]) == 0
    assert difference([whole], [whole + (whole == 2)]) == float("inf")
    infinite = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    assert difference([infinite], [infinite]) == 0
    assert difference([infinite[[1, 0, 2, 3]]], [infinite]) == float("inf")
    assert difference([np.ones(2, np.float32)], [np.zeros(2, np.float32)]) == float("inf")
