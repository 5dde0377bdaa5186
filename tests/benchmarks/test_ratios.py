"""Figures from bursts: what counts, medians, and how sure a ratio is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.peers.ratios import (
    ENOUGH_ROUNDS,
    NOISY_SHARE,
    Burst,
    counted,
    geometric_mean,
    ratio,
    times,
)

ROUNDS = 30


def burst(*seconds: float, waiting: float = 0.0) -> Burst:
    return Burst(seconds=seconds, ran_s=1 - waiting, waited_s=waiting)


def bursts(seconds: float, spread: float = 0.0, seed: int = 0) -> list[Burst]:
    """ROUNDS bursts around ``seconds``, each off by a normal share of ``spread``."""
    factors = 1 + spread * np.random.default_rng(seed).normal(size=ROUNDS)
    return [burst(seconds * factor) for factor in factors]


def test_waiting_is_the_share_of_time_that_threads_wanted() -> None:
    assert Burst(seconds=(1.0,), ran_s=3.0, waited_s=1.0).waiting == 0.25
    assert Burst(seconds=(1.0,), ran_s=0.0, waited_s=0.0).waiting == 0.0


def test_a_burst_is_quiet_below_the_limit_only() -> None:
    assert burst(1.0, waiting=NOISY_SHARE - 0.001).quiet
    assert not burst(1.0, waiting=NOISY_SHARE).quiet


def test_noisy_bursts_do_not_count_while_enough_are_quiet() -> None:
    quiet, noisy = burst(1.0), burst(9.0, waiting=0.5)
    assert counted([quiet] * ENOUGH_ROUNDS + [noisy]) == [*[quiet] * ENOUGH_ROUNDS, None]
    assert times([quiet] * ENOUGH_ROUNDS + [noisy]).p90_ms == 1000


def test_all_bursts_count_and_say_so_when_too_few_are_quiet() -> None:
    few = [burst(1.0)] * (ENOUGH_ROUNDS - 1) + [burst(9.0, waiting=0.5)]
    assert counted(few) == few
    found = times(few)
    assert found.noisy
    assert found.rounds == ENOUGH_ROUNDS
    assert found.waiting == pytest.approx(0.5 / ENOUGH_ROUNDS)
    assert not times([burst(1.0)] * ENOUGH_ROUNDS).noisy


def test_times_are_of_runs_and_the_median_of_bursts() -> None:
    found = times([burst(0.001, 0.002, 0.009)] * 5 + [burst(0.003, 0.004, 0.005)] * 6)
    assert (found.min_ms, found.median_ms, found.p90_ms) == pytest.approx((1, 4, 9))


def test_the_ratio_is_to_the_fastest() -> None:
    found = ratio(bursts(2.0), {"slow": bursts(8.0), "fast": bursts(4.0)})
    assert (found.value, found.low, found.high, found.best) == (0.5, 0.5, 0.5, "fast")


def test_the_interval_holds_the_truth_and_narrows_with_the_spread() -> None:
    wide = ratio(bursts(1.0, 0.1, seed=1), {"peer": bursts(2.0, 0.1, seed=2)})
    narrow = ratio(bursts(1.0, 0.01, seed=1), {"peer": bursts(2.0, 0.01, seed=2)})
    for found in (wide, narrow):
        assert found.low < 0.5 < found.high
    assert narrow.high - narrow.low < (wide.high - wide.low) / 5


def test_what_slows_everybody_at_once_leaves_the_ratio() -> None:
    """Rounds are drawn whole: a machine that runs at half speed in every other round has the same ratio in all."""
    slowed = [burst(1.0 * (1 + number % 2)) for number in range(ROUNDS)]
    peer = [burst(2.0 * (1 + number % 2)) for number in range(ROUNDS)]
    found = ratio(slowed, {"peer": peer})
    assert (found.low, found.high) == (0.5, 0.5)


def test_noisy_rounds_do_not_move_the_ratio() -> None:
    ours, peer = bursts(1.0), bursts(2.0)
    ours[:15] = [burst(50.0, waiting=0.9)] * 15
    found = ratio(ours, {"peer": peer})
    assert (found.value, found.high) == (0.5, 0.5)


def test_the_fastest_is_chosen_anew_in_every_resample() -> None:
    """Of equals one is ahead by chance: a fixed choice of it would hide that our ratio to the field is lower still."""
    equals = {str(seed): bursts(1.0, 0.1, seed) for seed in range(1, 9)}
    ours = bursts(1.0)
    found = ratio(ours, equals)
    alone = ratio(ours, {found.best: equals[found.best]})
    assert found.value == alone.value
    assert found.low > alone.low


def test_a_tie_is_within_five_percent() -> None:
    assert ratio(bursts(1.04), {"peer": bursts(1.0)}).tie
    assert ratio(bursts(0.96), {"peer": bursts(1.0)}).tie
    assert not ratio(bursts(1.06), {"peer": bursts(1.0)}).tie


def test_the_same_bursts_give_the_same_interval() -> None:
    peers = {"peer": bursts(2.0, 0.1, seed=2)}
    assert ratio(bursts(1.0, 0.1), peers) == ratio(bursts(1.0, 0.1), peers)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10), st.integers(0, 1000))
def test_a_ratio_does_not_depend_on_the_unit(unit: float, seed: int) -> None:
    plain = ratio(bursts(1.0, 0.05, seed), {"peer": bursts(2.0, 0.05, seed + 1)})
    scaled = ratio(bursts(unit, 0.05, seed), {"peer": bursts(2 * unit, 0.05, seed + 1)})
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_the_mean_of_ratios_is_geometric() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([0.25, 1.0]) == pytest.approx(0.5)
