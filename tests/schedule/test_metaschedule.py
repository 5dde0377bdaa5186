"""MetaSchedule's own schedules as choices: the same point is always the same program, and its results are right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import tvm_ffi
from tvm import te, topi

from edgevision.link import codegen
from edgevision.lower.compute.reducing import largest
from edgevision.schedule import metaschedule
from edgevision.schedule.apply import realize, schedule_workload, space
from edgevision.schedule.identity import identify, serialize
from edgevision.target import load
from edgevision.tune.search import neighbours
from edgevision.tuning_log import Choice
from tests.schedule.workloads import NATIVE, Case, convolution, outcome, prim_func, product, relative_error

DRAWN = 24


def softmax() -> Case:
    x = np.random.default_rng(0).standard_normal((12, 40)).astype(np.float32)
    tx = te.placeholder(x.shape, name="x")
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    return Case(func=prim_func([tx, topi.nn.softmax(tx)]), operands=(x,), expected=e / e.sum(1, keepdims=True))


CASES: dict[str, Any] = {
    "1x1": lambda: convolution((1, 6, 7, 24), 40, (1, 1), residual=True),
    "grouped": lambda: convolution((1, 8, 7, 12), 36, (3, 3), pads=(1, 1, 1, 1), groups=3),
    "depthwise": lambda: convolution((2, 9, 13, 20), 20, (3, 3), pads=(1, 1, 1, 1), groups=20, residual=True),
    "product": lambda: product((3, 7), 24, 33),
    "softmax": softmax,
}


def point(sample: int, first: int = 0, second: int = 0) -> Choice:
    return Choice.of(metaschedule.NAME, {"sample": sample, "first": first, "second": second})


@pytest.mark.parametrize("name", CASES)
def test_points_are_right_and_most_differ(name: str) -> None:
    case = CASES[name]()
    points = [choice for choice in space(case.func, NATIVE) if choice.template == metaschedule.NAME]
    made = [realize(choice, case.func, NATIVE) for choice in Random(name).sample(points, DRAWN)]
    there = [scheduled for scheduled in made if scheduled is not None]
    assert len({tvm_ffi.structural_hash(scheduled.func) for scheduled in there}) > DRAWN // 3
    for scheduled in there[:4]:
        assert relative_error(outcome(case, scheduled, NATIVE), case.expected) < 1e-5, scheduled.schedule


def test_a_point_is_the_same_program_in_every_process(tmp_path: Path) -> None:
    func = CASES["1x1"]().func
    (tmp_path / "func.json").write_text(serialize(func))
    choices = (point(3), point(3, 2), point(5, 1, 4))
    again = f"""
import tvm_ffi
from pathlib import Path
from edgevision.schedule import metaschedule
from edgevision.schedule.identity import deserialize
from edgevision.target import load
from edgevision.tuning_log import Choice
func = deserialize(Path({str(tmp_path / "func.json")!r}).read_text())
for choice in {[choice.parameters for choice in choices]!r}:
    print(tvm_ffi.structural_hash(metaschedule.schedule(func, load("native"), Choice("metaschedule", choice)).func))
"""
    done = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True)
    made = [metaschedule.schedule(func, load("native"), choice) for choice in choices]
    assert done.stdout.split() == [str(tvm_ffi.structural_hash(each.func)) for each in made if each is not None]
    assert len(set(done.stdout.split())) == len(choices)


def test_a_log_may_choose_it_and_views_have_none() -> None:
    func = CASES["1x1"]().func
    key = identify(func).key
    chosen = schedule_workload(func, NATIVE, chosen=lambda k, default: (point(4, 1),) if k == key else ())
    assert chosen.schedule.startswith("tuned:metaschedule") and chosen.choice == point(4, 1)
    assert realize(point(4, 1), func, NATIVE, seen={0: (0, 48)}) is None
    assert all(choice.template == "conv2d" for choice in space(func, NATIVE, seen={0: (0, 48)}))


@pytest.mark.parametrize("choice", [point(99), point(0, 0, 1), point(0, 9), Choice.of("metaschedule", {"sample": 0})], ids=str)
def test_what_is_no_point_is_refused(choice: Choice) -> None:
    assert realize(choice, CASES["1x1"]().func, NATIVE) is None


def test_where_nothing_is_left_open_there_is_no_point() -> None:
    x = te.placeholder((4, 7), name="x")
    assert metaschedule.space(prim_func([x, te.compute(x.shape, lambda i, j: x[i, j] + 1)]), NATIVE) == ()


def test_where_no_loop_is_tiled_there_are_samples_alone() -> None:
    x, k = te.placeholder((1, 57, 56, 64), name="x"), te.reduce_axis((0, 3), name="k")
    padded = te.compute((1, 58, 56, 64), lambda n, h, w, c: te.if_then_else(h > 0, x[n, h - 1, w, c], 0.0), name="pad")
    y = te.compute((1, 28, 56, 64), lambda n, h, w, c: largest(padded[n, 2 * h + k, w, c], axis=k), name="pool")
    z = te.compute(y.shape, lambda *i: y[i] + 1, name="add")
    found = metaschedule.space(prim_func([x, z]), NATIVE)
    assert found == tuple(point(sample) for sample in range(metaschedule.SAMPLES))


def test_its_neighbours_change_one_decision() -> None:
    assert neighbours(point(3), ()) == {point(3, first) for first in range(1, metaschedule.CHANGES)}
    once = neighbours(point(3, 2), ())
    assert point(3, 2, 5) in once and point(3, 4) in once and not {point(3, 2), point(4, 2), point(3, 4, 5)} & once
    assert neighbours(point(3, 2, 5), ()) == {point(3, 2, second) for second in range(metaschedule.CHANGES)} - {point(3, 2, 5)}


def test_a_stage_inside_anothers_loops_takes_the_workspace_of_what_is_needed_there() -> None:
    """The padded image of 98 kB whole, or a part of it."""
    case = convolution((1, 30, 30, 24), 24, (3, 3), pads=(1, 1, 1, 1))
    whole = 32 * 32 * 24 * 4
    taken = set()
    for sample in range(16):
        scheduled = metaschedule.schedule(case.func, NATIVE, point(sample))
        assert scheduled is not None
        taken.add(codegen._allocated(scheduled.func.body))
    assert any(0 < each < whole // 2 for each in taken), taken
