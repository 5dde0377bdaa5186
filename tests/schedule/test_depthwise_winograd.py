"""Large depthwise kernels in pieces: right on geometries that nobody chose, cut where it pays, left alone where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgevision.schedule import depthwise_winograd
from edgevision.schedule.apply import WINOGRAD, realize, schedule_workload, space
from edgevision.schedule.depthwise_winograd_choice import Axis
from edgevision.schedule.linear_map import column_pairs, row_pairs
from edgevision.schedule.toom_cook import SQUARE_POINTS, transforms
from edgevision.target import load
from edgevision.tuning_log import Choice
from tests.schedule.workloads import NATIVE, convolution, outcome, relative_error, run

TOLERANCE = 1e-5
"""Three times what 31x31 taps of float32 noise give with pieces of 4: see toom_cook.SQUARE_POINTS."""

NARROW = replace(load("x86_64"), name="narrow")
ARMS_SHAPE = replace(NARROW, vector_bits=128, vector_registers=32)


@st.composite
def layers(draw: st.DrawFn) -> dict[str, object]:
    kernel = (draw(st.integers(1, 17)), draw(st.integers(4, 17)))
    kernel = kernel[:: draw(st.sampled_from([1, -1]))]
    pads = tuple(draw(st.integers(0, k)) for k in (*kernel, *kernel))
    extents = (
        draw(st.integers(max(1, k - before - after), 20))
        for k, before, after in zip(kernel, pads[:2], pads[2:], strict=True)
    )
    channels = draw(st.integers(2, 40))
    return {
        "shape": (draw(st.integers(1, 2)), *extents, channels), "channels": channels, "kernel": kernel, "pads": pads,
        "groups": channels, "residual": draw(st.booleans()),
    }  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layers(), st.sampled_from([NATIVE, NARROW, ARMS_SHAPE]), st.randoms(use_true_random=False))
def test_any_layer_in_any_pieces_equals_float64(layer: dict[str, object], target: object, random: object) -> None:
    case = convolution(**layer)
    choices = [c for c in space(case.func, target) if c.template == depthwise_winograd.NAME]
    scheduled = realize(random.choice(choices), case.func, target)
    assert scheduled is not None and "winograd" in scheduled.schedule
    assert relative_error(outcome(case, scheduled, target), case.expected) < TOLERANCE


LARGE = {"shape": (1, 28, 28, 20), "channels": 20, "kernel": (29, 29), "pads": (14, 14, 14, 14), "groups": 20}


@pytest.mark.parametrize(("change", "pieces"), [
    ({}, "4x4"), ({"kernel": (51, 5), "pads": (25, 2, 25, 2)}, "4x1"), ({"kernel": (5, 51), "pads": (2, 25, 2, 25)}, "3x4"),
    ({"kernel": (11, 11), "pads": (5, 5, 5, 5)}, "4x4"),
])  # fmt: skip
def test_kernels_are_cut_along_their_long_axes(change: dict[str, object], pieces: str) -> None:
    case = convolution(**{**LARGE, **change})
    scheduled, result = run(case)
    assert scheduled.schedule == f"template:depthwise_winograd {pieces}"
    assert relative_error(result, case.expected) < TOLERANCE


NOT_CUT = {
    "strided": {"strides": (2, 2)}, "dilated": {"dilations": (1, 2), "pads": (14, 28, 14, 28)},
    "7x7": {"kernel": (7, 7), "pads": (3, 3, 3, 3)}, "9x3": {"kernel": (9, 3), "pads": (4, 1, 4, 1)},
    "few pixels": {"shape": (1, 7, 7, 20), "kernel": (13, 13), "pads": (6, 6, 6, 6)},
}  # fmt: skip


@pytest.mark.parametrize("change", NOT_CUT.values(), ids=NOT_CUT)
def test_a_near_miss_is_computed_directly(change: dict[str, object]) -> None:
    case = convolution(**{**LARGE, **change})
    scheduled, result = run(case)
    assert "winograd" not in scheduled.schedule
    assert relative_error(result, case.expected) < 3e-6


def test_it_can_be_excluded_with_winograd() -> None:
    func = convolution(**LARGE).func
    assert schedule_workload(func, NATIVE, WINOGRAD).schedule.startswith("template:depthwise_wide")
    assert not {c.template for c in space(func, NATIVE, WINOGRAD)} & WINOGRAD


def test_what_is_not_in_the_space_is_refused() -> None:
    func = convolution(**LARGE).func
    own = next(c for c in space(func, NATIVE) if c.template == depthwise_winograd.NAME)
    assert realize(own, func, NATIVE) is not None
    for change in ({"rows": 5}, {"rows": 1}, {"chunk": 40}):
        assert realize(Choice.of(own.template, {**own.mapping, **change}), func, NATIVE) is None


@pytest.mark.parametrize("m", SQUARE_POINTS)
def test_the_transforms_are_exact_in_float64(m: int) -> None:
    t = transforms(m, SQUARE_POINTS[m], m)
    rng = np.random.default_rng(0)
    taps, values = rng.standard_normal(m), rng.standard_normal(2 * m - 1)
    assert np.allclose(t.output @ ((t.kernel @ taps) * (t.data @ values)), np.correlate(values, taps), rtol=0, atol=1e-12)


@pytest.mark.parametrize("m", [m for m in SQUARE_POINTS if m > 1])
def test_points_of_both_signs_share_their_sums(m: int) -> None:
    t = transforms(m, SQUARE_POINTS[m], m)
    assert len(row_pairs(t.data)) == len(column_pairs(t.output)) == m - 1


def test_columns_that_differ_by_more_signs_are_no_pair() -> None:
    column = np.array([1.0, 2.0, 3.0])
    turned = column * [1, -1, 1]
    assert column_pairs(np.stack([column, turned], axis=1)) == [(0, 1, 1)]
    assert column_pairs(np.stack([column, -turned], axis=1)) == []
    assert column_pairs(np.stack([column, column], axis=1)) == []


@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(0, 20), st.integers(0, 20))
def test_pieces_that_touch_the_image_are_those_with_a_pixel_of_it(m: int, size: int, kernel: int, pad: int, after: int) -> None:
    out = size + pad + after - kernel + 1
    if out < 1:
        return
    axis = Axis(m=m, size=size, out=out, kernel=kernel, pad=pad)
    pieces = range(axis.tiles + axis.groups - 1)
    touching = [s for s in pieces if any(0 <= s * m - pad + i < size for i in range(axis.points))]
    assert touching == list(range(axis.low, axis.high))
    for s in touching:
        first, last = axis.inside(s)
        assert [i for i in range(axis.points) if 0 <= s * m - pad + i < size] == list(range(first, last))
