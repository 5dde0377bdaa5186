"""Rows of channels made a little longer, where pixels would lie so many bytes apart that few sets of a cache hold them all.

A cache finds a line's set by the low bits of its address. The same channels of pixels 512 bytes apart share an eighth of the
sets, 4 KiB apart one: of the nine pixels that a depthwise tap reads, and the next rows' tap again, few stay. One line more a
pixel spreads them over all sets. Zen 5, one thread: 14x14x512 takes 12.6 us instead of 23.3, 7x7x1024 10 instead of 21,
28x28x256 28 instead of 44; the products that read and write the same tensors take as long as before.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from edgevision.program import Call, Place, Program, Value
from edgevision.schedule.register_tile import LINE
from edgevision.schedule.views import IMAGE_RANK
from edgevision.tensor import ITEMSIZE_BYTES

CROWDED_BYTES = 512
"""Pixels a multiple of this apart are spread. At 256 bytes, MobileNetV1's 112x112x64, it makes no difference."""


def spread(program: Program, templated: Collection[str], depthwise: Collection[str]) -> Program:
    """A line of `Value.padding` behind each pixel of the activations that functions of ``depthwise`` read or write, where pixels
    lie a multiple of `CROWDED_BYTES` apart and everybody who uses them is ``templated``: told to work on some channels of a wider
    tensor."""
    uses: dict[Place, list[tuple[Call, Value]]] = {}
    for call in program.calls:
        for value in call.args:
            uses.setdefault(value.place, []).append((call, value))
    wider = {
        place: replace(found[0][1], shape=_longer(found[0][1].shape), first=0, padding=LINE)
        for place, found in uses.items()
        if _crowded([v for _, v in found])
        and all(c.function in templated for c, _ in found)
        and any(c.function in depthwise for c, _ in found)
    }
    calls = tuple(replace(c, args=tuple(wider.get(v.place, v) for v in c.args)) for c in program.calls)
    return replace(program, calls=calls)


def spread_out(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of float32 rows [..., pixels, channels] that nobody else knows, with the padding that they need."""
    return _longer(shape) if shape[-1] * ITEMSIZE_BYTES["float32"] % CROWDED_BYTES == 0 else shape


def odd_lines(elements: int) -> int:
    """So many float32 or a few more, whose bytes are an odd number of cache lines: what lies as far apart shares a set of a cache
    only after all sets are taken."""
    lines = -(-elements // LINE)
    return (lines + (lines + 1) % 2) * LINE


def _longer(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], shape[-1] + LINE)


def _crowded(values: list[Value]) -> bool:
    """One whole activation of several pixels, seen by everybody in the same shape, `CROWDED_BYTES` or a multiple apart."""
    first, *others = values
    if first.kind != "scratch" or any(v != first for v in others) or len(first.shape) != IMAGE_RANK:
        return False
    _, h, w, channels = first.shape
    return h * w > 1 and channels * ITEMSIZE_BYTES[first.dtype] % CROWDED_BYTES == 0
