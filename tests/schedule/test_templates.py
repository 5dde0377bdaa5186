"""The templates against float64 on geometries that nobody chose by hand, and what each must leave to the generic
schedule."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import te, tirx

from edgevision.lower.compute.convolution import conv
from edgevision.schedule import winograd, winograd_choice
from edgevision.schedule.apply import WINOGRAD, realize, schedule_workload, space
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.toom_cook import POINTS, STRIDED_POINTS, spanning, strided, transforms
from edgevision.schedule.workload import parse
from edgevision.target import load
from edgevision.tuning_log import Choice
from tests.schedule.workloads import NATIVE, Case, convolution, outcome, prim_func, product, relative_error, run

TOLERANCE = 3e-6
"""float32 sums of at most some 500 terms against float64: sqrt(500) * 2**-24 is 1.3e-6 of the largest."""

NARROW = replace(load("x86_64"), name="narrow")
WINOGRAD_TOLERANCE = 1e-5
"""Intermediate values are up to some ten times the result: see toom_cook.POINTS."""

ARMS_SHAPE = replace(NARROW, vector_bits=128, vector_registers=32)
WIDE = replace(NARROW, vector_bits=512, vector_registers=32)

extents = st.integers(1, 13)


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, object]:
    kh, kw = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    dilations = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    pads = tuple(draw(st.integers(0, 3)) for _ in range(4))
    reach = ((kh - 1) * dilations[0] + 1, (kw - 1) * dilations[1] + 1)
    h = draw(st.integers(max(1, reach[0] - pads[0] - pads[2]), 14))
    w = draw(st.integers(max(1, reach[1] - pads[1] - pads[3]), 14))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    ci, co = groups * draw(st.integers(1, 12)), groups * draw(st.integers(1, 40))
    if draw(st.booleans()):
        ci = co = groups = draw(st.integers(2, 40))
    return {
        "shape": (draw(st.integers(1, 2)), h, w, ci), "channels": co, "kernel": (kh, kw),
        "strides": (draw(st.integers(1, 3)), draw(st.integers(1, 3))), "pads": pads, "dilations": dilations,
        "groups": groups, "residual": draw(st.booleans()),
    }  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(geometries(), st.sampled_from([NATIVE, NARROW, ARMS_SHAPE]))
def test_any_geometry_equals_float64(geometry: dict[str, object], target: object) -> None:
    case = convolution(**geometry)
    scheduled, result = run(case, target)
    assert scheduled.schedule.startswith("template:")
    allowed = WINOGRAD_TOLERANCE if "winograd" in scheduled.schedule else TOLERANCE
    assert relative_error(result, case.expected) < allowed


SQUARE = {"shape": (1, 11, 14, 24), "channels": 40, "kernel": (3, 3), "pads": (1, 1, 1, 1)}


STRIDES_AND_OUTPUTS = [*((1, m) for m in POINTS), *((2, m) for m in STRIDED_POINTS)]


@pytest.mark.parametrize("target", [NATIVE, NARROW, ARMS_SHAPE])
@pytest.mark.parametrize("change", [{}, {"pads": (0, 0, 0, 0)}, {"pads": (2, 0, 1, 3)}, {"shape": (3, 4, 5, 16)},
                                    {"shape": (1, 2, 9, 33)}, {"residual": True}, {"channels": 23},
                                    {"shape": (2, 7, 9, 54), "channels": 51, "groups": 3}])  # fmt: skip
@pytest.mark.parametrize(("stride", "outputs"), STRIDES_AND_OUTPUTS)
def test_winograd_equals_float64(
    stride: int, outputs: int, change: dict[str, object], target: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "outputs_a_tile", lambda g, target: outputs)
    monkeypatch.setattr(winograd_choice, "LEAST_PIXELS", 1)
    case = convolution(**{**SQUARE, "strides": (stride, stride), **change})
    scheduled, result = run(case, target)
    assert scheduled.schedule == f"template:winograd {outputs}x{outputs}"
    assert relative_error(result, case.expected) < WINOGRAD_TOLERANCE


CUTS = {
    "strips": {"strips": 2}, "a strip a row": {"strips": 5}, "parts": {"parts": 2}, "late": {"late": 1},
    "late in strips": {"strips": 2, "late": 1}, "all of it": {"strips": 2, "parts": 4, "late": 1, "chunk": 2, "vectors": 2},
}  # fmt: skip
CUT_LAYERS = {
    "a rest of rows, tiles and blocks": {"shape": (1, 14, 14, 32), "channels": 40}, "images": {"shape": (3, 9, 10, 32)},
    "a residual": {"residual": True}, "no pads": {"pads": (0, 0, 0, 0)},
    "a tile to the last column's pad": {"shape": (1, 13, 15, 32)}, "smaller than a tile": {"shape": (2, 4, 3, 32)},
    "channels that fill no vector": {"channels": 23}, "groups": {"shape": (1, 10, 13, 96), "channels": 57, "groups": 3},
    "stride 2": {"strides": (2, 2), "shape": (2, 17, 15, 32)},
}  # fmt: skip
UNCUT = {"outputs": 3, "pixels": 3, "vectors": 1, "chunk": 1}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("layer", CUT_LAYERS.values(), ids=CUT_LAYERS)
def test_winograd_cut_equals_float64(
    layer: dict[str, object], cut: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd_choice, "LEAST_PIXELS", 1)
    case = convolution(**{**SQUARE, "shape": (1, 13, 14, 32), **layer})
    scheduled = winograd.schedule(parse(case.func), NARROW, {**UNCUT, **cut})
    assert scheduled is not None
    assert relative_error(outcome(case, scheduled, NARROW), case.expected) < WINOGRAD_TOLERANCE


def cut_for(case: Case, cores: int, **cut: int) -> Scheduled:
    found = winograd.schedule(parse(case.func), replace(NARROW, cores=cores), {**UNCUT, **cut})
    assert found is not None
    return found


def test_strips_change_no_bit() -> None:
    case = convolution(**{**SQUARE, "shape": (1, 13, 14, 32)})  # 5 rows of tiles
    whole, *others = (outcome(case, cut_for(case, cores, strips=strips), NARROW) for strips in (1, 2, 5) for cores in (1, 3))
    assert all(np.array_equal(whole, each) for each in others)


def test_threads_that_share_a_strip_share_its_data() -> None:
    """Threads with strips of their own keep them in workspaces; parts and whole layers they make together."""
    case = convolution((1, 48, 48, 32), 32, (3, 3), pads=(1, 1, 1, 1))  # 16 rows of tiles
    whole, few, parts = (cut_for(case, 4, **cut) for cut in ({}, {"strips": 3}, {"parts": 4}))
    assert prod(few.scratch[0]) < 0.4 * prod(whole.scratch[0]) > prod(parts.scratch[0])
    assert len(parts.scratch) == 2, "and sums"
    assert shared(whole.func) == shared(parts.func) == [256, 4 * 85, 4], "tiles, blocks of three tiles, of one"
    assert 3 not in shared(few.func), "three strips, one after the other"
    apart = cut_for(case, 4, strips=4)
    assert not apart.scratch and shared(apart.func) == [4]


def test_strips_of_two_lengths_are_kept_in_one_place() -> None:
    """Three rows of tiles and two: a thread's workspace holds the data of the longer one, once."""
    func = cut_for(convolution(**{**SQUARE, "shape": (1, 13, 14, 32)}), 2, strips=2).func
    allocated = [int(n) for n in re.findall(r"T\.alloc_buffer\(\(?(\d+),", func.script())]
    assert shared(func) == [2] and allocated.count(max(allocated)) == 1


