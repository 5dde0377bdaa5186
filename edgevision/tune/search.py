"""The search of one task: what is tried next, and whether it is worth it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import exp2
from random import Random

from edgevision.schedule import generic, metaschedule
from edgevision.schedule.tasks import Task
from edgevision.tuning_log import Choice, Record, Setting, compared, tuned

PLATEAU_TRIALS = 64
"""Without a new best, a task is given up."""
HALF_TRIALS = 16
"""Fruitless trials that halve what the next one is expected to gain."""
LEAST_GAIN, SLACK_GAIN = 0.02, 0.3
"""What the first trials are expected to gain: this share of a task's time, and this share of what it takes beyond the time
in which its multiplications were done at the rate of the fastest task."""
NEIGHBOURS, WINNERS = 0.6, 0.2
"""Shares of the proposals: next to the best so far, and what won for other tasks. The rest is drawn, each template as likely."""
MOST_SEEDS = 4
PATIENCE, NEAR = 8, 1.1
"""A template is drawn no more when none of so many results came near the best: its time at most so many times as long.
MetaSchedule's samples had 114 of 257 trials on MobileNetV2, in which templates of ours were better, and took 3.5 times as long to
compile."""
WARY = 1
"""So patient with one that came near the best in none of `PATIENCE` results for all tasks of the same sort, by the template of
their default; those that no template takes are each of their own sort: pools have little to do with an ArgMax."""


@dataclass(slots=True, kw_only=True)
class Search:
    """``ratio`` and ``us`` are those of ``best``, None before anything was measured; ``fruitless`` counts the trials since
    it was found. ``seeds`` are tried first. ``rate``: multiply-accumulates a microsecond that some task of the network
    reaches. ``misses``: results of each template that were not near the best, ``near`` those that had one."""

    task: Task
    random: Random
    best: Choice
    ratio: float = 1.0
    us: float | None = None
    default_us: float | None = None
    trials: int = 0
    fruitless: int = 0
    seeds: list[Choice] = field(default_factory=list)
    improved: bool = False
    rate: float = 0.0
    misses: Counter[str] = field(default_factory=Counter)
    near: set[str] = field(default_factory=set)
    _left: dict[Choice, None] = field(init=False)
    _neighbours: tuple[Choice, tuple[Choice, ...]] | None = None

    def __post_init__(self) -> None:
        self._left = dict.fromkeys(self.task.space)

    @property
    def network_us(self) -> float:
        """The task's share of a run of the network."""
        return (self.us or 0.0) * self.task.count

    @property
    def finished(self) -> bool:
        """Nothing is left, or nothing was found for long."""
        return not self._left or self.fruitless >= PLATEAU_TRIALS

    @property
    def promise_us(self) -> float:
        """What the next trial may gain: time x expected gain, halved by every `HALF_TRIALS` fruitless ones."""
        if self.finished or not self.us:
            return 0.0
        slack = 1.0 - min(1.0, self.task.macs / self.us / self.rate) if self.rate else 1.0
        return self.network_us * (LEAST_GAIN + SLACK_GAIN * slack) * exp2(-self.fruitless / HALF_TRIALS)

    def is_untried(self, choice: Choice) -> bool:
        """Whether it was not tried yet."""
        return choice in self._left

    def propose(self, others: Sequence[Search]) -> Choice | None:
        """A choice that was not tried; it counts as tried from now on. None where there is none. ``others``: of the network."""
        choice = self._seed() or self._draw(others)
        if choice is not None:
            self._left.pop(choice, None)
            self.trials += 1
            self.fruitless += 1
        else:
            self.fruitless = PLATEAU_TRIALS
        return choice

    def note(self, record: Record) -> None:
        """Take a result, new or from a log, into account."""
        self._left.pop(record.choice, None)
        if record.ratio is not None and record.ratio <= NEAR * self.ratio:
            self.near.add(record.choice.template)
        else:
            self.misses[record.choice.template] += 1
        if not record.wins or record.ratio is None or record.us is None:
            return
        if record.choice == self.task.default and self.default_us is None:
            self.default_us = record.us
            if self.us is None:
                self.us = record.us
        elif record.ratio < self.ratio:
            self.best, self.ratio, self.us, self.fruitless = record.choice, record.ratio, record.us, 0

    def _seed(self) -> Choice | None:
        while self.seeds:
            choice = self.seeds.pop(0)
            if self.is_untried(choice):
                return choice
        return None

    def _draw(self, others: Sequence[Search]) -> Choice | None:
        missed = {name: misses for name, misses in self.misses.items() if name not in self.near}
        hopeless = {name for name, misses in missed.items() if misses >= self._patience(name, others)}
        left = [choice for choice in self._left if choice.template not in hopeless]
        if not left:
            return None
        sort = self.random.random()
        wanted: Iterable[Choice] = ()
        if sort < NEIGHBOURS:
            wanted = self._near_best()
        elif sort < NEIGHBOURS + WINNERS:
            wanted = dict.fromkeys(other.best for other in others)
        near = [choice for choice in wanted if self.is_untried(choice) and choice.template not in hopeless]
        return self.random.choice(near or self._of_a_template(left))

    def _patience(self, template: str, others: Sequence[Search]) -> int:
        sort = self.task.default.template
        alike = [self, *(other for other in others if other.task.default.template == sort != generic.NAME)]
        missed = sum(search.misses[template] for search in alike)
        return WARY if missed >= PATIENCE and not any(template in search.near for search in alike) else PATIENCE

    def _near_best(self) -> tuple[Choice, ...]:
        if self._neighbours is None or self._neighbours[0] != self.best:
            self._neighbours = self.best, tuple(sorted(neighbours(self.best, self.task.space), key=lambda c: c.parameters))
        return self._neighbours[1]

    def _of_a_template(self, left: Sequence[Choice]) -> list[Choice]:
        """Each template has its turn, however many choices it has."""
        template = self.random.choice(sorted({choice.template for choice in left}))
        return [choice for choice in left if choice.template == template]


