"""Defaults where vectors are a quarter of a cache line and multiply by an element of a register."""

from __future__ import annotations

from typing import Any

import pytest

from edgevision.schedule import conv2d_choice, depthwise
from edgevision.schedule.apply import schedule_workload
from edgevision.schedule.tile_choice import fits
from edgevision.schedule.workload import parse
from edgevision.target import Target, load
from tests.schedule.workloads import convolution

ARM64, X86_64 = load("arm64"), load("x86_64")


def chosen(case: Any, target: Target) -> dict[str, int]:
    choice = schedule_workload(case.func, target).choice
    assert choice is not None
    return choice.mapping


@pytest.mark.parametrize(
    ("channels", "target", "held"), [(3, ARM64, conv2d_choice.HELD), (8, ARM64, 0), (3, X86_64, 0)], ids=["stem", "wide", "x86"]
)
def test_a_stem_leaves_registers_for_elements_of_coming_pixels(channels: int, target: Target, held: int) -> None:
    case = convolution((1, 112, 112, channels), 32, (3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    workload = parse(case.func)
    g = conv2d_choice.takes(workload) if workload else None
    assert g is not None and conv2d_choice.registers(g, target) == target.vector_registers - held
    tile = chosen(case, target)
    assert fits(tile["pixels"], tile["vectors"], target.vector_registers - held, lane_form=False)


@pytest.mark.parametrize(("size", "tile"), [(112, 12), (56, 12), (28, 10), (14, 7), (7, 7)])
def test_depthwise_layers_take_few_tiles_of_one_size(size: int, tile: int) -> None:
    case = convolution((1, size, size, 24), 24, (3, 3), pads=(1, 1, 1, 1), groups=24)
    assert chosen(case, ARM64) == {"tile": tile, "strip": 0, "width": 4}


@pytest.mark.parametrize(
    ("size", "channels", "strip"), [(14, 296, 8), (7, 592, 7), (14, 288, 0), (15, 296, 0)],
    ids=["rows that do not stay", "a smaller image", "rows that stay", "a larger image"],
)  # fmt: skip
def test_small_images_whose_rows_do_not_stay_in_the_cache_go_in_strips(size: int, channels: int, strip: int) -> None:
    case = convolution((1, size, size, channels), channels, (3, 3), pads=(1, 1, 1, 1), groups=channels)
    assert chosen(case, ARM64)["strip"] == strip


def test_wider_vectors_take_narrower_tiles() -> None:
    case = convolution((1, 112, 112, 24), 24, (3, 3), pads=(1, 1, 1, 1), groups=24)
    assert chosen(case, X86_64) == {"tile": 5, "strip": depthwise.DEFAULT_STRIP, "width": 8}
