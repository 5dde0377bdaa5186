"""The arena: buffers that live at the same time never overlap, and the plan is as good as simple cases allow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgevision.artifact import Step
from edgevision.link.memory_plan import ALIGNMENT_BYTES, Lifetime, lifetimes, plan
from edgevision.program import Call, Program, Value
from edgevision.tensor import TensorSpec


def buffer(index: int, nbytes: int, first: int, last: int) -> Lifetime:
    return Lifetime(place=("scratch", index), nbytes=nbytes, first=first, last=last)


@st.composite
def buffers(draw: st.DrawFn) -> list[Lifetime]:
    count = draw(st.integers(1, 25))
    found = []
    for i in range(count):
        first = draw(st.integers(-1, 20))
        found.append(buffer(i, draw(st.integers(0, 5000)), first, draw(st.integers(first, 21))))
    return found


@given(buffers())
def test_buffers_that_live_together_do_not_overlap(found: list[Lifetime]) -> None:
    planned = plan(found)
    for a in found:
        at = planned.offsets[a.place]
        assert at % ALIGNMENT_BYTES == 0
        assert at + a.nbytes <= planned.arena_bytes
        for b in found:
            if a is b or a.last < b.first or b.last < a.first:
                continue
            other = planned.offsets[b.place]
            assert at + a.nbytes <= other or other + b.nbytes <= at


def test_a_chain_takes_the_largest_pair() -> None:
    chain = [buffer(i, 1024 * (i + 1), i, i + 1) for i in range(6)]
    assert plan(chain).arena_bytes == 1024 * (5 + 6)


def test_buffers_of_one_moment_share_nothing() -> None:
    assert plan([buffer(i, 64, 0, 0) for i in range(3)]).arena_bytes == 3 * 64


def test_an_input_that_nothing_reads_still_has_a_place() -> None:
    """The runtime copies every input into its staging place before the first call."""
    step = Step(name="k", ops=("k",), macs=0, schedule="")
    value = Value(kind="input", index=1, shape=(4,), dtype="float32")
    result = Value(kind="output", index=0, shape=(4,), dtype="float32")
    program = Program(
        module=None, calls=(Call(function="k", args=(value, result), outputs=1, step=step),), weights=(),
        inputs=(TensorSpec(name="a", shape=(100,)), TensorSpec(name="b", shape=(4,))),
        outputs=(TensorSpec(name="y", shape=(4,)),), model_sha256="",
    )  # fmt: skip
    found = {life.place: life for life in lifetimes(program)}
    assert found["input", 0].nbytes == 400
    planned = plan(tuple(found.values()))
    assert planned.offsets["input", 0] + 400 <= planned.offsets["input", 1] or (
        planned.offsets["input", 1] + 16 <= planned.offsets["input", 0]
    )


def test_an_output_lives_until_the_end() -> None:
    """It is copied out after the last call: a later, unrelated activation must not lie on it."""
    step = Step(name="k", ops=("k",), macs=0, schedule="")

    def call(*values: Value) -> Call:
        return Call(function="k", args=values, outputs=1, step=step)

    def scratch(i: int) -> Value:
        return Value(kind="scratch", index=i, shape=(16,), dtype="float32")

    x = Value(kind="input", index=0, shape=(16,), dtype="float32")
    y = Value(kind="output", index=0, shape=(16,), dtype="float32")
    program = Program(
        module=None, calls=(call(x, y), call(x, scratch(0)), call(scratch(0), scratch(1))), weights=(),
        inputs=(TensorSpec(name="x", shape=(16,)),), outputs=(TensorSpec(name="y", shape=(16,)),), model_sha256="",
    )  # fmt: skip
    planned = plan(lifetimes(program))
    places = [planned.offsets[p] for p in (("output", 0), ("scratch", 0), ("scratch", 1))]
    assert len(set(places)) == 3
