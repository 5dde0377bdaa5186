"""All constants of an artifact in one blob, and what it makes of some when it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgevision.link.memory_plan import ALIGNMENT_BYTES
from edgevision.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Where each array begins in ``blob``; the arrays end before ``end``."""

    blob: bytes
    offsets: tuple[int, ...]
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """Where each weight that is transformed on loading begins, by its number, in ``nbytes`` of its own."""

    offsets: dict[int, int]
    nbytes: int


def stored(program: Program) -> tuple[np.ndarray, ...]:
    """The weights as they are in the blob: those that are transformed on loading as they were before."""
    return tuple(program.transformed[i].filters if i in program.transformed else w for i, w in enumerate(program.weights))


def unpacked(program: Program) -> Unpacked:
    offsets, end = {}, 0
    for index, each in program.transformed.items():
        offsets[index] = end
        end += each.by.nbytes + -each.by.nbytes % ALIGNMENT_BYTES
    return Unpacked(offsets=offsets, nbytes=end)


def pack_weights(arrays: Sequence[np.ndarray], alignment_bytes: int = ALIGNMENT_BYTES) -> Weights:
    """Arrays with the same bytes share a place; places are multiples of ``alignment_bytes``."""
    (weights,) = pack_versions((arrays,), alignment_bytes)
    return weights


def pack_versions(versions: Sequence[Sequence[np.ndarray]], alignment_bytes: int) -> tuple[Weights, ...]:
    """The arrays of several versions of a network in one blob, those of the first in front: what a later version lays out as an
    earlier one does is there once."""
    blob, seen, packed = bytearray(), dict[bytes, int](), []
    for arrays in versions:
        offsets = []
        for array in arrays:
            content = np.ascontiguousarray(array).tobytes()
            if content not in seen:
                blob += bytes(-len(blob) % alignment_bytes)
                seen[content] = len(blob)
                blob += content
            offsets.append(seen[content])
        packed.append((tuple(offsets), len(blob)))
    whole = bytes(blob)
    return tuple(Weights(blob=whole, offsets=offsets, end=end) for offsets, end in packed)
