"""select: which rung of every ladder, so that what stays is as important as the budget allows.

    uniform   every ladder at the same share of its width
    global    step by step the rung whose loss of importance is least for what it saves
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgevision.errors import InputError
from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.cost import Cost
from edgevision.rewrite.prune.ladder import Ladder
from edgevision.rewrite.prune.removing import Mask

Scope = Literal["global", "uniform"]


class BudgetError(InputError):
    """A budget below what the narrowest network reaches."""

    def __init__(self, unit: str, requested: float, least: float) -> None:
        self.unit, self.requested, self.least = unit, requested, least
        super().__init__(
            f"{requested:.3g} of the {unit} cannot be reached: {least:.3g} is the least, at the narrowest widths "
            "allowed; ask for more, or lower --round-to"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """``removed`` classes; ``share``: the cost that stays, relative to the cost of the whole network."""

    removed: tuple[int, ...]
    share: float


def select(
    ladders: Sequence[Ladder], channels: Channels, score: Mapping[int, float], cost: Cost, share: float, scope: Scope
) -> Choice:
    """The channels to remove so that ``cost`` falls to ``share`` of what it is, or as little below as the rungs allow.

    Raises: BudgetError.
    """
    state = _State(ladders, channels, cost)
    least = state.share([len(ladder.rungs) - 1 for ladder in ladders])
    if least > share:
        raise BudgetError(cost.unit, share, least)
    places = _uniform(state, share) if scope == "uniform" else _global(state, score, share)
    removed = [each for ladder, rung in zip(ladders, places, strict=True) for each in ladder.removed(rung)]
    return Choice(removed=tuple(sorted(removed)), share=state.share(places))


class _State:
    """Evaluates the cost of rungs; lives as long as one selection."""

    def __init__(self, ladders: Sequence[Ladder], channels: Channels, cost: Cost) -> None:
        self.ladders, self.cost = ladders, cost
        self.full = cost.total(np.ones(len(channels.root), bool))
        touched = cost.by_class(channels)
        members: dict[int, list[int]] = {}
        for each, root in enumerate(channels.root.tolist()):
            members.setdefault(root, []).append(each)
        self._members = members
        self.terms = [
            tuple({term for cell in ladder.cells for each in cell for term in touched.get(each, ())})
            for ladder in ladders
        ]
        self.keep: Mask = np.ones(len(channels.root), bool)

    def mark(self, classes: Sequence[int], value: bool) -> None:
        for each in classes:
            self.keep[self._members[each]] = value

    def share(self, places: Sequence[int]) -> float:
        self.keep[:] = True
        for ladder, rung in zip(self.ladders, places, strict=True):
            self.mark(ladder.removed(rung), False)
        return self.cost.total(self.keep) / self.full

    def saving(self, ladder: int, classes: Sequence[int]) -> float:
        """What removing ``classes`` saves now."""
        terms = [self.cost.terms[index] for index in self.terms[ladder]]
        before = sum(term.value(self.keep) for term in terms)
        self.mark(classes, False)
        after = sum(term.value(self.keep) for term in terms)
        self.mark(classes, True)
        return before - after


def _uniform(state: _State, share: float) -> list[int]:
    """Bisection over the share of its width that every ladder keeps; where all of them step at once, as many ladders as
    the budget allows stay above the step, the last layers first."""

    def places(kept: float) -> list[int]:
        return [
            min(range(len(ladder.rungs)), key=lambda rung: abs(sum(ladder.rungs[rung]) / ladder.size - kept))
            for ladder in state.ladders
        ]

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if state.share(places(middle)) <= share else (low, middle)
    chosen, above = places(low), places(high)
    for index in reversed(range(len(chosen))):
        if above[index] < chosen[index]:
            raised = [*chosen[:index], above[index], *chosen[index + 1 :]]
            chosen = raised if state.share(raised) <= share else chosen
    return chosen


def _global(state: _State, score: Mapping[int, float], share: float) -> list[int]:
    """Lazy greedy: prices rise as rungs are taken, so a stale price on the heap is checked when it comes up."""
    places = [0] * len(state.ladders)
    state.keep[:] = True

    def step(index: int) -> tuple[int, ...]:
        ladder, rung = state.ladders[index], places[index]
        gone = set(ladder.removed(rung))
        return tuple(each for each in ladder.removed(rung + 1) if each not in gone)

    def price(index: int) -> float:
        classes = step(index)
        saved = state.saving(index, classes)
        return sum(max(score[each], 0.0) for each in classes) / saved if saved > 0 else float("inf")

    heap = [(price(index), index) for index in range(len(state.ladders))]
    heapq.heapify(heap)
    total, budget = state.full, share * state.full
    while total > budget and heap:
        _, index = heapq.heappop(heap)
        now = price(index)
        if heap and now > heap[0][0]:
            heapq.heappush(heap, (now, index))
            continue
        classes = step(index)
        total -= state.saving(index, classes)
        state.mark(classes, False)
        places[index] += 1
        if places[index] + 1 < len(state.ladders[index].rungs):
            heapq.heappush(heap, (price(index), index))
    return _refilled(state, score, places, share)


def _refilled(state: _State, score: Mapping[int, float], places: list[int], share: float) -> list[int]:
    """What the last step saved too much, given back: one rung up wherever it fits, the most important channels first."""

    def lost(index: int) -> float:
        ladder, rung = state.ladders[index], places[index]
        again = set(ladder.removed(rung)) - set(ladder.removed(rung - 1))
        return sum(score[each] for each in again) / len(again)

    for index in sorted((i for i, rung in enumerate(places) if rung), key=lambda i: (-lost(i), i)):
        raised = [*places[:index], places[index] - 1, *places[index + 1 :]]
        places = raised if state.share(raised) <= share else places
    return places
