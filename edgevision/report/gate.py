"""The gate: candidate against baseline from blocks of ABBA, with a bound on how often it is wrong. Statistics alone, no device.

What is compared is ln(B / A) of each block. Whether a block runs ABBA or BAAB is a coin's toss. So if the candidate took
``1 + allow`` times as long as the baseline, each block's deviation from ln(1 + allow) would be as likely positive as negative of
the same size, *whatever* the device does meanwhile and however one block's noise resembles the next one's. That is all that
Wilcoxon's signed-rank test needs (`signed_rank`); a bootstrap would need independent blocks, and holds only for many.

The blocks are looked at several times, and the gate stops when it knows enough. Each look may be wrong with a part of ``risk``:
by the time t of ``limit_s`` it has spent the share t / limit_s of it. Source: Lan and DeMets, Biometrika 70 (1983), linear
spending; the looks' risks are added up, as if they were independent, so the bound holds with room to spare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp
from statistics import median

from edgevision.bout import Block, Side, starts
from edgevision.latency import median_interval
from edgevision.report import signed_rank
from edgevision.verdict import Check, Decision, Estimate, Unit

DISTURBED = 0.1
"""Above this share of waiting a block does not count, where several threads computed: how long each run waited is known for one
thread."""

NEAR = 0.005
"""An interval narrower than this on each side is as good as it gets: what is still undecided then lies at the limit itself."""

SLOWED = 0.1
"""A device whose baseline takes this much longer in the last third of a bout than in the first has become slower: most often by
heat."""

DESCRIBED = 13
"""Blocks of a bout that is to describe an artifact and decide nothing: 52 processes, whose median is known to a per cent or two."""

LEAST_THIRD = 5
"""Blocks in a third, below which chance alone moves its median by `SLOWED`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """``allow``: how much slower the candidate may be (0.03: 3 %). ``budget_ms``: what one run of it may take, or None.
    ``risk``: how often a candidate that is exactly as slow as allowed may fail, and how often one may pass. ``limit_s``: then
    the gate gives up."""

    allow: float = 0.03
    budget_ms: float | None = None
    risk: float = 0.01
    limit_s: float = 110.0


@dataclass(slots=True, kw_only=True)
class Gate:
    """One gate for one bout: it knows how much of its risk it has spent. Where nothing is ``compared`` both sides are the
    candidate."""

    terms: Terms
    compared: bool = True
    spent: float = field(default=0.0, init=False)
    checks: tuple[Check, ...] = field(default=(), init=False)

    def look(self, blocks: Sequence[Block], elapsed_s: float, throttled: str = "") -> bool:
        """Judge what there is so far; whether that is enough."""
        share = min(1.0, elapsed_s / self.terms.limit_s)
        risk = max(0.0, share - self.spent) * self.terms.risk / self._asked
        self.spent = max(share, self.spent)
        found = []
        if self.compared:
            found.append(against_baseline(blocks, self.terms.allow, risk, throttled))
        if self.terms.budget_ms is not None:
            sides: tuple[Side, ...] = ("B",) if self.compared else ("A", "B")
            found.append(within_budget(blocks, self.terms.budget_ms, risk, throttled, sides))
        if not found:
            return len(blocks) >= DESCRIBED
        self.checks = tuple(_kept(old, new) for old, new in zip(self.checks or found, found, strict=True))
        return self.spent >= 1 or all(each.decision != "INCONCLUSIVE" or _narrow(each) for each in self.checks)

    @property
    def _asked(self) -> int:
        return max(1, self.compared + (self.terms.budget_ms is not None))


def against_baseline(blocks: Sequence[Block], allow: float, risk: float, throttled: str = "") -> Check:
    """Is the candidate slower than the baseline by more than ``allow``? ``risk`` of either wrong answer, in this one look."""
    used, dropped = usable(blocks)
    values = [block.log_ratio for block in used]
    between = signed_rank.interval(values, risk)
    ends = (exp(between[0]) - 1, exp(between[1]) - 1) if between else None
    value = exp(signed_rank.centre(values)) - 1 if values else None
    estimate = Estimate(value=value, interval=ends, used=len(used), taken=len(blocks), dropped=dropped)
    decision = _decided(ends, allow)
    reason = f"{_said(value, ends, change)} against the baseline's, allowed {change(allow)}"
    if decision == "INCONCLUSIVE":
        wide = ends is not None and ends[1] - ends[0] > 2 * NEAR
        reason = f"{why(blocks, used, wide=wide, known=ends is not None, throttled=throttled)}: {reason}"
    return Check(
        what="latency against the baseline", decision=decision, reason=reason, measured=value, limit=allow, unit="change",
        estimate=estimate,
    )  # fmt: skip


