"""Where every activation lies in the arena: greedy by size over lifetimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from edgevision.program import Place, Program
from edgevision.tensor import ITEMSIZE_BYTES

ALIGNMENT_BYTES = 64
"""Generated code uses aligned vector accesses of up to 64 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """A buffer that is written at call ``first`` and read until call ``last``; model inputs are written before call 0
    (-1)."""

    place: Place
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Byte offset of each place, and the size of the arena that holds them."""

    offsets: Mapping[Place, int]
    arena_bytes: int


def lifetimes(program: Program) -> tuple[Lifetime, ...]:
    """Inputs and outputs have staging places too: kernels see aligned memory whatever the caller passes."""
    end = len(program.calls)
    spans: dict[Place, list[int]] = {}
    sizes: dict[Place, int] = {}
    for i, spec in enumerate(program.inputs):
        spans["input", i], sizes["input", i] = [-1, -1], spec.nbytes
    for number, call in enumerate(program.calls):
        for value in call.args:
            if value.kind == "weight":
                continue
            place = value.place
            first, _ = spans.setdefault(place, [number, number])
            spans[place] = [first, number]
            nbytes = prod(value.shape) * ITEMSIZE_BYTES[value.dtype]
            sizes[place] = max(sizes.get(place, 0), nbytes)
    for place in spans:
        if place[0] == "output":
            spans[place][1] = end
    return tuple(Lifetime(place=p, nbytes=sizes[p], first=a, last=b) for p, (a, b) in spans.items())


def plan(buffers: Sequence[Lifetime], alignment_bytes: int = ALIGNMENT_BYTES) -> MemoryPlan:
    """Largest first, each at the lowest offset where no buffer that lives at the same time is in the way; offsets are multiples of
    ``alignment_bytes``."""
    placed: list[tuple[int, int, Lifetime]] = []
    offsets: dict[Place, int] = {}
    for buffer in sorted(buffers, key=lambda b: (-b.nbytes, b.first, b.place)):
        size = max(alignment_bytes, -(-buffer.nbytes // alignment_bytes) * alignment_bytes)
        at = 0
        for start, end, other in sorted(placed, key=lambda p: p[0]):
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if start - at >= size:
                break
            at = max(at, end)
        offsets[buffer.place] = at
        placed.append((at, at + size, buffer))
    return MemoryPlan(offsets=offsets, arena_bytes=max((end for _, end, _ in placed), default=alignment_bytes))