@pytest.mark.parametrize("kernel", [
    *(transforms(m).kernel for m in POINTS), *(strided(m).kernel for m in STRIDED_POINTS)
])  # fmt: skip
def test_few_points_of_a_kernel_make_all_of_them(kernel: np.ndarray) -> None:
    stored, made = spanning(kernel)
    assert stored.shape == (3, 3) and np.allclose(made @ stored, kernel, atol=1e-12)
    assert all(any(np.array_equal(row, own) for own in kernel) for row in stored)
    assert np.abs(made).sum(axis=1).max() <= 3, "no point is a difference of large ones"
    assert sum(np.array_equal(row, unit) for row in made for unit in np.eye(3)) == 3, "those cost nothing"


@pytest.mark.parametrize(("pixels", "channels", "outputs", "more"), [
    (28, (96, 192), 2, {"strides": (2, 2)}), (112, (48, 48), None, {"strides": (2, 2)}),
    (14, (192, 1280), None, {"strides": (2, 2)}), (56, (64, 64), 4, {"groups": 2}),
])  # fmt: skip
def test_strided_and_grouped_layers_are_transformed_where_it_was_measured_to_pay(
    pixels: int, channels: tuple[int, int], outputs: int | None, more: dict[str, object]
) -> None:
    case = convolution((1, pixels, pixels, channels[0]), channels[1], (3, 3), pads=(1, 1, 1, 1), **more)
    g = winograd_choice.takes(parse(case.func))
    assert winograd_choice.outputs_a_tile(g, WIDE) == outputs