def within_budget(
    blocks: Sequence[Block], budget_ms: float, risk: float, throttled: str = "", sides: Sequence[Side] = ("B",)
) -> Check:
    """Does the median run of ``sides`` take ``budget_ms`` at most? By order statistics over the processes' medians.

    A device that throttles can show that the budget is kept, not that it is not.
    """
    used, dropped = usable(blocks)
    values = [start.ns / 1e6 for side in sides for start in starts(used, side)]
    ends = median_interval(values, 1 - 2 * risk) if risk > 0 else None
    value = median(values) if values else None
    estimate = Estimate(value=value, interval=ends, used=len(values), taken=2 * len(sides) * len(blocks), dropped=dropped)
    decision = _decided(ends, budget_ms)
    hot = throttled or slowed(used, "B")
    if decision == "FAIL" and hot:
        decision = "INCONCLUSIVE"
    reason = f"{_said(value, ends, milliseconds)}, budget {milliseconds(budget_ms)}"
    if decision == "INCONCLUSIVE":
        wide = ends is not None and ends[1] - ends[0] > 2 * NEAR * budget_ms
        reason = f"{why(blocks, used, wide=wide, known=ends is not None, throttled=hot)}: {reason}"
    return Check(
        what="latency", decision=decision, reason=reason, measured=value, limit=budget_ms, unit="ms", estimate=estimate
    )  # fmt: skip


def usable(blocks: Sequence[Block]) -> tuple[list[Block], tuple[tuple[str, int], ...]]:
    """The blocks that count, and how many do not for which reason."""
    reasons = [disturbed(block) for block in blocks]
    used = [block for block, reason in zip(blocks, reasons, strict=True) if not reason]
    return used, tuple(Counter(reason for reason in reasons if reason).most_common())


def disturbed(block: Block) -> str:
    """Why ``block`` does not count; "" when it does. The rule does not look at which side was slower."""
    if block.clock:
        return block.clock
    if any(start.slept for start in block.starts):
        return "the device was suspended"
    if any(start.threads > 1 for start in block.starts) and block.waiting > DISTURBED:
        return f"threads waited for a core for more than {DISTURBED:.0%} of the time"
    return ""


def slowed(blocks: Sequence[Block], side: Side = "A") -> str:
    """What to say of a device that became slower from the first to the last third of ``blocks``; "" where it did not."""
    third = len(blocks) // 3
    if third < LEAST_THIRD:
        return ""
    first, last = (median(block.ns(side) for block in part) for part in (blocks[:third], blocks[-third:]))
    return f"it became {last / first - 1:.0%} slower meanwhile" if last > first * (1 + SLOWED) else ""


def why(blocks: Sequence[Block], used: Sequence[Block], *, wide: bool, known: bool, throttled: str) -> str:
    """Why there is no answer: the first cause that applies."""
    lost = [block for block in blocks if block not in used]
    if any(block.clock for block in lost) and 2 * len(lost) >= len(blocks):
        return "the device's clock jumped"
    hot = throttled or slowed(used)
    if hot:
        return f"the device throttled ({hot})"
    if lost and 2 * len(lost) >= len(blocks):
        return f"the device is noisy ({len(lost)} of {len(blocks)} blocks were disturbed)"
    if not known:
        return f"too few samples ({len(used)} undisturbed blocks)"
    return "the device is noisy" if wide else "it lies at the limit"


def at_most(what: str, measured: float | None, limit: float, unit: Unit, absent: str = "") -> Check:
    """A figure that is exact, such as a file's size: it passes or fails. One that is ``absent`` is inconclusive."""
    if measured is None:
        return Check(what=what, decision="INCONCLUSIVE", reason=f"{what}: {absent}", measured=None, limit=limit, unit=unit)
    decision: Decision = "PASS" if measured <= limit else "FAIL"
    reason = f"{what} {SHOWN[unit](measured)}, budget {SHOWN[unit](limit)}"
    return Check(what=what, decision=decision, reason=reason, measured=measured, limit=limit, unit=unit)


def modelled(what: str, baseline: float, candidate: float, allow: float) -> Check:
    """The same code gives the same figure, so one look decides."""
    ratio = candidate / baseline - 1
    decision: Decision = "PASS" if candidate <= baseline * (1 + allow) else "FAIL"
    reason = f"{what} {change(ratio)} against the baseline's ({baseline:,.0f} to {candidate:,.0f}), allowed {change(allow)}"
    return Check(what=what, decision=decision, reason=reason, measured=ratio, limit=allow, unit="change")


def change(ratio: float) -> str:
    """0.0312 -> "+3.1 %"; below half a per cent, two digits."""
    return f"{ratio * 100:+.{2 if abs(ratio) < 0.005 else 1}f} %"


def milliseconds(value: float) -> str:
    return f"{value:.4g} ms"


SHOWN: dict[Unit, Callable[[float], str]] = {"change": change, "ms": milliseconds, "bytes": lambda count: f"{count:,.0f} bytes"}


def _said(value: float | None, ends: tuple[float, float] | None, show: Callable[[float], str]) -> str:
    if value is None:
        return "latency not known"
    return f"latency {show(value)}" + (f" (between {show(ends[0])} and {show(ends[1])})" if ends else "")


def _decided(ends: tuple[float, float] | None, limit: float) -> Decision:
    if ends is None or ends[0] <= limit < ends[1]:
        return "INCONCLUSIVE"
    return "PASS" if ends[1] <= limit else "FAIL"


def _kept(before: Check, now: Check) -> Check:
    """A decision that was made stays: the risk of it was taken then."""
    return now if before.decision == "INCONCLUSIVE" else before


def _narrow(check: Check) -> bool:
    ends = check.estimate.interval if check.estimate else None
    scale = check.limit if check.unit == "ms" else 1.0
    return ends is not None and ends[1] - ends[0] <= 2 * NEAR * scale
