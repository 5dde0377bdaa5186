"""The search for a latency, with a clock that is a formula."""

from __future__ import annotations

import onnx
import pytest

from edgevision.counting import count
from edgevision.rewrite.prune import Pruned, prune
from edgevision.rewrite.prune.latency import MOST_TIMED, NEAR, LatencyBudgetError, prune_to_latency
from tests.rewrite.prune.test_select import chain


class Clock:
    """``fixed_ms`` and a microsecond for ``macs_per_us``; counts what it timed."""

    def __init__(self, fixed_ms: float) -> None:
        self.fixed_ms, self.timed = fixed_ms, 0

    def __call__(self, proto: onnx.ModelProto) -> float:
        self.timed += 1
        return self.fixed_ms + count(proto).macs * 1e-5


PROTO = chain(64, 128, 128, 64)


def candidate(share: float) -> Pruned:
    return prune(PROTO, share, measure="macs")


@pytest.mark.parametrize("fixed_ms", [0.0, 4.0])
@pytest.mark.parametrize("part", [0.4, 0.6, 0.9])
def test_the_result_is_within_the_budget_and_near_it(part: float, fixed_ms: float) -> None:
    clock = Clock(fixed_ms)
    full_ms = clock(PROTO)
    budget_ms = fixed_ms + part * (full_ms - fixed_ms)
    found = prune_to_latency(PROTO, budget_ms, clock, candidate)
    assert found.full_ms == full_ms
    assert found.achieved_ms == Clock(fixed_ms)(found.pruned.proto)
    assert NEAR * budget_ms <= found.achieved_ms <= budget_ms
    assert clock.timed <= MOST_TIMED + 2


def test_a_budget_below_what_any_width_reaches_says_how_near_it_came() -> None:
    with pytest.raises(LatencyBudgetError, match="fastest of") as caught:
        prune_to_latency(PROTO, 1.0, Clock(4.0), candidate)
    assert 4.0 < caught.value.reached_ms < Clock(4.0)(PROTO)


def test_a_budget_that_the_network_meets_already() -> None:
    with pytest.raises(LatencyBudgetError, match="already"):
        prune_to_latency(PROTO, 1e3, Clock(0.0), candidate)