NOT_FOR_WINOGRAD = {
    "strided along one axis": {"strides": (1, 2)}, "stride 3": {"strides": (3, 3), "shape": (1, 22, 22, 24)},
    "dilated": {"dilations": (2, 1), "pads": (2, 1, 2, 1)}, "few channels a group": {"groups": 2},
    "3x1": {"kernel": (3, 1)}, "5x5": {"kernel": (5, 5)}, "few inputs": {"shape": (1, 11, 14, 15)},
    "few outputs": {"channels": 15}, "few pixels": {"shape": (1, 3, 3, 24)},
}  # fmt: skip


@pytest.mark.parametrize("change", NOT_FOR_WINOGRAD.values(), ids=NOT_FOR_WINOGRAD)
def test_a_near_miss_of_winograd_is_computed_directly(change: dict[str, object]) -> None:
    case = convolution(**{**SQUARE, **change})
    scheduled, result = run(case)
    assert scheduled.schedule.startswith("template:conv2d")
    assert relative_error(result, case.expected) < TOLERANCE


@pytest.mark.parametrize(("pixels", "channels", "outputs"), [(56, 64, 4), (14, 192, 3), (28, 192, 4), (4, 1280, None)])
def test_weights_that_outweigh_the_work_choose_smaller_tiles(pixels: int, channels: int, outputs: int | None) -> None:
    """36 products a tile read four times the kernel's bytes: that must pay with enough tiles to use them on."""
    shape = (1, pixels, pixels, channels)
    x, w = te.placeholder(shape, name="x"), te.placeholder((3, 3, channels, channels), name="w")
    y = conv(x, w, strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1, template=True)
    name = schedule_workload(prim_func([x, w, y]), NATIVE).schedule
    assert name.startswith(f"template:winograd {outputs}x" if outputs else "template:conv2d")


def test_winograd_can_be_excluded() -> None:
    func = convolution(**SQUARE).func
    assert schedule_workload(func, NATIVE).schedule.startswith("template:winograd")
    assert schedule_workload(func, NATIVE, WINOGRAD).schedule.startswith("template:conv2d")


