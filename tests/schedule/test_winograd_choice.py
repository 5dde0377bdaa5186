"""What Winograd's default keeps in the L2 of a small core, and what it reads once instead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgevision.schedule.geometry import Geometry
from edgevision.schedule.winograd_choice import LEAST_TILE, default, outputs_a_tile, takes, tile_count
from edgevision.schedule.workload import parse
from edgevision.target import Target, load
from tests.schedule.workloads import convolution

ARM64 = load("arm64")
AVX512 = replace(load("x86_64"), vector_bits=512, vector_registers=32)
OUTPUTS, POINTS = 4, 36


def layer(size: int, channels: int) -> Geometry:
    case: Any = convolution((1, size, size, channels), channels, (3, 3), pads=(1, 1, 1, 1))
    workload = parse(case.func)
    found = takes(workload) if workload else None
    assert found is not None
    return found


def block_bytes(channels: int, vectors: int, width: int) -> int:
    return 4 * POINTS * channels * min(vectors * width, channels)


@pytest.mark.parametrize(("size", "channels", "target"), [(14, 192, ARM64), (7, 512, AVX512)], ids=["arm64", "avx512"])
def test_weights_that_stay_in_no_l2_meet_all_tiles(size: int, channels: int, target: Target) -> None:
    g = layer(size, channels)
    chosen = default(g, target, OUTPUTS)
    assert block_bytes(channels, chosen["vectors"], target.vector_bits // 32) > target.l2_bytes // 2
    assert chosen["pixels"] * chosen["chunk"] >= tile_count(g, OUTPUTS)
    assert chosen["pixels"] >= LEAST_TILE


def test_products_stay_in_the_l2() -> None:
    g = layer(56, 64)
    chosen = default(g, ARM64, OUTPUTS)
    tiles = chosen["pixels"] * chosen["chunk"]
    assert tiles < tile_count(g, OUTPUTS)
    assert 4 * POINTS * tiles * 4 * chosen["vectors"] <= ARM64.l2_bytes // 2


def test_weights_that_stay_leave_room_for_data() -> None:
    g = layer(56, 16)
    chosen = default(g, ARM64, OUTPUTS)
    weights = block_bytes(16, chosen["vectors"], 4)
    data = 4 * POINTS * chosen["pixels"] * chosen["chunk"] * (16 + 4 * chosen["vectors"])
    assert weights <= ARM64.l2_bytes // 2 and data <= ARM64.l2_bytes // 2


def test_data_that_stay_leave_the_fastest_tile() -> None:
    """16 tiles of 32 channels are 74 KB."""
    assert default(layer(14, 32), ARM64, OUTPUTS)["vectors"] < default(layer(56, 32), ARM64, OUTPUTS)["vectors"]


@pytest.mark.parametrize(("size", "channels", "target", "outputs"), [
    (14, 192, ARM64, 3), (28, 96, ARM64, 4), (56, 48, ARM64, 4), (14, 192, AVX512, 3), (7, 512, AVX512, 2), (28, 96, AVX512, 4),
    (20, 192, AVX512, 4),
])  # fmt: skip
def test_cores_that_wait_for_weights_read_fewer(size: int, channels: int, target: Target, outputs: int) -> None:
    assert outputs_a_tile(layer(size, channels), target) == outputs
