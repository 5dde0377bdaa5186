"""The search for a latency, with a clock that is a formula."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest

from edgevision.rewrite.prune.latency import MOST_TIMED, NEAR, LatencyBudgetError, prune_to_latency
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.prune.pruning import planned
from edgevision.rewrite.prune.workloads import Clock, Timing, Workload, milliseconds, workload_of
from tests.rewrite.prune.test_select import chain


class Formula:
    """``fixed_ms``, a nanosecond for a hundred MACs, and ``odd_ms`` for each width that 16 does not divide; counts what
    it timed."""

    how, unit = "formula", "ms"

    def __init__(self, fixed_ms: float = 0.0, odd_ms: float = 0.0) -> None:
        self.fixed_ms, self.odd_ms, self.timed = fixed_ms, odd_ms, 0
        self.known: dict[Workload, float] = {}

    def __call__(self, proto: onnx.ModelProto) -> Timing:
        self.timed += 1
        network = Network(proto)
        found = [each for node in network.nodes if (each := workload_of(node, network)) is not None]
        times = {each: each.pixels_out * each.taps * each.into * each.out * 1e-5 + self.odd_ms * bool(each.out % 16)
                 for each in found}  # fmt: skip
        ms = self.fixed_ms + sum(times[each] for each in found)
        return Timing(ms=ms, workloads=times, rest_ms=self.fixed_ms)


PLAN = planned(
    chain(64, 128, 128, 64, 96, 72), importance="l1", scope="global", round_to=8, frozen=(), least_kept=0.1, scales=None
)
PROTO = PLAN.network.proto


@pytest.mark.parametrize(("fixed_ms", "odd_ms"), [(0.0, 0.0), (4.0, 0.0), (0.0, 0.1)])
@pytest.mark.parametrize("part", [0.4, 0.6, 0.9])
def test_the_result_is_within_the_budget_and_near_it(part: float, fixed_ms: float, odd_ms: float) -> None:
    timer = Formula(fixed_ms, odd_ms)
    full_ms = timer(PROTO).ms
    budget_ms = fixed_ms + part * (full_ms - fixed_ms)
    found = prune_to_latency(PLAN, budget_ms, timer)
    assert found.full_ms == full_ms
    assert found.achieved_ms == timer(found.pruned.proto).ms
    assert NEAR * budget_ms <= found.achieved_ms <= budget_ms
    assert found.used == found.achieved_ms / budget_ms
    assert found.pruned.achieved == pytest.approx(found.achieved_ms / full_ms)
    assert timer.timed <= MOST_TIMED + 3


def test_a_model_that_is_right_needs_one_candidate() -> None:
    timer = Formula()
    found = prune_to_latency(PLAN, 0.5 * timer(PROTO).ms, timer)
    assert found.candidates == 1 and found.modelled_ms == pytest.approx(found.achieved_ms, rel=0.02)


def test_time_is_taken_from_layers_that_cost_it() -> None:
    """Equal MACs and filters in both, but the second takes a hundred times as long: it is the one that gets narrower."""
    plan = planned(
        chain(64, 64, 64), importance="random", scope="global", round_to=8, frozen=(), least_kept=0.1, scales=None
    )
    slow = [workload_of(node, plan.network) for node in plan.network.nodes if node.op == "Conv"]
    assert slow[1] is not None and slow[1] == slow[2]
    full = Formula()(plan.network.proto)
    first = next(iter(full.workloads))
    dear = replace(full, ms=full.ms + 99 * full.workloads[first], workloads={**full.workloads, first: 100 * full.workloads[first]})
    cost = milliseconds(plan.network, plan.channels, Clock(dear.workloads), dear)
    widths = plan.narrowed(cost, 0.5, None).widths
    assert widths[0].after < min(width.after for width in widths[1:3])


def test_a_budget_below_what_any_width_reaches_says_how_near_it_came() -> None:
    with pytest.raises(LatencyBudgetError, match="fastest of") as caught:
        prune_to_latency(PLAN, 1.0, Formula(4.0))
    assert 4.0 < caught.value.reached_ms < Formula(4.0)(PROTO).ms


def test_a_budget_that_the_network_meets_already() -> None:
    with pytest.raises(LatencyBudgetError, match="already"):
        prune_to_latency(PLAN, 1e3, Formula())


def test_the_fit_is_that_of_the_family() -> None:
    def measured(into: int, out: int, pixels: int = 100) -> Workload:
        return Workload(pixels_in=pixels, pixels_out=pixels, taps=9, into=into, out=out, depthwise=False)

    points = {measured(i, o): 0.01 + 1e-4 * i * o + 2e-4 * i + 3e-4 * o for i in (8, 16, 32, 64) for o in (8, 24, 64)}
    clock = Clock({**points, measured(8, 8, pixels=400): 55.0})
    a, b, c, d = clock.fit(measured(1, 1).family) or (0.0,) * 4
    assert a + b * 48 * 48 + c * 48 + d * 48 == pytest.approx(0.01 + 1e-4 * 48 * 48 + 5e-4 * 48, rel=0.05)
    assert clock.fit(measured(1, 1, pixels=200).family) is None
    alone = Clock({measured(64, 64): 8.0}).fit(measured(1, 1).family) or (0.0,) * 4
    assert alone[1] * 32 * 32 == pytest.approx(2.0, rel=0.05)