@pytest.mark.parametrize("outputs", POINTS)
def test_the_transforms_are_exact_in_float64(outputs: int) -> None:
    t = transforms(outputs)
    rng = np.random.default_rng(0)
    taps, values = rng.standard_normal(3), rng.standard_normal(outputs + 2)
    assert np.allclose(
        t.output @ ((t.kernel @ taps) * (t.data @ values)), np.correlate(values, taps), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("outputs", STRIDED_POINTS)
def test_the_strided_transforms_are_exact_in_float64(outputs: int) -> None:
    t = strided(outputs)
    rng = np.random.default_rng(0)
    taps, values = rng.standard_normal(3), rng.standard_normal(2 * outputs + 1)
    weights = (t.kernel @ taps)[np.minimum(np.arange(2 * outputs + 1), outputs + 1)]
    data = t.data @ np.concatenate([values[::2], values[1::2]])
    assert np.allclose(t.output @ (weights * data), np.correlate(values, taps)[::2], rtol=0, atol=1e-13)


@pytest.mark.parametrize("prefix", [(1,), (7,), (2, 5), (2, 3, 4)])
@pytest.mark.parametrize("columns", [1, 10, 33, 100])
def test_a_product_by_a_matrix_is_a_convolution(prefix: tuple[int, ...], columns: int) -> None:
    case = product(prefix, 24, columns)
    scheduled, result = run(case)
    assert scheduled.schedule.startswith("template:conv2d")
    assert relative_error(result, case.expected) < TOLERANCE


def test_a_constant_that_differs_by_row_is_read_by_row() -> None:
    """Near miss of the flat pixel numbering."""
    case = convolution((1, 5, 6, 8), 16, (1, 1), row_bias=True)
    _, result = run(case)
    assert relative_error(result, case.expected) < TOLERANCE


def test_flat_pixels_cross_images() -> None:
    case = convolution((3, 5, 7, 8), 16, (1, 1), residual=True)
    _, result = run(case)
    assert relative_error(result, case.expected) < TOLERANCE


def test_the_kernel_wider_than_the_image() -> None:
    """Every column is a border: 51 taps on 9 pixels."""
    case = convolution((1, 9, 9, 18), 18, (5, 51), pads=(2, 25, 2, 25), groups=18)
    scheduled, result = run(case)
    assert "depthwise" in scheduled.schedule
    assert relative_error(result, case.expected) < TOLERANCE


def _behind(tail: object) -> Case:
    x, w = te.placeholder((1, 6, 6, 8), name="x"), te.placeholder((1, 1, 8, 16), name="w")
    y = conv(x, w, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1, template=True)
    rng = np.random.default_rng(0)
    ax = rng.standard_normal((1, 6, 6, 8)).astype(np.float32)
    aw = rng.standard_normal((1, 1, 8, 16)).astype(np.float32)
    value = np.einsum("nhwi,io->nhwo", ax.astype(np.float64), aw[0, 0].astype(np.float64))
    z, expected = tail(y, value)
    return Case(func=prim_func([x, w, z]), operands=(ax, aw), expected=expected)


NEAR_MISSES = {
    "transposed tail": lambda y, v: (
        te.compute((1, 6, 6, 16), lambda n, a, b, c: y[n, b, a, c], name="t"), v.transpose(0, 2, 1, 3)),
    "smaller tail": lambda y, v: (te.compute((1, 3, 6, 16), lambda n, a, b, c: y[n, a, b, c], name="s"), v[:, :3]),
    "shifted tail": lambda y, v: (
        te.compute((1, 6, 6, 16), lambda n, a, b, c: y[n, tirx.min(a + 1, 5), b, c], name="h"),
        np.concatenate([v[:, 1:], v[:, 5:]], 1)),
}  # fmt: skip


@pytest.mark.parametrize("tail", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_what_is_not_elementwise_is_left_to_the_generic_schedule(tail: object) -> None:
    case = _behind(tail)
    scheduled, result = run(case)
    assert scheduled.schedule == "default:loops"
    assert relative_error(result, case.expected) < TOLERANCE


def test_float64_is_left_to_the_generic_schedule() -> None:
    x, w = te.placeholder((1, 4, 4, 8), "float64", name="x"), te.placeholder((1, 1, 8, 8), "float64", name="w")
    y = conv(x, w, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1, template=True)
    assert schedule_workload(prim_func([x, w, y]), NATIVE).schedule == "default:loops"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.tuples(st.integers(1, 2), extents, extents, st.integers(2, 40)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)).filter(lambda k: max(k) > 7),
    st.data(),
    st.sampled_from([NATIVE, NARROW, ARMS_SHAPE]),
)
def test_large_depthwise_kernels_equal_float64(
    shape: tuple[int, int, int, int], kernel: tuple[int, int], data: st.DataObject, target: object
) -> None:
    """Kernels larger than the image among them, and pads that leave some taps outside for every pixel."""
    reach = [max(0, k - n) for k, n in zip(kernel, shape[1:3], strict=True)]
    before = [data.draw(st.integers(0, k)) for k in kernel]
    after = [data.draw(st.integers(max(0, r - b), k + r)) for r, b, k in zip(reach, before, kernel, strict=True)]
    case = convolution(shape, shape[3], kernel, pads=(*before, *after), groups=shape[3], residual=True)
    scheduled, result = run(case, target, WINOGRAD)
    assert scheduled.schedule.startswith("template:depthwise_wide")
    assert relative_error(result, case.expected) < TOLERANCE


def test_an_infinite_pixel_stays_where_its_taps_reach() -> None:
    """No tap that does not exist may multiply it: zero times infinity is NaN."""
    case = convolution((1, 12, 12, 16), 16, (3, 11), pads=(1, 5, 1, 5), groups=16)
    x = case.operands[0]
    x[0, 6, 11] = np.inf
    scheduled, result = run(case, excluded=WINOGRAD)
    assert scheduled.schedule.startswith("template:depthwise_wide")
    reached = ~np.isfinite(result[0])
    assert not reached[:5].any()
    assert not reached[8:].any()
    assert not reached[:, :6].any()


NOT_WIDE = {"strided": {"strides": (2, 1)}, "dilated": {"dilations": (1, 2)}, "7x7": {"kernel": (7, 7)}}


