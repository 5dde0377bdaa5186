"""What Winograd's default keeps in the L2 of a small core, and what it reads once instead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgevision.schedule.geometry import Geometry
from edgevision.schedule.winograd_choice import default, outputs_a_tile, space, takes
from edgevision.schedule.winograd_plan import Plan, plan_of
from edgevision.schedule.workload import Workload, parse
from edgevision.target import Target, load
from tests.schedule.workloads import convolution

ARM64 = load("arm64")
AVX512 = replace(load("x86_64"), vector_bits=512, vector_registers=32)
OUTPUTS = 4
TWO_CORES = 2 * ARM64.l2_bytes


def workload(size: int, channels: int, outputs: int | None = None, stride: int = 1) -> Workload:
    shape, strides = (1, size, size, channels), (stride, stride)
    case: Any = convolution(shape, outputs or channels, (3, 3), pads=(1, 1, 1, 1), strides=strides)
    parsed = parse(case.func)
    assert parsed is not None
    return parsed


def layer(size: int, channels: int, outputs: int | None = None, stride: int = 1) -> Geometry:
    found = takes(workload(size, channels, outputs, stride))
    assert found is not None
    return found


def cut(size: int, channels: int, outputs: int | None = None, stride: int = 1) -> Plan:
    """Of the default for a small core."""
    g = layer(size, channels, outputs, stride)
    tile = outputs_a_tile(g, ARM64)
    assert tile is not None
    return plan_of(g, ARM64, default(g, ARM64, tile))


def test_weights_that_stay_in_no_l2_meet_many_tiles() -> None:
    """As many as leave room for their products: with the data counted too it would be a register tile, and 25 tiles."""
    g = layer(14, 256)
    plan = plan_of(g, AVX512, default(g, AVX512, 3))
    block = sum(v.width for v in plan.blocks[0])
    assert 4 * plan.points * g.ci * block > AVX512.l2_bytes // 2
    assert plan.chunk >= 4 * plan.tile
    assert 4 * plan.points * plan.chunk * block <= AVX512.l2_bytes // 2


LAYERS = {
    "14x14x192": (14, 192, 192, 1), "28x28x96": (28, 96, 96, 1), "28x28x192": (28, 192, 192, 1), "56x56x48": (56, 48, 48, 1),
    "56x56x64": (56, 64, 64, 1), "56x56x92": (56, 92, 92, 1), "112x112x48, stride 2": (112, 48, 48, 2),
    "28x28x96 to 192, stride 2": (28, 96, 192, 2),
}  # fmt: skip


@pytest.mark.parametrize("shape", LAYERS.values(), ids=LAYERS)
def test_what_a_small_core_reads_again_stays(shape: tuple[int, int, int, int]) -> None:
    """Transformed data, and beside them one block's weights and products, in the L2 that two cores have."""
    plan = cut(*shape)
    block = sum(v.width for v in plan.blocks[0])
    weights = (plan.taps + plan.slots**2 * plan.late) * plan.part * block
    used = plan.points * plan.plane + weights + plan.points * plan.chunk * block
    assert 4 * used <= 0.75 * TWO_CORES
    assert 4 * plan.points * plan.count * plan.inputs > TWO_CORES // 2, "whole they would not"
    assert plan.tile > 1, "each row of weights meets several tiles"


def test_a_layer_that_stays_whole_is_not_cut() -> None:
    plan = cut(14, 32)
    assert (plan.strip, plan.parts) == (plan.rows, 1)


def test_weights_are_made_late_where_they_are_much() -> None:
    """9 stored for 25 of 14x14x192, once; the 16 of 112x112x48 with stride 2 stay from strip to strip."""
    heavy, light = cut(14, 192), cut(112, 48, 48, 2)
    assert heavy.late and heavy.strip == heavy.rows
    assert not light.late and light.strip < light.rows


def test_channels_that_fill_no_vector_are_in_one_part() -> None:
    g = layer(14, 190)
    assert "parts" not in default(g, ARM64, 3)
    assert all("parts" not in each for each in space(workload(14, 190), ARM64))


