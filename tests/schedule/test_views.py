"""Concatenations whose operands are written in place, and those that must stay copies."""

from __future__ import annotations

import numpy as np
import pytest

from tests import executor
from tests.ingest.nets import network, random

GHOST = """(float[2,8,9,7] x) => (float[2,6,9,7] y) {
    p = Conv (x, w1)
    a = Relu (p)
    q = Conv <group=12, pads=[1,1,1,1]> (a, w2)
    b = Relu (q)
    c = Concat <axis=1> (a, b)
    y = Conv (c, w3)
}"""
WEIGHTS = {"w1": random(12, 8, 1, 1), "w2": random(12, 1, 3, 3, seed=1), "w3": random(6, 24, 1, 1, seed=2)}


def concatenations(body: str, **weights: np.ndarray) -> int:
    """How many copies the compiled network makes; its outputs are checked on the way."""
    program = executor.checked(network(body, **weights))
    return sum("concat" in call.step.ops for call in program.calls)


def test_a_ghost_module_copies_nothing() -> None:
    assert concatenations(GHOST, **WEIGHTS) == 0


@pytest.mark.parametrize("pixels", [(9, 7), (1, 1)])
def test_the_result_may_leave_the_network(pixels: tuple[int, int]) -> None:
    """With one pixel its memory is the output's own."""
    body = GHOST.replace("y) {", "y, float[2,24,9,7] c) {", 1).replace("9,7]", f"{pixels[0]},{pixels[1]}]")
    assert concatenations(body, **WEIGHTS) == 0


def test_three_operands_of_odd_widths_and_a_residual_that_reads_one() -> None:
    body = """(float[1,5,6,6] x) => (float[1,7,6,6] y) {
        a = Conv (x, w1)
        b = Conv <pads=[1,1,1,1]> (a, w2)
        d = Conv (b, w3)
        e = Add (d, a)
        c = Concat <axis=1> (a, b, e)
        y = Conv (c, w4)
    }"""
    weights = {
        "w1": random(7, 5, 1, 1), "w2": random(3, 7, 3, 3, seed=1), "w3": random(7, 3, 1, 1, seed=2),
        "w4": random(7, 17, 1, 1, seed=3),
    }  # fmt: skip
    assert concatenations(body, **weights) == 0


def test_winograd_and_a_large_depthwise_kernel_work_on_views() -> None:
    body = """(float[1,24,12,12] x) => (float[1,5,12,12] y) {
        a = Conv <pads=[1,1,1,1]> (x, w1)
        b = Conv <group=24, pads=[4,4,4,4]> (a, w2)
        c = Concat <axis=1> (b, a)
        y = Conv (c, w3)
    }"""
    weights = {"w1": random(24, 24, 3, 3), "w2": random(24, 1, 9, 9, seed=1), "w3": random(5, 48, 1, 1, seed=2)}
    assert concatenations(body, **weights) == 0


NEAR_MISSES = {
    "an operand is read by what has no template": GHOST.replace("q = Conv", "s = Sin (a) q = Conv").replace(
        "y = Conv (c, w3)", "z = Conv (c, w3) t = ReduceSum (s, ax) y = Add (z, t)"
    ),
    "an operand leaves the network": GHOST.replace("y) {", "y, float[2,12,9,7] b) {", 1),
    "an operand is the input": GHOST.replace("(a, b)", "(a, b, x)").replace("w3", "w32"),
    "an operand goes in twice": GHOST.replace("(a, b)", "(a, b, b)").replace("w3", "w36"),
    "along the rows": GHOST.replace("<axis=1> (a, b)", "<axis=2> (a, b)").replace("w3", "w12").replace(
        "float[2,6,9,7]", "float[2,6,18,7]"
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_stays_a_copy(body: str) -> None:
    weights = {
        **WEIGHTS, "w32": random(6, 32, 1, 1), "w36": random(6, 36, 1, 1), "w12": random(6, 12, 1, 1),
        "ax": np.array([1]),
    }  # fmt: skip
    used = {name: value for name, value in weights.items() if f"{name})" in body}
    assert concatenations(body, **used) == 1


def test_an_operand_of_two_concatenations_is_copied_into_both() -> None:
    body = GHOST.replace("y = Conv (c, w3)", "z = Conv (c, w3) d = Concat <axis=1> (b, z) y = Conv (d, w18)")
    assert concatenations(body, **WEIGHTS, w18=random(6, 18, 1, 1)) == 2
