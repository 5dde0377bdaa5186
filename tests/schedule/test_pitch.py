"""Pixels that would lie a power of two apart are spread, where a depthwise layer is near and everybody can be told."""

from __future__ import annotations

import numpy as np
import pytest

from edgevision import ingest
from edgevision.lower.phases import lower
from edgevision.program import Program
from edgevision.schedule.apply import schedule
from edgevision.schedule.identity import identify
from edgevision.schedule.pitch import odd_lines
from edgevision.schedule.tasks import tasks
from tests import executor
from tests.ingest.nets import inverted_residual, network, random

BODY, WEIGHTS = inverted_residual(8, 128, 6, (5, 4))


def program(body: str, **weights: np.ndarray) -> Program:
    return executor.checked(network(body, **weights))


def spread(found: Program) -> int:
    """How many activations have padding, which all who use them agree on."""
    padded = {v.place: v.shape for c in found.calls for v in c.args if v.padding}
    assert all(v.shape == padded[v.place] for c in found.calls for v in c.args if v.place in padded)
    return len(padded)


def test_what_a_depthwise_layer_reads_and_writes_is_spread() -> None:
    assert spread(program(BODY, **WEIGHTS)) == 2


def test_a_large_kernel_reads_what_is_spread() -> None:
    large = BODY.replace("pads=[1,1,1,1]", "pads=[4,4,4,4]")
    assert spread(program(large, **WEIGHTS | {"w2": random(128, 1, 9, 9, seed=1)})) == 2


def test_a_sum_behind_a_product_is_spread_too() -> None:
    residual = BODY.replace("y = Conv (b, w3)", "c = Conv (b, w4) d = Add (c, a) y = Conv (d, w3)")
    assert spread(program(residual, **WEIGHTS, w4=random(128, 128, 1, 1, seed=3))) == 2


def test_padding_makes_no_other_workload_for_a_log() -> None:
    """Nor for the tuner: the keys are those of the same layers without it."""
    model = ingest.read(network(BODY, **WEIGHTS))
    lowered = lower(model)
    dense = {identify(func).key for func in lowered.module.functions.values()}
    assert {task.key for task in tasks(lowered, executor.native())} <= dense
    asked: list[str] = []
    schedule(lowered, executor.native(), chosen=lambda key, default: asked.append(key) or ())
    assert set(asked) <= dense


NEAR_MISSES = {
    "no depthwise layer": (BODY.replace("group=128", "group=1"), {"w2": random(128, 128, 3, 3, seed=1)}, 0),
    "not a power of two": (
        BODY.replace("group=128", "group=112"),
        {"w1": random(112, 8, 1, 1), "w2": random(112, 1, 3, 3, seed=1), "w3": random(6, 112, 1, 1, seed=2)}, 0,
    ),
    "one pixel": (BODY.replace("5,4]", "1,1]"), {}, 0),
    "one is read by what has no template": (
        BODY.replace("y = Conv (b, w3)", "s = Sin (b) r = ReduceMean <keepdims=1> (s) z = Conv (b, w3) y = Add (z, r)"), {}, 1,
    ),
    "one leaves the network": (BODY.replace("y) {", "y, float[1,128,5,4] b) {", 1), {}, 1),
    "one is the input": (
        """(float[1,128,7,7] x) => (float[1,6,7,7] y) {
            q = Conv <group=128, pads=[1,1,1,1]> (x, w2)
            b = Relu (q)
            y = Conv (b, w3)
        }""", {}, 1,
    ),
    "both are the network's own, channels last": (
        """(float[1,5,4,128] t) => (float[1,5,4,128] y) {
            x = Transpose <perm=[0,3,1,2]> (t)
            q = Conv <group=128, pads=[1,1,1,1]> (x, w2)
            y = Transpose <perm=[0,2,3,1]> (q)
        }""", {}, 0,
    ),
    "one is part of a concatenation": (
        BODY.replace("y = Conv (b, w3)", "c = Concat <axis=1> (a, b) y = Conv (c, w5)"), {"w5": random(6, 256, 1, 1, seed=2)}, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "weights", "expected"), NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_stays_as_it_is(body: str, weights: dict[str, np.ndarray], expected: int) -> None:
    used = {name: w for name, w in (WEIGHTS | weights).items() if f"{name})" in body}
    assert spread(program(body, **used)) == expected


@pytest.mark.parametrize(("elements", "lines"), [(1, 1), (16, 1), (17, 3), (32, 3), (48, 3), (1024, 65)])
def test_planes_of_data_are_an_odd_number_of_lines_apart(elements: int, lines: int) -> None:
    assert odd_lines(elements) == 16 * lines
