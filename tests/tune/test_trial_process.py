"""The program that runs candidates and times them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgevision.link.trial_program import link_trial
from edgevision.own_pages import HUGE_PAGE_BYTES
from edgevision.target import load
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import WORKSPACE_BYTES, Cooling, TrialProcess
from edgevision.tune.request import Built
from edgevision.tune.trial import judge
from tests.runtime.test_own_pages import advised, advised_mappings, needs_huge_pages
from tests.tune.kernels import EXPECTED, OUTCOMES, build, trial

LIMIT_S = 1.0


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    return build(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def device(tmp_path: Path) -> Iterator[TrialProcess]:
    made = TrialProcess(link_trial(load("native")), tmp_path, threads=2, cooling=Cooling(weights=1 << 17, written=1 << 18))
    yield made
    made.close()


def test_a_kernel_gives_its_results_and_its_times(device: TrialProcess, kernels: dict[str, Built]) -> None:
    device.hold(kernels["right"], LIMIT_S)
    results = device.results(kernels["slow"], LIMIT_S)
    assert results.guarded
    np.testing.assert_array_equal(results.arrays[0], EXPECTED)
    samples = device.compare(8, LIMIT_S)
    assert len(samples.a) == len(samples.b) == 16
    assert np.median(samples.b) > 20 * np.median(samples.a)
    device.promote(kernels["slow"])
    device.results(kernels["right"], LIMIT_S)
    swapped = device.compare(8, LIMIT_S)
    assert np.median(swapped.a) > 20 * np.median(swapped.b)


@needs_huge_pages
def test_memory_is_in_huge_pages_as_a_session_s_is(device: TrialProcess, kernels: dict[str, Built]) -> None:
    device.hold(kernels["right"], LIMIT_S)
    (program,) = (int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if parent(stat) == os.getpid())
    before = advised(program)
    device.results(kernels["right"], LIMIT_S)
    places = advised_mappings(program)
    assert places and all(place.start % HUGE_PAGE_BYTES == place.stop % HUGE_PAGE_BYTES == 0 for place in places)
    assert sum(before) >= 2 * WORKSPACE_BYTES and sum(advised(program)) == sum(before) + HUGE_PAGE_BYTES
    for _ in range(3):
        device.results(kernels["right"], LIMIT_S)
    assert sum(advised(program)) == sum(before) + HUGE_PAGE_BYTES, "a candidate's memory goes with it"


def parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return 0


def test_each_misfit_is_named_and_the_next_trial_goes_on(device: TrialProcess, kernels: dict[str, Built]) -> None:
    for name, outcome in OUTCOMES.items():
        verdict = judge(device, trial(kernels["right"], kernels[name]), (EXPECTED,))
        assert verdict.outcome == outcome, (name, verdict)
        assert verdict.detail or outcome == "right"


def test_what_hangs_is_ended_and_the_next_trial_goes_on(device: TrialProcess, kernels: dict[str, Built]) -> None:
    device.hold(kernels["right"], LIMIT_S)
    began = time.monotonic()
    with pytest.raises((ChildHungError, ChildCrashedError)):
        device.results(kernels["hang"], LIMIT_S)
    assert time.monotonic() - began < 3 * LIMIT_S + 2
    device.hold(kernels["right"], LIMIT_S)
    assert device.results(kernels["right"], LIMIT_S).guarded


def test_a_library_that_is_gone_is_a_crash(device: TrialProcess, kernels: dict[str, Built]) -> None:
    import dataclasses

    with pytest.raises(ChildCrashedError, match="nothing"):
        device.hold(dataclasses.replace(kernels["right"], library="/nothing.so"), LIMIT_S)
