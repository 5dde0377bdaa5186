"""Channels that end in a piece of a vector: vectors of fewer channels that take several reduction steps at once.

24 channels are one and a half vectors of 16, for which a pixel pays two. As three vectors of 8 channels and two steps each, lane
``channel * 2 + step``, they take 3 multiply-adds where 4 were needed: weights are packed like that, data are a pair of elements
repeated, which x86 loads and spreads in one instruction, and neighbouring lanes are added when the reduction is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

import numpy as np
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.register_tile import Buffer, Expr, Lanes, accumulator, lanes, load, read, write

LEAST_CHANNELS = 4
"""Of a vector: with fewer, taking the sum at the end is most of the work."""


def steps_at_once(channels: int, width: int, reduction: int) -> int:
    """How many reduction steps vectors of ``width`` lanes take that ``channels`` fill without a rest; 1 where it is no use, or
    where a loop of ``reduction`` steps has none of that many."""
    each = gcd(channels, width)
    return width // each if each >= LEAST_CHANNELS and reduction % (width // each) == 0 else 1


def cover(channels: int, width: int, steps: int) -> tuple[Lanes, ...]:
    """Vectors of ``width`` lanes in all for ``channels``."""
    return tuple(replace(v, steps=steps) for v in lanes(channels, width // steps))


def lay(weights: np.ndarray, steps: int) -> np.ndarray:
    """[reduction, channels] -> [reduction // steps][channel][step], flat."""
    turns = weights.reshape(-1, steps, weights.shape[1])
    return np.ascontiguousarray(turns.transpose(0, 2, 1)).reshape(-1)


def accumulate(
    acc: Sequence[Sequence[Buffer]], vectors: Sequence[Lanes], elements: Sequence[Expr], weights: Buffer, at: Expr
) -> None:
    """acc[p][q] += elements[p], repeated, * weights[at + q]; ``elements`` are vectors of as many values as steps."""
    rows = [T.Bind(load(weights, [at + v.offset * v.steps], v.lanes)) for v in vectors]
    for element, line in zip(elements, acc, strict=True):
        for a, v, row in zip(line, vectors, rows, strict=True):
            spread = T.Shuffle([element] * v.width, list(range(v.lanes)))
            write(a, read(a, v.lanes) + spread * row, v.lanes)


def unfold(line: Sequence[Buffer], vectors: Sequence[Lanes]) -> tuple[tuple[Buffer, Lanes], ...]:
    """The accumulators of a pixel with a lane a channel: the sums over steps, of neighbouring vectors in one."""
    found = list(zip(line, vectors, strict=True))
    while found[0][1].steps > 1:
        found = [_halved(found[i : i + 2]) for i in range(0, len(found), 2)]
    return tuple(found)


def _halved(pair: Sequence[tuple[Buffer, Lanes]]) -> tuple[Buffer, Lanes]:
    """One vector of what one or two hold, each pair of neighbouring lanes added."""
    first, total = pair[0][1], sum(v.lanes for _, v in pair)
    values = [T.Bind(read(a, v.lanes)) for a, v in pair]
    even, odd = (T.Shuffle(values, list(range(start, total, 2))) for start in (0, 1))
    result = accumulator(total // 2)
    write(result, even + odd, total // 2)
    return result, Lanes(first.offset, sum(v.width for _, v in pair), first.steps // 2)
