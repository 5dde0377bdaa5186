"""Wilcoxon's interval: its ranks against published tables, its coverage, and when there is none."""

from __future__ import annotations

import numpy as np
import pytest

from edgevision.report import signed_rank

TABLE = {(10, 0.0245): 9, (10, 0.0244): 8, (12, 0.0270): 15, (20, 0.0250): 53, (25, 0.0100): 77}
"""(n, risk) -> k, where P(T <= k - 1) <= risk < P(T <= k). Hollander, Wolfe and Chicken, table A.4; R's psignrank agrees."""


@pytest.mark.parametrize(("given", "rank"), TABLE.items(), ids=map(str, TABLE))
def test_the_ranks_are_those_of_the_table(given: tuple[int, float], rank: int) -> None:
    count, risk = given
    values = np.random.default_rng(0).normal(size=count)
    means = sorted((values[i] + values[j]) / 2 for i in range(count) for j in range(i, count))
    assert signed_rank.interval(list(values), risk) == pytest.approx((means[rank - 1], means[-rank]))


def test_too_few_values_have_no_interval() -> None:
    assert signed_rank.interval([1.0] * 6, 0.01) is None  # 2^-6 > 0.01
    assert signed_rank.interval([1.0] * 7, 0.01) == (1.0, 1.0)
    assert signed_rank.interval([1.0] * 7, 0.0) is None
    assert signed_rank.interval([], 0.5) is None


def test_the_approximation_goes_on_where_counting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    for risk in (0.01, 1e-4):
        exact = signed_rank._rank(signed_rank.EXACT, risk)
        with monkeypatch.context() as patch:
            patch.setattr(signed_rank, "EXACT", signed_rank.EXACT - 1)
            signed_rank._rank.cache_clear()
            assert abs(signed_rank._rank(signed_rank.EXACT + 1, risk) - exact) <= 0.01 * exact
        signed_rank._rank.cache_clear()


def test_the_centre_withstands_outliers() -> None:
    values = [*np.random.default_rng(1).normal(2.0, 0.1, 80), *[1e6] * 10]
    assert signed_rank.centre(values) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("draw", ["normal", "laplace", "standard_cauchy"])
def test_each_end_is_wrong_as_rarely_as_it_says(draw: str) -> None:
    random, risk, tries = np.random.default_rng(2), 0.05, 2000
    found = [signed_rank.interval(list(getattr(random, draw)(size=15)), risk) for _ in range(tries)]
    above = sum(ends is not None and ends[0] > 0 for ends in found) / tries
    below = sum(ends is not None and ends[1] < 0 for ends in found) / tries
    assert 0.5 * risk < above < risk + 3 * (risk / tries) ** 0.5
    assert 0.5 * risk < below < risk + 3 * (risk / tries) ** 0.5
