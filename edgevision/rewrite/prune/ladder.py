"""Ladders: the widths that channels can go down to together.

Classes that the same layers and blocks hold equally often are interchangeable: a cell. Cells that share a layer or a
balance must be decided together: a ladder. Its rungs say how many classes of each cell stay; on every rung each layer's
width is a multiple of ``round_to`` or unchanged, blocks that are tied keep equal counts, and no layer is below its
floor. Every rung keeps some of what the rung above keeps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.network import Array

LEAST_KEPT = 0.1
"""Share of a layer's channels that stays whatever the budget: narrower layers are seldom worth their network."""
MOST_RUNGS = 24
"""Rungs of a ladder of several cells; each is an integer program of milliseconds."""
MOST_NODES = 2000
"""Of the branch and bound for one rung; a count, so that the same input gives the same widths on any machine."""
Counts = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """``cells[i]`` lists classes, least important first; ``rungs[r][i]`` how many of them stay. rungs[0] keeps all."""

    cells: tuple[tuple[int, ...], ...]
    rungs: tuple[Counts, ...]

    @property
    def size(self) -> int:
        """Classes on the first rung."""
        return sum(self.rungs[0])

    def removed(self, rung: int) -> tuple[int, ...]:
        """The classes that are gone on this rung."""
        pairs = zip(self.cells, self.rungs[rung], strict=True)
        return tuple(each for cell, kept in pairs for each in cell[: len(cell) - kept])

    def step(self, rung: int) -> tuple[int, ...]:
        """The classes that ``rung`` keeps no longer, of those on the rung above."""
        gone = set(self.removed(rung - 1))
        return tuple(each for each in self.removed(rung) if each not in gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """sum(weights[cell] * kept[cell]) + fixed is the width of a layer or of a block."""

    weights: Mapping[int, int]
    fixed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """``widths`` with their floors, and ``pairs`` of blocks that keep equal counts, over the cells of one ladder."""

    sizes: Counts
    widths: tuple[tuple[_Row, int], ...]
    pairs: tuple[tuple[_Row, _Row], ...]
    round_to: int


def ladders(
    channels: Channels, score: Mapping[int, float], *, round_to: int, least_kept: float = LEAST_KEPT,
    removable: frozenset[int] | None = None,
) -> tuple[Ladder, ...]:  # fmt: skip
    """Every ladder of the network with more than one rung. ``score``: importance of a class.

    ``removable``: the only classes that may go; None: all that are not frozen.
    """
    stays = _anchors(channels, score)
    held: defaultdict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    groups = [layer.ids for layer in channels.layers]
    blocks = [block for balance in channels.balances for block in balance.blocks]
    for row, ids in enumerate([*groups, *blocks]):
        for each in channels.classes(ids).tolist():
            held[each][row] += 1
    members: defaultdict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for each, rows in held.items():
        free = each not in channels.frozen and each not in stays
        if free and (removable is None or each in removable) and any(row < len(groups) for row in rows):
            members[tuple(sorted(rows.items()))].append(each)
    cells = [tuple(sorted(each, key=lambda c: (score[c], c))) for each in members.values()]
    signatures = [dict(signature) for signature in members]
    totals = [len(ids) for ids in [*groups, *blocks]]
    found = []
    for together in _components(signatures, channels, len(groups)):
        mine = [cells[index] for index in together]
        problem = _problem([signatures[i] for i in together], mine, totals, channels, round_to, least_kept)
        rungs = _single(problem) if len(mine) == 1 and not problem.pairs else _several(problem, mine, score)
        if len(rungs) > 1:
            found.append(Ladder(cells=tuple(mine), rungs=rungs))
    return tuple(found)


def _anchors(channels: Channels, score: Mapping[int, float]) -> set[int]:
    """The most important class of every piece that a Split or Slice cuts off: a tensor keeps at least one channel."""
    pieces = [set(channels.classes(ids).tolist()) for ids in channels.pieces if len(ids)]
    return {max(piece, key=lambda each: (score.get(each, 0.0), each)) for piece in pieces}


def _components(signatures: Sequence[Mapping[int, int]], channels: Channels, layers: int) -> list[list[int]]:
    """Cells that share a layer or a balance, directly or through others."""
    balance_of, row = {}, layers
    for index, balance in enumerate(channels.balances):
        for _ in balance.blocks:
            balance_of[row] = layers + index
            row += 1
    parent = list(range(len(signatures)))

    def find(each: int) -> int:
        while parent[each] != each:
            each = parent[each]
        return each

    first: dict[int, int] = {}
    for index, signature in enumerate(signatures):
        for each in signature:
            key = balance_of.get(each, each)
            parent[find(index)] = find(first.setdefault(key, index))
    together: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(signatures)):
        together[find(index)].append(index)
    return list(together.values())


