"""Benches side by side: what is shared, what is lost, and who is asked again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field

import pytest

from edgevision.measure.transport import LostDeviceError
from edgevision.tune.lanes import MOST_LOSSES, Finished, Lanes, NoDeviceLeftError
from edgevision.tune.request import Built
from edgevision.tune.trial import Trial, Verdict

RIGHT = Verdict(outcome="right", ratio=1.0, us=1.0)


def trial(name: str) -> Trial:
    built = Built(library=name, schedule="", workspace_bytes=0, arguments=(), tolerance=1e-5)
    return Trial(workload="w", default=built, incumbent=built, candidate=built, default_s=1e-3)


@dataclass
class FakeBench:
    """``dies`` says of a batch whether the device goes away; ``opens`` are the answers to attempts to reach it anew."""

    name: str
    size: int = 2
    cpu: str = "A76"
    dies: Callable[[Sequence[str]], bool] = lambda _: False
    reachable: bool = True
    opened: int = 0
    closed: bool = False
    batches: list[list[str]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    go: threading.Event | None = None

    def open(self) -> None:
        self.opened += 1
        if not self.reachable:
            raise self.lost()

    def trials(self, batch: Sequence[Trial]) -> list[Verdict]:
        names = [each.candidate.library for each in batch]
        self.threads.add(threading.get_ident())
        if self.go is not None:
            assert self.go.wait(10)
        if self.dies(names):
            raise self.lost()
        self.batches.append(names)
        return [RIGHT] * len(batch)

    def close(self) -> None:
        self.closed = True

    def lost(self) -> LostDeviceError:
        return LostDeviceError(self.name, "testing", "connection closed", "repeat")


def run(benches: Sequence[FakeBench], jobs: Sequence[str], said: list[str] | None = None) -> list[Finished[str]]:
    lanes: Lanes[str] = Lanes(benches, (said if said is not None else []).append, again_s=(0.0, 0.0))
    for job in jobs:
        lanes.put(job, lambda job=job: trial(job))  # type: ignore[misc]
    done: list[Finished[str]] = []
    try:
        lanes.start()
        while lanes.running:
            ready, _ = wait(lanes.running, return_when=FIRST_COMPLETED)
            for future in ready:
                done += lanes.finish(future)
            lanes.start()
    finally:
        lanes.close()
    return done


JOBS = [f"c{number}" for number in range(11)]


def test_each_takes_what_it_can_hold_and_stays_in_one_thread() -> None:
    gate = threading.Event()
    benches = [FakeBench("a", size=3, go=gate), FakeBench("b", size=1, go=gate)]
    threading.Timer(0.1, gate.set).start()
    done = run(benches, JOBS)
    assert sorted(each.job for each in done) == sorted(JOBS)
    assert all(bench.batches and bench.closed for bench in benches)
    assert benches[0].batches[0] == JOBS[:3] and max(map(len, benches[1].batches)) == 1
    assert [len(bench.threads) for bench in benches] == [1, 1], "native/trial.c ends with the thread that started it"
    assert all(each.verdict == RIGHT and each.bench in benches for each in done)


def test_a_lost_device_costs_its_batch_which_goes_to_another() -> None:
    first, second = FakeBench("a", dies=lambda _: True, reachable=False), FakeBench("b")
    said: list[str] = []
    done = run([first, second], JOBS, said)
    assert sorted(each.job for each in done) == sorted(JOBS) and {each.bench.name for each in done} == {"b"}
    assert first.opened == 2 and "tried again, others take its work" in said[0] and "given up; others go on" in said[1]
    alone = [batch for batch in second.batches if set(batch) & {"c0", "c1"}]
    assert sorted(alone) == [["c0"], ["c1"]], "what was running when it was lost runs alone"


def test_a_device_that_comes_back_goes_on() -> None:
    failed: list[str] = []
    bench = FakeBench("a", dies=lambda names: "c4" in names and not failed.append("once") and len(failed) == 1)  # type: ignore[func-returns-value]
    done = run([bench], JOBS)
    assert sorted(each.job for each in done) == sorted(JOBS) and bench.opened == 1


def test_what_takes_a_device_away_twice_is_left_out() -> None:
    benches = [FakeBench("a", dies=lambda names: "c5" in names), FakeBench("b", dies=lambda names: "c5" in names)]
    done = run(benches, JOBS)
    verdicts = {each.job: each.verdict for each in done}
    assert set(verdicts) == set(JOBS)
    assert [job for job, verdict in verdicts.items() if verdict is None] == ["c5"]


def test_a_device_that_is_always_lost_again_is_given_up() -> None:
    bench = FakeBench("a", size=1, dies=lambda _: True)
    said: list[str] = []
    with pytest.raises(NoDeviceLeftError, match="connection closed") as caught:
        run([bench], JOBS, said)
    assert caught.value.exit_code == 4 and len(said) == MOST_LOSSES and "given up" in said[-1]
    assert "same command continues" in str(caught.value)


def test_losses_count_in_a_row() -> None:
    """One that is lost now and then, with work done in between, stays."""
    losses = {name: 1 for name in JOBS[::2]}
    bench = FakeBench("a", size=1, dies=lambda names: losses.pop(names[0], 0) == 1)
    assert len(run([bench], JOBS)) == len(JOBS) and bench.opened == len(JOBS[::2]) > MOST_LOSSES


def test_all_gone_names_each() -> None:
    with pytest.raises(NoDeviceLeftError) as caught:
        run([FakeBench(name, dies=lambda _: True, reachable=False) for name in "ab"], JOBS)
    assert len(caught.value.causes) == 2 and "device a" in str(caught.value) and "device b" in str(caught.value)


def test_what_is_no_loss_is_raised() -> None:
    class Broken(FakeBench):
        def trials(self, batch: Sequence[Trial]) -> list[Verdict]:
            raise ZeroDivisionError

    broken = Broken("a")
    with pytest.raises(ZeroDivisionError):
        run([broken], JOBS)
    assert broken.closed


def test_states_are_of_named_benches() -> None:
    lanes: Lanes[str] = Lanes([FakeBench("a"), FakeBench("")], again_s=())
    assert [(state.name, state.cpu, state.trials, state.lost) for state in lanes.states] == [("a", "A76", 0, "")]
    assert lanes.size == 4
    lanes.close()


def test_closing_ends_the_wait_for_a_lost_device() -> None:
    lanes: Lanes[str] = Lanes([FakeBench("a", size=1, dies=lambda _: True)], again_s=(60.0,))
    lanes.put("c", lambda: trial("c"))
    lanes.start()
    (future,) = lanes.running
    wait([future])
    assert lanes.finish(future) == []
    (reaching,) = lanes.running
    lanes.close()
    assert reaching.done()
