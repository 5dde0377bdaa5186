"""Every point of a template's space gives the right results; sampled, as there are thousands."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import te

from edgevision.schedule import metaschedule
from edgevision.schedule.apply import WINOGRAD, realize, schedule_workload, space
from edgevision.schedule.identity import identify
from edgevision.schedule.scheduled import Scheduled
from edgevision.target import Target, load
from edgevision.tune.search import neighbours
from edgevision.tuning_log import Choice
from tests.schedule.workloads import NATIVE, Case, convolution, outcome, prim_func, product, relative_error

NARROW = replace(load("x86_64"), name="narrow")
ARMS_SHAPE = replace(NARROW, vector_bits=128, vector_registers=32)
TARGETS = {"native": NATIVE, "narrow": NARROW, "arm's shape": ARMS_SHAPE}
TOLERANCE = 1e-5

CASES: dict[str, Any] = {
    "1x1": lambda: convolution((1, 6, 7, 24), 40, (1, 1), residual=True),
    "1x1 of few pixels": lambda: convolution((1, 2, 2, 32), 72, (1, 1)),
    "1x1, a constant a row": lambda: convolution((1, 5, 4, 16), 20, (1, 1), row_bias=True),
    "3x3": lambda: convolution((1, 9, 10, 20), 24, (3, 3), pads=(1, 1, 1, 1), residual=True),
    "3x3 of two images, strided": lambda: convolution((2, 9, 8, 4), 20, (3, 3), pads=(1, 1, 1, 1), strides=(2, 2)),
    "3x3, strided": lambda: convolution((1, 9, 10, 20), 24, (3, 3), pads=(1, 1, 1, 1), strides=(2, 2)),
    "3x3 in two wide groups": lambda: convolution((1, 8, 7, 32), 36, (3, 3), pads=(1, 1, 1, 1), groups=2),
    "grouped": lambda: convolution((1, 8, 7, 12), 36, (3, 3), pads=(1, 1, 1, 1), groups=3),
    "depthwise": lambda: convolution((2, 9, 13, 20), 20, (3, 3), pads=(1, 1, 1, 1), groups=20, residual=True),
    "depthwise, strided and dilated": lambda: convolution(
        (1, 12, 11, 36), 36, (5, 3), pads=(3, 2, 4, 2), strides=(2, 2), dilations=(2, 2), groups=36),
    "depthwise, wide": lambda: convolution((1, 12, 13, 20), 20, (5, 11), pads=(2, 5, 2, 5), groups=20),
    "classifier": lambda: product((1,), 40, 50),
    "product": lambda: product((3, 7), 24, 33),
}  # fmt: skip


def result(case: Case, target: Target, choice: Choice) -> tuple[Scheduled, np.ndarray]:
    scheduled = realize(choice, case.func, target)
    assert scheduled is not None
    assert scheduled.choice == choice
    return scheduled, outcome(case, scheduled, target)


def check(case: Case, target: Target, choices: list[Choice]) -> None:
    """MetaSchedule may refuse a point of its own space."""
    for choice in choices:
        if choice.template == metaschedule.NAME and realize(choice, case.func, target) is None:
            continue
        _, found = result(case, target, choice)
        assert relative_error(found, case.expected) < TOLERANCE, choice


@pytest.mark.parametrize("name", CASES)
def test_sampled_points_are_right(name: str) -> None:
    case, draw = CASES[name](), random.Random(name)
    for target in TARGETS.values():
        points = space(case.func, target)
        templates = sorted({choice.template for choice in points})
        check(case, target, [draw.choice([c for c in points if c.template == t]) for t in templates])


@pytest.mark.large
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_many_points_are_right(name: str, target: Target) -> None:
    case = CASES[name]()
    points = space(case.func, target)
    check(case, target, random.Random(name).sample(points, min(40, len(points))))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.tuples(st.integers(1, 2), st.integers(5, 20), st.integers(5, 20), st.integers(1, 70)), st.integers(1, 70),
    st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 9)]), st.booleans(), st.sampled_from(list(TARGETS.values())),
)  # fmt: skip
def test_the_default_is_in_the_space(
    shape: tuple[int, int, int, int], channels: int, kernel: tuple[int, int], depthwise: bool, target: Target
) -> None:
    pads = (kernel[0] // 2, kernel[1] // 2, kernel[0] // 2, kernel[1] // 2)
    groups = shape[3] if depthwise and shape[3] > 1 else 1
    case = convolution(shape, shape[3] if groups > 1 else channels, kernel, pads=pads, groups=groups)
    points = space(case.func, target)
    assert schedule_workload(case.func, target).choice in points
    assert len(points) == len(set(points))


@pytest.mark.parametrize("name", CASES)
def test_a_search_can_go_on_from_each_template(name: str) -> None:
    case = CASES[name]()
    for target in TARGETS.values():
        points = space(case.func, target)
        for best in {choice.template: choice for choice in points}.values():
            assert neighbours(best, points) <= set(points) or best.template == metaschedule.NAME


def test_what_is_not_in_the_space_is_refused() -> None:
    func = CASES["1x1"]().func
    legal = space(func, NATIVE)[0]
    for choice in (
        Choice.of("conv2d", {**legal.mapping, "pixels": 43}), Choice.of("conv2d", {**legal.mapping, "more": 1}),
        Choice.of("depthwise", legal.mapping), Choice.of("conv2d", {}),
    ):  # fmt: skip
        assert realize(choice, func, NATIVE) is None
    assert realize(legal, func, NATIVE) is not None


def test_excluded_templates_are_not_in_the_space() -> None:
    func = CASES["3x3"]().func
    assert {c.template for c in space(func, NATIVE)} == {"conv2d", "winograd", "metaschedule"}
    assert {c.template for c in space(func, NATIVE, WINOGRAD)} == {"conv2d", "metaschedule"}


def test_a_log_decides_and_a_choice_that_is_none_falls_back_to_the_next() -> None:
    func = CASES["1x1"]().func
    key = identify(func).key
    chosen, nonsense = space(func, NATIVE)[3], Choice.of("conv2d", {"pixels": 99})
    by_log = schedule_workload(func, NATIVE, chosen=lambda k, default: (nonsense, chosen) if k == key else ())
    assert by_log.choice == chosen and by_log.schedule.startswith("tuned:conv2d")
    other = schedule_workload(func, NATIVE, chosen=lambda k, default: (nonsense,))
    assert other.schedule.startswith("template:") and other.choice == schedule_workload(func, NATIVE).choice


def test_workloads_are_one_by_structure() -> None:
    def plus(name: str, by: float, shape: tuple[int, ...] = (4, 8)) -> Any:
        x = te.placeholder(shape, name=f"x{name}")
        return prim_func([x, te.compute(shape, lambda *i: x[i] + by, name=f"add{name}")])

    first = identify(plus("a", 1.0))
    assert identify(plus("b", 1.0)).key == first.key
    assert identify(plus("a", 2.0)).key != first.key
    assert identify(plus("a", 1.0, (8, 4))).key != first.key
    assert identify(plus("a", 1.0).with_attr("global_symbol", "f")).key == first.key
    func = CASES["1x1"]().func
    assert identify(func, {0: (8, 48)}).key != identify(func).key != identify(func, {0: (16, 48)}).key


ELEMENTWISE = {"add": (2, 3, 16), "rows of 24": (5, 24), "one axis": (48,)}


@pytest.mark.parametrize("shape", ELEMENTWISE.values(), ids=ELEMENTWISE)
@pytest.mark.parametrize("vectors", [0, 1])
def test_elementwise_stages_with_and_without_vectors(shape: tuple[int, ...], vectors: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(shape[-1:]).astype(np.float32)
    ta, tb = te.placeholder(a.shape, name="a"), te.placeholder(b.shape, name="b")
    func = prim_func([ta, tb, te.compute(shape, lambda *i: ta[i] * tb[i[-1]] + 1)])
    assert len(space(func, NATIVE)) == 2
    case = Case(func=func, operands=(a, b), expected=a * b + 1)
    check(case, NATIVE, [Choice.of("loops", {"vectors": vectors})])


NOT_VECTORS: dict[str, Any] = {
    "transposed": lambda: (lambda x: te.compute((16, 8), lambda i, j: x[j, i] + 1))(te.placeholder((8, 16), name="x")),
    "strided": lambda: (lambda x: te.compute((4, 16), lambda i, j: x[i, 2 * j]))(te.placeholder((4, 32), name="x")),
    "reversed": lambda: (lambda x: te.compute((4, 16), lambda i, j: x[i, 15 - j]))(te.placeholder((4, 16), name="x")),
    "odd": lambda: (lambda x: te.compute((4, 7), lambda i, j: x[i, j] + 1))(te.placeholder((4, 7), name="x")),
    "a function": lambda: (lambda x: te.compute((4, 16), lambda i, j: te.exp(x[i, j])))(te.placeholder((4, 16), name="x")),
}


@pytest.mark.parametrize("make", NOT_VECTORS.values(), ids=NOT_VECTORS)
def test_a_near_miss_of_vectors_has_no_choice(make: Any) -> None:
    y = make()
    (x,) = y.op.input_tensors
    assert space(prim_func([x, y]), NATIVE) == (Choice.of("loops", {"vectors": 0}),)
