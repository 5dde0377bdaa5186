"""While a block of weights is used, the next one is asked for: every line of it, once the block is done, and where it pays."""

from __future__ import annotations

import pytest
from tvm import te

from edgevision.lower.compute.convolution import conv
from edgevision.schedule import register_tile
from edgevision.schedule.apply import schedule_workload
from edgevision.schedule.register_tile import LINE, Ahead
from tests.schedule.workloads import NATIVE, prim_func


def _asked(monkeypatch: pytest.MonkeyPatch, elements: int, pixels: int, tile: int, turns: int) -> set[int]:
    lines: set[int] = set()
    monkeypatch.setattr(register_tile, "prefetch", lambda buffer, index: lines.add(index // LINE))
    ahead = Ahead(weights=None, at=0, elements=elements, pixels=pixels)
    for first in range(0, pixels, tile):
        for turn in range(turns):
            ahead.ask(first, min(tile, pixels - first), turn, turns)
    return lines


@pytest.mark.parametrize(
    ("elements", "pixels", "tile", "turns"),
    [(1024 * 64, 49, 6, 1024), (512 * 64, 196, 6, 512), (512 * 48, 196, 9, 128), (16, 196, 6, 512), (8 * 1024, 9, 4, 128)],
)
def test_every_line_of_the_next_block_is_asked_for(
    elements: int, pixels: int, tile: int, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _asked(monkeypatch, elements, pixels, tile, turns) >= set(range(elements // LINE))


def test_what_few_pixels_would_ask_for_too_fast_is_left_to_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _asked(monkeypatch, 1024 * 64, 4, 4, 128)


WHERE = {
    "weights outweigh the data": ((7, 256, 512, 1), True), "data outweigh the weights": ((28, 32, 128, 1), False),
    "one block": ((7, 512, 16, 1), False), "products of Winograd": ((14, 128, 128, 3), True),
}  # fmt: skip


@pytest.mark.parametrize(("extents", "expected"), WHERE.values(), ids=WHERE)
def test_where_weights_are_asked_for(extents: tuple[int, int, int, int], expected: bool) -> None:
    side, inputs, outputs, kernel = extents
    x, w = te.placeholder((1, side, side, inputs), name="x"), te.placeholder((kernel, kernel, inputs, outputs), name="w")
    y = conv(x, w, strides=(1, 1), pads=(kernel // 2,) * 4, dilations=(1, 1), groups=1, template=True)
    assert ("llvm.prefetch" in str(schedule_workload(prim_func([x, w, y]), NATIVE).func)) == expected
