"""select: which rung of every ladder, so that what stays is as important as the budget allows.

    uniform   every ladder at the same share of its width
    global    step by step the rung that loses least for what it saves

What is lost: a layer that keeps the share s of its importance loses -log s, so the network is worth the product of what
its layers keep. The first channels of a layer are cheap and its last ones dear, whether it has 16 or 960 of them; a sum
instead of the product empties the layers with many MACs a channel and never touches the others.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Literal

import numpy as np

from edgevision.errors import InputError
from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.cost import Cost
from edgevision.rewrite.prune.ladder import Ladder
from edgevision.rewrite.prune.removing import Mask

Scope = Literal["global", "uniform"]
LEAST_SCORE = 1e-6
"""What a channel without importance counts, of its layer's mean."""


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
    places = _uniform(state, share) if scope == "uniform" else _global(state, channels, score, share)
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


class _Worth:
    """How much importance every layer has left; lives as long as one selection."""

    def __init__(self, channels: Channels, score: Mapping[int, float]) -> None:
        self.parts: defaultdict[int, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
        self.left = [0.0] * len(channels.layers)
        for layer, made in enumerate(channels.layers):
            for each in channels.classes(made.ids).tolist():
                part = max(score.get(each, 1.0), LEAST_SCORE)
                self.parts[each][layer] += part
                self.left[layer] += part

    def loss(self, classes: Sequence[int]) -> float:
        """What removing ``classes`` now would lose, summed over the layers that make them."""
        return sum(
            log(self.left[layer] / max(self.left[layer] - part, LEAST_SCORE)) for layer, part in self._parts(classes)
        )

    def gain(self, classes: Sequence[int]) -> float:
        """What it would win to have the removed ``classes`` back."""
        return sum(log(1 + part / max(self.left[layer], LEAST_SCORE)) for layer, part in self._parts(classes))

    def remove(self, classes: Sequence[int]) -> None:
        for layer, part in self._parts(classes):
            self.left[layer] -= part

    def _parts(self, classes: Sequence[int]) -> list[tuple[int, float]]:
        """What every layer that makes some of ``classes`` holds in them."""
        parts: defaultdict[int, float] = defaultdict(float)
        for each in classes:
            for layer, part in self.parts[each].items():
                parts[layer] += part
        return list(parts.items())


def _global(state: _State, channels: Channels, score: Mapping[int, float], share: float) -> list[int]:
    """Lazy greedy: prices rise as rungs are taken, so a stale price on the heap is checked when it comes up."""
    places = [0] * len(state.ladders)
    worth = _Worth(channels, score)
    state.keep[:] = True

    def price(index: int) -> float:
        classes = state.ladders[index].step(places[index] + 1)
        saved = state.saving(index, classes)
        return worth.loss(classes) / saved if saved > 0 else inf

    heap = [(price(index), index) for index in range(len(state.ladders))]
    heapq.heapify(heap)
    total, budget = state.full, share * state.full
    while total > budget and heap:
        _, index = heapq.heappop(heap)
        now = price(index)
        if heap and now > heap[0][0]:
            heapq.heappush(heap, (now, index))
            continue
        classes = state.ladders[index].step(places[index] + 1)
        total -= state.saving(index, classes)
        state.mark(classes, False)
        worth.remove(classes)
        places[index] += 1
        if places[index] + 1 < len(state.ladders[index].rungs):
            heapq.heappush(heap, (price(index), index))
    return _refilled(state, worth, places, share)


def _refilled(state: _State, worth: _Worth, places: list[int], share: float) -> list[int]:
    """What the last step saved too much, given back: one rung up wherever it fits, what wins most first."""
    gains = {index: worth.gain(state.ladders[index].step(rung)) for index, rung in enumerate(places) if rung}
    for index in sorted(gains, key=lambda each: (-gains[each], each)):
        raised = [*places[:index], places[index] - 1, *places[index + 1 :]]
        places = raised if state.share(raised) <= share else places
    return places
