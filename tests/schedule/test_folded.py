"""Vectors that take several reduction steps of few channels: right on odd shapes, and only where they save work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgevision.schedule import folded
from edgevision.schedule.apply import realize, schedule_workload, space
from edgevision.schedule.conv2d_choice import FOLD
from edgevision.target import Target, load
from tests.schedule.workloads import NATIVE, Case, convolution, outcome, product, relative_error, run

NARROW = replace(load("x86_64"), name="narrow")
WIDE = replace(NARROW, name="wide", vector_bits=512, vector_registers=32)
TOLERANCE = 3e-6

SHAPES = {
    "half a vector": lambda: convolution((1, 5, 7, 6), 24, (1, 1), residual=True),
    "a quarter": lambda: convolution((1, 5, 7, 8), 36, (1, 1)),
    "three quarters": lambda: convolution((2, 3, 5, 8), 12, (1, 1), row_bias=True),
    "less than one vector": lambda: convolution((1, 3, 9, 16), 8, (1, 1)),
    "a window": lambda: convolution((1, 7, 6, 4), 20, (3, 3), strides=(2, 2), pads=(1, 0, 1, 1)),
    "groups": lambda: convolution((1, 4, 5, 8), 48, (1, 1), groups=2),
    "blocks of channels": lambda: convolution((1, 9, 8, 34), 184, (1, 1)),
    "a product": lambda: product((3, 5), 10, 40),
}


def folds(case: Case, target: Target) -> bool:
    choice = schedule_workload(case.func, target).choice
    assert choice is not None
    return choice.mapping["fill"] == FOLD


@pytest.mark.parametrize("target", [NATIVE, NARROW], ids=lambda t: t.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_folded_equals_float64(shape: str, target: Target) -> None:
    case = SHAPES[shape]()
    assert folds(case, WIDE)
    _, result = run(case, target)
    assert relative_error(result, case.expected) < TOLERANCE


@pytest.mark.parametrize(("unroll", "sweep"), [(1, 1), (2, 4), (4, 2)])
def test_every_way_to_fold_equals_float64(unroll: int, sweep: int) -> None:
    case = convolution((1, 6, 9, 48), 36, (1, 1))
    points = [c for c in space(case.func, NATIVE) if c.mapping.get("fill") == FOLD]
    some = [c for c in points if (c.mapping["unroll"], c.mapping["sweep"]) == (unroll, sweep)][:: max(1, len(points) // 12)]
    assert some
    for choice in some:
        scheduled = realize(choice, case.func, NATIVE)
        assert scheduled is not None
        assert relative_error(outcome(case, scheduled, NATIVE), case.expected) < TOLERANCE, choice


NEAR_MISSES = {
    "whole vectors": lambda: convolution((1, 5, 7, 6), 32, (1, 1)),
    "an odd reduction": lambda: convolution((1, 5, 7, 5), 24, (1, 1)),
    "two channels": lambda: convolution((1, 5, 7, 8), 18, (1, 1)),
    "one pixel": lambda: convolution((1, 1, 1, 8), 24, (1, 1)),
    "little room": lambda: convolution((1, 5, 7, 8), 92, (1, 1)),
}


@pytest.mark.parametrize("shape", NEAR_MISSES)
def test_a_near_miss_is_not_folded(shape: str) -> None:
    assert not folds(NEAR_MISSES[shape](), WIDE)


@pytest.mark.parametrize(("channels", "steps"), [(24, 2), (36, 4), (18, 1), (32, 1)])
def test_narrow_vectors_have_four_channels_or_more(channels: int, steps: int) -> None:
    assert folded.steps_at_once(channels, 16, 64) == steps


def test_elements_are_spread_by_x86_only() -> None:
    neon = replace(load("arm64"), vector_bits=512)
    assert not folds(SHAPES["half a vector"](), neon)


def test_weights_lie_as_they_are_read() -> None:
    weights = np.arange(24.0).reshape(4, 6)
    assert folded.lay(weights, 1).tolist() == list(range(24))
    assert folded.lay(weights, 2).tolist()[:6] == [0, 6, 1, 7, 2, 8]