def _problem(
    signatures: Sequence[Mapping[int, int]], cells: Sequence[Sequence[int]], totals: Sequence[int], channels: Channels,
    round_to: int, least_kept: float,
) -> _Problem:  # fmt: skip
    def row(index: int) -> _Row:
        weights = {cell: signature[index] for cell, signature in enumerate(signatures) if index in signature}
        fixed = totals[index] - sum(weight * len(cells[cell]) for cell, weight in weights.items())
        return _Row(weights=weights, fixed=fixed)

    layers = len(channels.layers)
    touched = sorted({index for signature in signatures for index in signature})
    widths = [(row(i), max(1, ceil(least_kept * totals[i]))) for i in touched if i < layers]
    pairs, at = [], layers
    for balance in channels.balances:
        rows = list(range(at, at + len(balance.blocks)))
        at += len(rows)
        if set(rows) & set(touched):
            pairs += [(row(rows[0]), row(other)) for other in rows[1:]]
    sizes = tuple(len(cell) for cell in cells)
    return _Problem(sizes=sizes, widths=tuple(widths), pairs=tuple(pairs), round_to=round_to)


def _allowed(width: int, full: int, floor: int, round_to: int) -> bool:
    return width == full or (width % round_to == 0 and width >= floor and full > round_to)


def _single(problem: _Problem) -> tuple[Counts, ...]:
    """All counts of one cell, from all to the fewest."""
    (size,) = problem.sizes
    rungs = []
    for kept in range(size, -1, -1):
        widths = [(row.fixed + row.weights[0] * kept, row.fixed + row.weights[0] * size) for row, _ in problem.widths]
        floors = [floor for _, floor in problem.widths]
        pairs = zip(widths, floors, strict=True)
        if all(_allowed(width, full, floor, problem.round_to) for (width, full), floor in pairs):
            rungs.append((kept,))
    return tuple(rungs)


def _several(
    problem: _Problem, cells: Sequence[Sequence[int]], score: Mapping[int, float]
) -> tuple[Counts, ...]:
    """Rungs at equal distances, each the feasible counts nearest to the most important classes of all cells."""
    ranked = sorted((-score[each], cell) for cell, members in enumerate(cells) for each in members)
    total = len(ranked)
    steps = min(MOST_RUNGS, max(1, total // problem.round_to))
    rungs: list[Counts] = [problem.sizes]
    for step in range(1, steps + 1):
        wanted = np.bincount([cell for _, cell in ranked[: total - total * step // steps]], minlength=len(cells))
        counts = _nearest(problem, wanted.tolist(), rungs[-1])
        if counts is not None and counts != rungs[-1]:
            rungs.append(counts)
    return tuple(rungs)


def _nearest(problem: _Problem, wanted: Sequence[int], above: Counts) -> Counts | None:
    """The feasible counts with the least sum |kept - wanted|; None where there are none.

    Unknowns: kept and |kept - wanted| a cell; then, a width, its multiple m and whether it is unchanged (u):
    width = round_to * m + (full mod round_to) * u, and u = 1 only at full width.
    """
    cells, widths = len(wanted), len(problem.widths)
    columns = 2 * cells + 2 * widths
    upper = np.full(columns, np.inf)
    upper[:cells] = above
    upper[2 * cells + widths :] = 1
    rows: list[tuple[dict[int, float], float, float]] = []
    for cell, aim in enumerate(wanted):
        rows.append(({cell: 1, cells + cell: -1}, -np.inf, aim))
        rows.append(({cell: 1, cells + cell: 1}, aim, np.inf))
    for index, (row, floor) in enumerate(problem.widths):
        full = row.fixed + sum(weight * problem.sizes[cell] for cell, weight in row.weights.items())
        multiple, unchanged = 2 * cells + index, 2 * cells + widths + index
        rest = full % problem.round_to
        rows.append(({**row.weights, multiple: -problem.round_to, unchanged: -rest}, -row.fixed, -row.fixed))
        rows.append((dict(row.weights), (full if full <= problem.round_to else floor) - row.fixed, np.inf))
        rows.append(({**row.weights, unchanged: -full}, -row.fixed, np.inf))
    for one, other in problem.pairs:
        difference = {cell: one.weights.get(cell, 0) - other.weights.get(cell, 0) for cell in range(cells)}
        rows.append((dict(difference), other.fixed - one.fixed, other.fixed - one.fixed))
        rows.append((dict(one.weights), 1 - one.fixed, np.inf))
    return _solve(rows, columns, upper, cells)


def _solve(
    rows: Sequence[tuple[dict[int, float], float, float]], columns: int, upper: Array, cells: int
) -> Counts | None:
    entries = [(row, column, value) for row, (weights, _, _) in enumerate(rows) for column, value in weights.items()]
    at, across, values = zip(*entries, strict=True)
    matrix = csr_array((values, (at, across)), shape=(len(rows), columns))
    cost = np.zeros(columns)
    cost[cells : 2 * cells] = 1
    whole = np.ones(columns)
    whole[cells : 2 * cells] = 0
    limits = LinearConstraint(matrix, [low for _, low, _ in rows], [high for _, _, high in rows])
    found = milp(cost, integrality=whole, bounds=Bounds(0, upper), constraints=limits, options={"node_limit": MOST_NODES})
    if found.x is None:
        return None
    return tuple(round(value) for value in found.x[:cells])
