"""Maxima and minima that hand NaN on, as instructions: the same numbers, NaN included; near misses stay comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import te, tirx

from edgevision.lower.compute.convolution import matmul
from edgevision.lower.compute.scalar import clip, const, maximum, minimum
from edgevision.schedule import conv2d
from edgevision.schedule.extremes import as_instructions
from edgevision.schedule.workload import Workload, parse
from edgevision.target import load
from tests.schedule.workloads import NATIVE, Case, outcome, prim_func

ARM64 = load("arm64")
Formula = Callable[[Any], Any]


def behind_a_product(formula: Formula) -> tuple[Case, Workload]:
    """formula(x @ w), where some products are NaN."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 8)).astype(np.float32), rng.standard_normal((8, 24)).astype(np.float32)
    x[3, 2] = np.nan
    tx, tw = te.placeholder(x.shape, name="x"), te.placeholder(w.shape, name="w")
    y = matmul(tx, tw)
    func = prim_func([tx, tw, te.compute(y.shape, lambda *at: formula(y[at]), name="tail")])
    workload = parse(func)
    assert workload is not None
    return Case(func=func, operands=(x, w), expected=x.astype(np.float64) @ w), workload


def calls(workload: Workload) -> list[str]:
    text = str(workload.stages[-1].value)
    return [name for name in ("llvm.maximum", "llvm.minimum") for _ in range(text.count(name))]


FORMULAS: dict[str, tuple[Formula, list[str]]] = {
    "relu": (lambda x: maximum(x, const(0, x)), ["llvm.maximum"]),
    "upper bound": (lambda x: minimum(x, const(1, x)), ["llvm.minimum"]),
    "both": (lambda x: clip(x, const(-1, x), const(1, x)), ["llvm.maximum", "llvm.minimum"]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_one_instruction_gives_the_same_numbers(name: str) -> None:
    formula, wanted = FORMULAS[name]
    case, workload = behind_a_product(formula)
    arm = as_instructions(workload, ARM64)
    assert calls(workload) == [] and calls(arm) == wanted
    compared, called = (conv2d.schedule(each, NATIVE) for each in (workload, arm))
    assert compared is not None and called is not None
    expected, found = (outcome(case, each, NATIVE) for each in (compared, called))
    assert np.isnan(found[3]).all() and np.isfinite(found[[0, 1, 2, 4]]).all()
    assert (found[:3] != case.expected[:3]).any()
    np.testing.assert_array_equal(found, expected)


NEAR_MISSES: dict[str, Formula] = {
    "NaN becomes the bound": lambda x: tirx.Select(x < const(0, x), x, const(0, x)),
    "another bound": lambda x: tirx.Select(x < const(0, x), const(1, x), x),
    "another value": lambda x: tirx.Select(x < const(0, x), const(0, x), x * const(2, x)),
    "a bound that counts": lambda x: tirx.Select(x <= const(0, x), const(0, x), x),
    "a bound that may be NaN": lambda x: maximum(const(0, x), x),
    "a bound that is NaN": lambda x: maximum(x, const(np.nan, x)),
    "whole numbers": lambda x: tirx.Cast("float32", maximum(tirx.Cast("int32", x), tirx.const(0, "int32"))),
}


@pytest.mark.parametrize("formula", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_stays_a_comparison(formula: Formula) -> None:
    _, workload = behind_a_product(formula)
    arm = as_instructions(workload, ARM64)
    assert calls(arm) == [] and "Select" in str(arm.stages[-1].value)


@pytest.mark.parametrize("target", ["x86_64", "armv7", "native"])
def test_other_processors_compare(target: str) -> None:
    _, workload = behind_a_product(FORMULAS["relu"][0])
    assert as_instructions(workload, load(target)) is workload
