"""How far the centre of symmetric observations can be known: the Hodges-Lehmann estimate and Wilcoxon's interval."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

EXACT = 300
"""Up to as many observations the distribution is counted out; beyond, its normal approximation is off by less than one rank of
45,000."""


def centre(values: Sequence[float]) -> float:
    """The median of the means of all pairs. Source: Hodges and Lehmann, Annals of Mathematical Statistics 34 (1963)."""
    return float(np.median(_means(values)))


def interval(values: Sequence[float], risk: float) -> tuple[float, float] | None:
    """An interval for the centre: each end is beyond it with a probability of ``risk`` at most; None where there are too few
    values.

    It goes from the k-th smallest to the k-th largest mean of two values, k the largest with P(T < k) <= risk, T Wilcoxon's
    signed-rank statistic. Exact when each value is as likely to lie above the centre as below it by the same amount, whatever
    the distributions, which may differ from value to value. Source: Hollander, Wolfe and Chicken, Nonparametric Statistical
    Methods, section 3.3.
    """
    rank = _rank(len(values), risk) if values and risk > 0 else 0
    if rank == 0:
        return None
    means = np.sort(_means(values))
    return float(means[rank - 1]), float(means[-rank])


def _means(values: Sequence[float]) -> NDArray[np.float64]:
    each = np.asarray(values, np.float64)
    first, second = np.triu_indices(len(each))
    return (each[first] + each[second]) / 2


@lru_cache(maxsize=1024)
def _rank(count: int, risk: float) -> int:
    if count > EXACT:
        mean, variance = count * (count + 1) / 4, count * (count + 1) * (2 * count + 1) / 24
        return max(0, int(mean + NormalDist().inv_cdf(risk) * variance**0.5))
    return int(np.searchsorted(np.cumsum(_distribution(count)), risk * (1 + 1e-12), side="right"))


@lru_cache(maxsize=EXACT + 1)
def _distribution(count: int) -> NDArray[np.float64]:
    """P(T = t): each of the ranks 1 to ``count`` belongs to a positive value with probability 1/2."""
    probability = np.zeros(count * (count + 1) // 2 + 1)
    probability[0] = 1.0
    for rank in range(1, count + 1):
        shifted = np.zeros_like(probability)
        shifted[rank:] = probability[:-rank]
        probability = (probability + shifted) / 2
    return probability