def neighbours(best: Choice, space: Iterable[Choice]) -> set[Choice]:
    """Choices of the same template that differ from ``best`` by one step of one parameter, or by one step each of two; for
    MetaSchedule's, whose numbers have no order, its own. What a choice does not say is a step below the least that others say."""
    if best.template == metaschedule.NAME:
        return metaschedule.neighbours(best)
    same = [best, *(choice for choice in space if choice.template == best.template)]
    names = sorted({name for choice in same for name in choice.mapping})
    rows = [[choice.mapping.get(name, 0) for name in names] for choice in same]
    steps = [{value: place for place, value in enumerate(sorted(set(column)))} for column in zip(*rows, strict=True)]
    (start, *others) = ([places[value] for places, value in zip(steps, row, strict=True)] for row in rows)
    near = set()
    for choice, other in zip(same[1:], others, strict=True):
        moved = [abs(a - b) for a, b in zip(start, other, strict=True)]
        if max(moved) == 1 and sum(moved) <= 2:
            near.add(choice)
    return near


def start(task: Task, records: Sequence[Record], setting: Setting, seed: int, elsewhere: Sequence[Record] = ()) -> Search:
    """A search that knows what a log holds: results of this setting count, others, and those of other machines, are tried first."""
    search = Search(task=task, random=Random(f"{seed} {task.key}"), best=task.default)
    alike, far = ([r for r in each if r.workload == task.key or r.what == task.what] for each in (records, elsewhere))
    here = [r for r in alike if r.workload == task.key and r.setting.threads == setting.threads and not setting.differs(r.setting)]
    own = [record for record, default in zip(here, compared(here), strict=True) if default in ("", str(task.default))]
    for record in own:
        search.trials += 1
        search.fruitless += 1
        search.note(record)
    ranked = tuned(own, setting).ranked.get(task.key, ())
    if ranked:
        search.best, search.ratio, search.us = ranked[0].choice, ranked[0].ratio, ranked[0].us
    legal = set(task.space)
    seeds = sorted((r for r in (*alike, *far) if r.wins and r.ratio is not None and r.choice in legal), key=_by_ratio)
    search.seeds = list(dict.fromkeys(r.choice for r in seeds if search.is_untried(r.choice)))[:MOST_SEEDS]
    return search


def _by_ratio(record: Record) -> tuple[float, str, tuple[tuple[str, int], ...]]:
    return (record.ratio or 1.0, record.choice.template, record.choice.parameters)