def test_narrow_vectors_leave_out_no_channel() -> None:
    narrow = replace(ARM64, vector_bits=64)
    g = layer(14, 18)
    plan = plan_of(g, narrow, default(g, narrow, OUTPUTS))
    assert plan.part % plan.step == 0


@pytest.mark.parametrize("target", [ARM64, AVX512], ids=["arm64", "avx512"])
def test_a_search_may_cut_everywhere(target: Target) -> None:
    found = space(workload(28, 96), target)
    assert any("strips" in each for each in found) and any("parts" in each for each in found)
    assert any("late" in each for each in found)
    assert len({tuple(sorted(each.items())) for each in found}) == len(found)


LARGE_L2 = replace(AVX512, l2_bytes=1 << 20)


@pytest.mark.parametrize(("shape", "outputs", "strips"), [
    ((112, 48, 48, 2), 4, 14), ((56, 48, 96, 2), 4, 4), ((28, 96, 192, 2), 2, None), ((14, 192, 1280, 2), None, None),
])  # fmt: skip
def test_a_stride_pays_where_strips_stay(shape: tuple[int, int, int, int], outputs: int | None, strips: int | None) -> None:
    g = layer(*shape)
    assert outputs_a_tile(g, LARGE_L2) == outputs
    assert outputs is None or default(g, LARGE_L2, outputs).get("strips") == strips


def test_strips_are_for_weights_that_stay_too() -> None:
    """With 256 KiB the 331 KB of them would be read again for each strip: whole, it takes as long as directly."""
    assert outputs_a_tile(layer(112, 48, 48, 2), AVX512) is None
    assert "strips" not in default(layer(112, 48, 48, 2), AVX512, 4)


@pytest.mark.parametrize(("cores", "apart"), [(1, True), (2, True), (4, True), (3, False)])
def test_threads_share_strips_where_there_are_enough(cores: int, apart: bool) -> None:
    """Seven rows of tiles in four strips: of three threads one would make two strips, and the others wait."""
    g = layer(56, 48, 96, 2)
    plan = plan_of(g, replace(LARGE_L2, cores=cores), default(g, LARGE_L2, 4))
    assert plan.apart is apart


@pytest.mark.parametrize("shape", [(14, 192), (14, 384), (28, 192), (56, 92)], ids=str)
def test_threads_multiply_as_much(shape: tuple[int, int]) -> None:
    """192 channels are twelve vectors: of three blocks of four, all tiles each, one of two threads would make two."""
    g = layer(*shape)
    m = outputs_a_tile(g, LARGE_L2)
    assert m is not None
    plan = plan_of(g, LARGE_L2, default(g, LARGE_L2, m))
    assert len({len(block) for block in plan.blocks}) == 1 and len(plan.blocks) * (plan.count // plan.chunk) % 4 == 0
    assert default(g, replace(LARGE_L2, cores=3), m) == default(g, LARGE_L2, m), "so that one log is for all"


def test_the_short_strips_of_several_images_are_no_share() -> None:
    """Two images with strips of three and two rows of tiles: of three threads one would make two of the four."""
    g = replace(layer(20, 32), n=2)
    plans = [plan_of(g, replace(LARGE_L2, cores=cores), {**default(g, LARGE_L2, 4), "strips": 2}) for cores in (2, 3, 4)]
    assert [plan.apart for plan in plans] == [True, False, True]


@pytest.mark.parametrize("target", [AVX512, LARGE_L2], ids=["small", "large"])
def test_x86_cuts_no_layer_with_stride_1_by_default(target: Target) -> None:
    assert default(layer(28, 96), target, OUTPUTS).keys() == {"outputs", "pixels", "vectors", "chunk"}


@pytest.mark.parametrize(("size", "channels", "target", "outputs"), [
    (14, 192, ARM64, 3), (28, 96, ARM64, 4), (56, 48, ARM64, 4), (14, 192, AVX512, 3), (7, 512, AVX512, 2), (28, 96, AVX512, 4),
    (20, 192, AVX512, 4),
])  # fmt: skip
def test_cores_that_wait_for_weights_read_fewer(size: int, channels: int, target: Target, outputs: int) -> None:
    assert outputs_a_tile(layer(size, channels), target) == outputs
