"""Blocks as the emulator cut them, joined again: it ends a block at every page and after some hundred instructions."""

from __future__ import annotations

from collections.abc import Mapping

from edgevision.measure.modelled.trace import Block

Code = tuple[int, ...]
WORD_BYTES = 4


def joined(runs: Mapping[Block, int]) -> dict[Code, int]:
    """Straight runs of instructions and how often each was executed: a block that ends without a branch goes on in the
    one behind it. Every executed instruction is in the result exactly once."""
    left = dict(runs)
    behind: dict[int, list[Block]] = {}
    for block in runs:
        behind.setdefault(block.address, []).append(block)
    found: dict[Code, int] = {}
    for block in sorted(runs, key=lambda b: b.address):
        while left[block]:
            path = _path(block, left, behind)
            times = min(left[part] for part in path)
            for part in path:
                left[part] -= times
            code = tuple(word for part in path for word in part.code)
            found[code] = found.get(code, 0) + times
    return found


def _path(start: Block, left: Mapping[Block, int], behind: Mapping[int, list[Block]]) -> list[Block]:
    """``start`` and the blocks that it falls through into, as long as they have executions to give."""
    path = [start]
    while not is_branch(path[-1].code[-1]):
        after = path[-1].address + WORD_BYTES * len(path[-1].code)
        onwards = [b for b in behind.get(after, ()) if left[b]]
        if not onwards:
            break
        path.append(max(onwards, key=lambda b: left[b]))
    return path


def is_branch(word: int) -> bool:
    """Branches, exceptions and returns; not barriers, hints and system registers.

    Source: Arm Architecture Reference Manual for A-profile, C4.1.65, "Branches, Exception Generating and System
    instructions".
    """
    return word >> 25 & 0xE == 0xA and word >> 24 != 0xD5
