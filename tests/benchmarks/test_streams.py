"""What streams could gain: on programs whose answer is counted by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.streams import Operator, estimate, needs, related, streamed_us
from edgevision.program import Value

Wanted = list[set[int]]
FORK: Wanted = [set(), {0}, {1}, {0}, {3}, {2, 4}]
"""0, then 1-2 beside 3-4, then 5."""


def operators(wanted: Wanted, one_us: float = 10.0, two_us: float = 8.0) -> list[Operator]:
    return [Operator(needs=frozenset(each), one_us=one_us, two_us=two_us) for each in wanted]


def scratch(index: int, first: int | None = None) -> Value:
    return Value(kind="scratch", index=index, shape=(1,), dtype="float32", first=first)


def program(*calls: tuple[Value, ...]) -> Any:
    return SimpleNamespace(calls=[SimpleNamespace(args=args, outputs=1) for args in calls])


def test_a_call_needs_all_that_wrote_a_part_of_what_it_reads() -> None:
    image = Value(kind="input", index=0, shape=(1,), dtype="float32")
    result = Value(kind="output", index=0, shape=(1,), dtype="float32")
    calls = [(image, scratch(0, 0)), (image, scratch(0, 8)), (scratch(0), scratch(1)), (scratch(1), scratch(0), result)]
    assert needs(program(*calls)) == [frozenset(), frozenset(), {0, 1}, {0, 1, 2}]


def test_a_scratch_of_one_call_is_neither_read_nor_written_for_others() -> None:
    """It comes last, where outputs are."""
    assert needs(program((scratch(0), scratch(1), scratch(9)), (scratch(1), scratch(2)), (scratch(2), scratch(0)))) == [
        frozenset(), {0}, {1},
    ]  # fmt: skip


def test_related_are_those_before_and_after_through_others_too() -> None:
    assert [bits.bit_count() for bits in related(operators(FORK))] == [6, 4, 4, 4, 4, 6]


def test_two_branches_take_a_core_each() -> None:
    assert streamed_us(operators(FORK), range(1, 5)) == 20


def test_one_that_is_ready_alone_is_split() -> None:
    """A chain: nothing runs beside it."""
    assert streamed_us(operators([set(), {0}, {1}]), range(3)) == 3 * 8


def test_the_longest_way_to_the_end_goes_first() -> None:
    """Otherwise the chain 3-4-5 begins after 0 and 1."""
    assert streamed_us(operators([set(), set(), set(), set(), {3}, {4}]), range(6)) == 30


def test_an_estimate_counts_each_stretch_once_and_leaves_what_is_faster_split() -> None:
    found = estimate(operators(FORK))
    assert (found.branched, found.split, found.streams, found.bound) == (4, 48, 2 * 8 + 20, 2 * 8 + 4 * 5)
    even = estimate(operators(FORK, two_us=5.0))
    assert (even.split, even.streams, even.bound) == (30, 30, 30)


@pytest.mark.parametrize("two_us", [4.0, 8.0])
def test_nothing_is_faster_than_its_bound(two_us: float) -> None:
    found = estimate(operators([set(), {0}, {0}, {0}, {1, 2, 3}], two_us=two_us))
    assert found.bound <= found.streams <= found.split