@pytest.mark.parametrize("change", NOT_WIDE.values(), ids=NOT_WIDE)
def test_a_near_miss_of_the_large_kernel_takes_the_other_template(change: dict[str, object]) -> None:
    case = convolution(**{"shape": (1, 24, 24, 8), "channels": 8, "kernel": (9, 9), "groups": 8, **change})
    scheduled, result = run(case, excluded=WINOGRAD)
    assert scheduled.schedule.startswith("template:depthwise ")
    assert relative_error(result, case.expected) < TOLERANCE


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_threads_share_whatever_is_chosen(kernel: tuple[int, int]) -> None:
    """Also one block of channels that meets all pixels in one sweep."""
    func = convolution(shape=(1, 14, 14, 80), channels=80, kernel=kernel, pads=(kernel[0] // 2,) * 4).func
    points = [p for p in space(func, NATIVE) if p.template in ("conv2d", "winograd")]
    for point in points[:: max(1, len(points) // 40)]:
        found = realize(point, func, NATIVE)
        assert found is not None and "T.parallel" in str(found.func), point


def shared(func: tirx.PrimFunc) -> list[int]:
    """Extents of the loops that threads share."""
    return [int(n) for n in re.findall(r"T\.parallel\((?:T\.int64\()?(\d+)", func.script())]


ONE_SWEEP = {"fill": 0, "pixels": 4, "vectors": 3, "sweep": 14 * 14 // 4, "unroll": 1}


def test_three_blocks_of_channels_are_shared_in_pieces_of_the_image() -> None:
    func = convolution(shape=(1, 14, 14, 64), channels=144, kernel=(1, 1)).func
    found = realize(Choice.of("conv2d", ONE_SWEEP), func, WIDE)
    assert found is not None and shared(found.func) == [3 * 13]  # 49 tiles, 4 a piece


def test_heavy_blocks_are_shared_one_after_the_other() -> None:
    """All weights are more than an L2 keeps, those of a block are not: two threads meet two blocks each, and half of the third."""
    func = convolution(shape=(1, 14, 14, 512), channels=144, kernel=(1, 1)).func
    found = realize(Choice.of("conv2d", ONE_SWEEP), func, WIDE)
    assert found is not None and shared(found.func) == [3 * 6]  # 49 tiles, 9 a piece


def test_blocks_that_fill_the_cache_are_shared_whole() -> None:
    func = convolution(shape=(1, 14, 14, 1536), channels=144, kernel=(1, 1)).func
    found = realize(Choice.of("conv2d", ONE_SWEEP), func, WIDE)
    assert found is not None and shared(found.func) == [3]


def test_blocks_in_pieces_are_right_with_channels_left_over() -> None:
    case = convolution(shape=(1, 14, 14, 24), channels=3 * 48 + 16, kernel=(1, 1))
    found = realize(Choice.of("conv2d", ONE_SWEEP), case.func, WIDE)
    assert found is not None and shared(found.func) == [3 * 13, 13]
    assert relative_error(outcome(case, found, WIDE), case.expected) < TOLERANCE


def test_threads_share_the_vector_that_channels_do_not_fill() -> None:
    case = convolution(shape=(1, 12, 12, 40), channels=40, kernel=(9, 9), pads=(4, 4, 4, 4), groups=40)
    scheduled, result = run(case, WIDE)
    assert scheduled.schedule.startswith("template:depthwise_wide") and shared(scheduled.func) == [3]
    assert relative_error(result, case.expected) < TOLERANCE


@pytest.mark.parametrize(("channels", "shares"), [(16, 4), (32, 4), (48, 6), (80, 5), (8, 4)])
def test_threads_share_few_channel_vectors_by_rows(channels: int, shares: int) -> None:
    """Also where the strip is the whole image."""
    case = convolution(shape=(1, 40, 40, channels), channels=channels, kernel=(3, 3), pads=(1, 1, 1, 1), groups=channels)
    choice = Choice.of("depthwise", {"tile": 6, "strip": 40, "width": min(16, channels)})
    found = realize(choice, case.func, WIDE)
    assert found is not None and shared(found.func) == [shares]
    assert relative_error(outcome(case, found, WIDE), case.expected) < TOLERANCE


@pytest.mark.parametrize(("depth", "share"), [(80, True), (75, False)])
def test_threads_share_weights_that_are_used_once(depth: int, share: bool) -> None:
    """Above 50,000, which take as long to read as a thread takes to wake; by their multiplications it would be 200,000."""
    assert bool(shared(schedule_workload(product((1,), depth, 640).func, WIDE).func)) is share
    assert not shared(schedule_workload(product((2,), depth, 640).func, WIDE).func)
