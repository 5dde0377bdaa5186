"""The gate's decisions, one near miss for every guard, and how often it is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgevision.bout import Block
from edgevision.report import gate
from edgevision.report.gate import Gate, Terms, against_baseline, at_most, modelled, usable, why, within_budget
from tests.report.bouts import MS, block, blocks, start

LOOKS = (13, 18, 25, 35, 49, 69)


def judged(found: Sequence[Block], terms: Terms | None = None, limit_s: float = 69.0) -> Gate:
    """A gate that looks at `LOOKS`, a block a second."""
    made = Gate(terms=terms or Terms(limit_s=limit_s))
    for count in LOOKS:
        if count > len(found) or made.look(found[:count], float(count)):
            break
    return made


DECIDED = {
    "the same": (1.0, "PASS"),
    "a little slower": (1.01, "PASS"),
    "faster": (0.9, "PASS"),
    "5 % slower": (1.055, "FAIL"),
    "twice as slow": (2.0, "FAIL"),
    "as slow as allowed": (1.03, "INCONCLUSIVE"),
}


@pytest.mark.parametrize(("ratio", "decision"), DECIDED.values(), ids=DECIDED)
def test_what_is_decided(ratio: float, decision: str) -> None:
    [check] = judged(blocks(ratio, 69, noise=0.02)).checks
    assert check.decision == decision, check.reason
    assert check.estimate is not None and check.estimate.interval is not None
    low, high = check.estimate.interval
    assert low <= ratio - 1 <= high and check.measured == pytest.approx(ratio - 1, abs=0.02)


def test_the_allowance_is_what_is_asked_for() -> None:
    found = blocks(1.055, 69)
    assert judged(found, Terms(allow=0.10, limit_s=69)).checks[0].decision == "PASS"
    assert judged(found, Terms(allow=0.01, limit_s=69)).checks[0].decision == "FAIL"


def test_it_stops_when_it_knows() -> None:
    made = Gate(terms=Terms(limit_s=100))
    assert not made.look(blocks(1.0, 6, noise=0.001), 3.0)  # six blocks never suffice at this risk
    assert made.look(blocks(1.0, 20, noise=0.001), 6.0) and made.spent == pytest.approx(0.06)


def test_it_stops_at_the_limit_in_time_and_in_precision() -> None:
    made = Gate(terms=Terms(limit_s=10))
    assert made.look(blocks(1.03, 5), 10.0) and made.checks[0].decision == "INCONCLUSIVE"
    near = Gate(terms=Terms(limit_s=100))
    assert near.look(blocks(1.03, 60, noise=0.001), 20.0) and near.checks[0].decision == "INCONCLUSIVE"
    assert "it lies at the limit" in near.checks[0].reason


def test_a_decision_that_was_made_stays() -> None:
    made = Gate(terms=Terms(budget_ms=1.0, limit_s=100))
    made.look(blocks(1.0, 40, noise=0.005), 20.0)
    first = made.checks[0]
    assert first.decision == "PASS" and made.checks[1].decision == "INCONCLUSIVE"
    made.look(blocks(1.5, 40, noise=0.005), 21.0)
    assert made.checks[0] == first and made.checks[1].decision == "FAIL"


def failures(risk: float, *, spend: bool, kept: float, tries: int) -> float:
    """How often a candidate that is exactly as slow as allowed fails."""
    found = 0
    for seed in range(tries):
        noise = blocks(1.03, LOOKS[-1], seed=seed, kept=kept)
        made = Gate(terms=Terms(risk=risk, limit_s=LOOKS[-1]))
        for count in LOOKS:
            if not spend:
                made.spent = count / LOOKS[-1] - 1.0  # the whole risk, at every look
            if made.look(noise[:count], float(count)):
                break
        found += made.checks[0].decision == "FAIL"
    return found / tries


def test_looking_often_costs_no_more_than_the_risk_though_noise_lasts() -> None:
    risk, tries = 0.05, 400
    bound = risk + 3 * (risk / tries) ** 0.5
    assert failures(risk, spend=True, kept=0.0, tries=tries) <= bound
    assert failures(risk, spend=True, kept=0.9, tries=tries) <= bound
    assert failures(risk, spend=False, kept=0.0, tries=tries) > bound  # so the bound can be missed


WAITED = "threads waited for a core for more than 10% of the time"
DROPPED = {
    "clock": (block(clock="the device's clock went back"), "the device's clock went back"),
    "suspended": (block(asleep_ns=1_000_001), "the device was suspended"),
    "not suspended": (block(asleep_ns=1_000_000), ""),
    "not known": (block(asleep_ns=None), ""),
    "several threads waited": (block(threads=2, ran_ns=899, ready_ns=101), WAITED),
    "several threads hardly waited": (block(threads=2, ran_ns=901, ready_ns=99), ""),
    "one thread, whose waiting is taken off": (block(threads=1, ran_ns=100, ready_ns=900), ""),
}


@pytest.mark.parametrize(("one", "reason"), DROPPED.values(), ids=DROPPED)
def test_which_blocks_count(one: Block, reason: str) -> None:
    used, dropped = usable([block(), one])
    assert len(used) == (1 if reason else 2)
    assert dropped == (((reason, 1),) if reason else ())


def test_what_waited_is_no_part_of_the_time() -> None:
    waited = start("A", 5 * MS, waited_ns=(4 * MS, 4 * MS, 0))
    assert waited.ns == MS
    assert start("A", 5 * MS, waited_ns=(4 * MS,) * 3, threads=2).ns == 5 * MS
    assert start("A", 5 * MS, waited_ns=(6 * MS,) * 3).ns == 5 * MS  # it waited before the sample


def test_blocks_that_are_dropped_decide_nothing() -> None:
    good, bad = blocks(1.0, 30, noise=0.01), blocks(2.0, 29, noise=0.01, clock="it jumped")
    check = against_baseline([*good, *bad], 0.03, 0.01)
    assert check.decision == "PASS" and check.estimate is not None
    assert (check.estimate.used, check.estimate.taken, check.estimate.dropped) == (30, 59, (("it jumped", 29),))


def test_the_cause_of_an_open_question() -> None:
    good, jumped = blocks(1.03, 20), blocks(1.03, 20, clock="it jumped")
    busy = blocks(1.03, 20, threads=2, ran_ns=1, ready_ns=1)
    hot = [block(ns=MS * (1 + 0.02 * at)) for at in range(20)]

    def cause(found: Sequence[Block], *, known: bool = True, wide: bool = True, throttled: str = "") -> str:
        return why(found, usable(found)[0], wide=wide, known=known, throttled=throttled)

    assert cause([*good, *jumped]) == "the device's clock jumped"
    assert cause([*good, *jumped[1:]]) == "the device is noisy"
    assert cause([*good, *busy]) == "the device is noisy (20 of 40 blocks were disturbed)"
    assert cause(good, throttled="twice") == "the device throttled (twice)"
    assert cause(hot).startswith("the device throttled (it became 2") and cause(hot[:14]) == "the device is noisy"
    assert cause(good[:3], known=False) == "too few samples (3 undisturbed blocks)"
    assert cause(good, wide=False) == "it lies at the limit"


def test_a_budget_in_milliseconds() -> None:
    found = blocks(1.0, 40, ns=2 * MS)
    assert within_budget(found, 2.2, 0.01).decision == "PASS"
    assert within_budget(found, 1.8, 0.01).decision == "FAIL"
    assert within_budget(found, 2.0, 0.01).decision == "INCONCLUSIVE"
    assert within_budget(found[:2], 2.2, 0.01).decision == "INCONCLUSIVE"


def test_a_device_that_throttles_can_keep_a_budget_but_not_break_it() -> None:
    found = blocks(1.0, 40, ns=2 * MS)
    assert within_budget(found, 2.2, 0.01, "at step 3").decision == "PASS"
    broken = within_budget(found, 1.8, 0.01, "at step 3")
    assert broken.decision == "INCONCLUSIVE" and "throttled (at step 3)" in broken.reason


def test_the_budget_is_the_candidates() -> None:
    found = blocks(2.0, 40)
    assert within_budget(found, 1.5, 0.01).decision == "FAIL"
    assert within_budget(found, 1.5, 0.01, sides=("A",)).decision == "PASS"


def test_without_a_question_it_describes() -> None:
    made = Gate(terms=Terms(), compared=False)
    assert not made.look(blocks(1.0, gate.DESCRIBED - 1), 5.0) and made.look(blocks(1.0, gate.DESCRIBED), 5.0)
    assert made.checks == ()


def test_figures_that_are_exact() -> None:
    assert at_most("size", 10, 10, "bytes").decision == "PASS"
    assert at_most("size", 11, 10, "bytes").decision == "FAIL"
    absent = at_most("memory", None, 10, "bytes", "the device does not say")
    assert absent.decision == "INCONCLUSIVE" and "the device does not say" in absent.reason
    assert modelled("cycles", 1000, 1030, 0.03).decision == "PASS"
    assert modelled("cycles", 1000, 1031, 0.03).decision == "FAIL"
