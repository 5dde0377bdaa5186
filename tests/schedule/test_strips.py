"""Convolutions in strips: the same results as one after another, for any geometry and any number of threads, rings instead of
whole tensors, and what must stay apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgevision.link import memory_plan
from edgevision.program import Program
from edgevision.schedule import conv2d
from edgevision.target import Target
from tests import executor
from tests.ingest.nets import inverted_residual, network, random

SMALL = replace(executor.native(), l2_bytes=16 << 10, cores=3)
"""Less than 40 rows of 16 columns and 12 channels; three quarters of it are two rings of eight such rows."""

RESIDUAL, WEIGHTS = inverted_residual(6, 12, 5, (40, 16))


@pytest.fixture(autouse=True)
def threads_share_small_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv2d, "PARALLEL_MACS", 0)


def lengths(program: Program) -> list[int]:
    """How many convolutions each function in strips holds."""
    return [sum(op in ("conv", "depthwise") for op in c.step.ops) for c in program.calls if c.function.startswith("strips")]


def checked(body: str, target: Target = SMALL, **weights: np.ndarray) -> list[int]:
    used = {name: w for name, w in (WEIGHTS | weights).items() if f"{name})" in body}
    return lengths(executor.checked(network(body, **used), target))


def test_an_inverted_residual_is_one_function() -> None:
    assert checked(RESIDUAL) == [3]


def test_its_input_may_be_added_at_the_end() -> None:
    body = RESIDUAL.replace("float[1,5,", "float[1,6,").replace("y = Conv (b, w3)", "c = Conv (b, w4) y = Add (c, x)")
    assert checked(body, w4=random(6, 12, 1, 1)) == [3]


def test_what_is_added_in_between_may_come_from_outside() -> None:
    body = RESIDUAL.replace("x) =>", "x, float[1,12,40,16] z) =>").replace("b = Relu (q)", "c = Add (q, z) b = Relu (c)")
    assert checked(body) == [3]


def test_rings_take_the_place_of_tensors() -> None:
    def arena(target: Target) -> int:
        program = executor.compiled(network(RESIDUAL, **WEIGHTS), for_target=target)[1]
        return memory_plan.plan(memory_plan.lifetimes(program)).arena_bytes

    image = 4 * 40 * 16
    assert arena(replace(SMALL, cores=1)) <= image * (8 + 8) + 8 * 1024 < image * (12 + 12) <= arena(executor.native())


def test_a_chain_whose_rings_do_not_fit_is_cut() -> None:
    """Four rows of 12 channels and one more are too much for three kilobytes, four are not."""
    assert checked(RESIDUAL, replace(SMALL, l2_bytes=4 << 10)) == [2]
    assert checked(RESIDUAL, replace(SMALL, l2_bytes=512)) == []


def test_the_same_chain_twice_is_one_function() -> None:
    body = """(float[1,6,40,16] x) => (float[1,6,40,16] y) {
        p = Conv (x, w1) q = Conv <group=12, pads=[1,1,1,1]> (p, w2) r = Conv (q, w4) s = Add (r, x)
        a = Conv (s, w1) b = Conv <group=12, pads=[1,1,1,1]> (a, w2) c = Conv (b, w4) y = Add (c, s)
    }"""
    used = {**WEIGHTS, "w4": random(6, 12, 1, 1, seed=3)}
    program = executor.checked(network(body, **{name: w for name, w in used.items() if name != "w3"}), SMALL)
    assert lengths(program) == [3, 3]
    assert len({c.function for c in program.calls if c.function.startswith("strips")}) == 1


def test_what_went_into_strips_is_compiled_once() -> None:
    program = executor.compiled(network(RESIDUAL, **WEIGHTS), for_target=SMALL)[1]
    assert {gv.name_hint for gv in program.module.functions} == {c.function for c in program.calls}


def test_rows_that_a_stride_passes_over_spoil_none_that_is_needed() -> None:
    body = """(float[1,6,61,16] x) => (float[1,5,21,16] y) {
        q = Conv <group=6, pads=[1,1,1,1]> (x, w2) r = Conv <group=6, pads=[1,1,1,1]> (q, w5) p = Conv (r, w1)
        y = Conv <strides=[3,1]> (p, w3)
    }"""
    weights = {"w2": random(6, 1, 3, 3), "w5": random(6, 1, 3, 3, seed=4)}
    for l2_bytes in range(4 << 10, 24 << 10, 4 << 10):
        assert checked(body, replace(SMALL, l2_bytes=l2_bytes, cores=1), **weights)


@pytest.mark.parametrize("cores", [1, 2, 5, 64])
def test_threads_change_no_bit(cores: int) -> None:
    x = random(1, 6, 40, 16, seed=7)
    (alone,) = executor.run(network(RESIDUAL, **WEIGHTS), [x])
    program = executor.compiled(network(RESIDUAL, **WEIGHTS), for_target=replace(SMALL, cores=cores))[1]
    assert lengths(program) == [3]
    assert np.array_equal(executor.execute(program, [x])[0], alone)


@pytest.mark.parametrize(("first", "second"), [("0,0,0,0", "0,0,0,1"), ("1,1,1,1", "0,0,0,0"), ("1,0,0,1", "1,1,0,0")])
def test_one_channel_is_no_depthwise_layer(first: str, second: str) -> None:
    """Its template reads a padded copy, and a ring has no pads."""
    body = f"""(float[1,1,40,16] x) => (float[a,b,c,d] y) {{
        p = Conv <pads=[{first}]> (x, w1) q = Relu (p) r = Conv <pads=[{second}]> (q, w2) y = Relu (r)
    }}"""
    executor.checked(network(body, w1=random(1, 1, 3, 3), w2=random(1, 1, 1, 1, seed=2)), replace(SMALL, l2_bytes=2 << 10))


@st.composite
def chains(draw: st.DrawFn) -> tuple[str, dict[str, np.ndarray]]:
    """Two to four convolutions, depthwise or of one tap but the first, which may be any."""
    n, h, w, channels = draw(st.integers(1, 2)), draw(st.integers(9, 30)), draw(st.integers(8, 12)), draw(st.integers(1, 20))
    shape, weights, lines, last, extents = f"{n},{channels},{h},{w}", {}, [], "x", [h, w]
    for i in range(draw(st.integers(2, 4))):
        depthwise, any_kernel = draw(st.booleans()), i == 0
        outputs = channels if depthwise else draw(st.integers(1, 24))
        most = 3 if depthwise or any_kernel else 1
        kernel = [draw(st.integers(1, min(most, extent))) for extent in extents]
        strides = [draw(st.integers(1, 3)) for _ in range(2)]
        pads = [draw(st.integers(0, most - 1)) for _ in range(4)]
        extents = [(extents[a] + pads[a] + pads[a + 2] - kernel[a]) // strides[a] + 1 for a in range(2)]
        group = channels if depthwise else 1
        weights[f"w{i}"] = random(outputs, channels // group, *kernel, seed=i) / np.float32(np.sqrt(channels // group * kernel[0]))
        lines.append(f"c{i} = Conv <group={group}, pads={pads}, strides={strides}> ({last}, w{i}) r{i} = Relu (c{i})")
        last, channels = f"r{i}", outputs
    body = f"(float[{shape}] x) => (float[a,b,c,d] y) {{ {' '.join(lines)} y = Neg ({last}) }}"
    return body, weights


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(chains(), st.sampled_from([1, 2, 7]), st.sampled_from([2 << 10, 8 << 10, 32 << 10]))
def test_any_chain_computes_what_its_parts_do(chain: tuple[str, dict[str, np.ndarray]], cores: int, l2_bytes: int) -> None:
    body, weights = chain
    executor.checked(network(body, **weights), replace(SMALL, cores=cores, l2_bytes=l2_bytes))


def test_one_may_add_what_it_convolves() -> None:
    """The row that is added is among those that the kernel reaches."""
    twice = RESIDUAL.replace("q = Conv <group=12, pads=[1,1,1,1]>", "s = Conv <group=12, pads=[2,0,0,2]>")
    assert checked(twice.replace("b = Relu (q)", "q = Add (s, a) b = Relu (q)")) == [3]


NEAR_MISSES = {
    "read by two": (RESIDUAL.replace("y = Conv (b, w3)", "c = Conv (b, w5) d = Add (c, a) y = Conv (d, w3)"),
                    {"w5": random(12, 12, 1, 1)}, [3]),
    "it leaves the network": (RESIDUAL.replace("y) {", "y, float[1,12,40,16] a) {", 1), {}, [2]),
    "it is an output itself, channels last": (
        RESIDUAL.replace("y) {", "y, float[1,40,16,12] t) {", 1).replace("y = Conv", "t = Transpose <perm=[0,2,3,1]> (a) y = Conv"),
        {}, [2],
    ),
    "small enough for the L2": (RESIDUAL.replace("40,16]", "5,8]"), {}, []),
    "a convolution with a border reads it": (RESIDUAL.replace("group=12, ", ""), {"w2": random(12, 12, 3, 3, seed=1)}, [2]),
    "in groups": (RESIDUAL.replace("y = Conv (b, w3)", "y = Conv <group=2> (b, w6)").replace("float[1,5,", "float[1,4,"),
                  {"w6": random(4, 6, 1, 1)}, [2]),
    "another operator between": (RESIDUAL.replace("b = Relu (q)", "b = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (q)"), {}, [2]),
}  # fmt: skip


@pytest.mark.parametrize(("body", "weights", "expected"), NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_stays_apart(body: str, weights: dict[str, np.ndarray], expected: list[int]) -> None:
    assert checked(body, **weights) == expected
