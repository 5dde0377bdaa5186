"""The statistics that decide when a latency is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, repeat

import numpy as np
import pytest

from edgevision.latency import DeviceInfo, Latency, median_interval
from edgevision.measure.sampling import Sampling, collect, is_settled, relative_precision


class Clock:
    """A clock that a run advances by the next of ``durations``."""

    def __init__(self, durations: Iterable[float]) -> None:
        self.now, self.runs, self._durations = 0.0, 0, iter(durations)

    def read(self) -> float:
        return self.now

    def run(self) -> None:
        self.now += next(self._durations)
        self.runs += 1


def noisy(seed: int, spread: float) -> Callable[[], float]:
    rng = np.random.default_rng(seed)
    return lambda: float(0.01 * (1 + spread * rng.standard_normal()))


def test_warm_up_lasts_until_times_stop_falling() -> None:
    falling = [0.1 * 0.9**i for i in range(20)]
    clock = Clock(chain(falling, repeat(falling[-1])))
    samples = collect(clock.run, Sampling(warmup_s=100), clock.read)
    assert 20 <= samples.warmup < 32
    assert set(np.round(samples.seconds, 9)) == {round(falling[-1], 9)}


def test_a_steady_run_needs_two_windows_of_warm_up() -> None:
    clock = Clock(repeat(0.01))
    samples = collect(clock.run, Sampling(), clock.read)
    assert samples.warmup == 10 and len(samples.seconds) == Sampling().least
    assert clock.runs == samples.warmup + len(samples.seconds)


def test_warm_up_that_never_settles_is_cut() -> None:
    clock = Clock(chain((0.1 * 0.97**i for i in range(20)), repeat(0.05)))
    assert collect(clock.run, Sampling(window=2, settled=0.001, warmup_s=0.5), clock.read).warmup == 6


def test_noise_takes_more_samples_than_quiet() -> None:
    quiet, loud = (Clock(iter(noisy(1, spread), None)) for spread in (0.005, 0.06))
    plan = Sampling(limit_s=1e9)
    counts = [len(collect(clock.run, plan, clock.read).seconds) for clock in (quiet, loud)]
    assert counts[0] == plan.least < counts[1] < plan.most


def test_sampling_stops_at_the_precision_it_was_asked_for() -> None:
    clock = Clock(iter(noisy(2, 0.1), None))
    plan = Sampling(precision=0.02, limit_s=1e9)
    seconds = collect(clock.run, plan, clock.read).seconds
    assert relative_precision(seconds) <= 0.02 < relative_precision(seconds[: -plan.block])
    assert len(seconds) % plan.block == 0


@pytest.mark.parametrize(
    ("plan", "count"),
    [
        (Sampling(precision=0, limit_s=0.5), 50),
        (Sampling(precision=0, most=77, limit_s=9), 77),
        (Sampling(limit_s=0), 5),
    ],
    ids=["time", "count", "the least that is always run"],
)
def test_limits(plan: Sampling, count: int) -> None:
    clock = Clock(iter(noisy(3, 1e-6), None))
    assert len(collect(clock.run, plan, clock.read).seconds) == count


def test_settled_needs_two_windows() -> None:
    assert not is_settled([1.0] * 9, Sampling())
    assert is_settled([1.0] * 10, Sampling())
    assert not is_settled([1.03] * 5 + [1.0] * 5, Sampling())
    assert is_settled([1.01] * 5 + [1.0] * 5, Sampling())


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    draws = rng.lognormal(size=(2000, 41))
    covered = sum(low <= 1.0 <= high for low, high in map(median_interval, draws.tolist()))  # type: ignore[misc]
    # Exact coverage for n = 41 is 0.9725; 2000 draws have a standard error of 0.004.
    assert 0.955 <= covered / 2000 <= 0.985


def test_the_interval_by_order_statistics() -> None:
    assert median_interval(list(range(5))) is None
    assert median_interval([5, 3, 1, 4, 2, 0]) == (0, 5)
    # n = 25: the 8th smallest and largest cover with 0.9567, the 9th with 0.8922 (binomial table).
    assert median_interval(list(range(1, 26))) == (8, 18)
    # Large n: the ranks are n/2 -+ 1.96 sqrt(n)/2.
    assert median_interval(list(range(1, 4001))) == (1938, 2063)


def test_latency_figures() -> None:
    device = DeviceInfo(name="this machine", cpu="", cores=2, transport="local")
    samples = (5.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0, 9.0, 100.0)
    latency = Latency(samples_ms=samples, warmup=1, threads=1, device=device, how="measured", artifact_sha256="")
    assert (latency.median_ms, latency.min_ms, latency.p90_ms) == (5.5, 1.0, 9.0)
    assert latency.spread == pytest.approx(2.5 / 5.5)
    assert latency.interval_ms == (2.0, 9.0)
