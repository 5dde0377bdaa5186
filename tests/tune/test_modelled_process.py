"""Candidates for 64-bit ARM, run under qemu and priced by the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevision.errors import InputError
from edgevision.link.toolchain import link_cost_plugin
from edgevision.link.trial_program import link_trial
from edgevision.measure.modelled.pricing import MARKED
from edgevision.measure.modelled.trace import Phase, trace
from edgevision.target import load
from edgevision.tune import modelled
from edgevision.tune.benches import CannotTuneError, NoModelError, check
from edgevision.tune.child import ChildHungError
from edgevision.tune.device import Cooling, load_lines, options
from edgevision.tune.modelled import ModelledProcess, cycles
from edgevision.tune.options import Options
from edgevision.tune.request import Built
from edgevision.tune.state import Budget
from edgevision.tune.trial import judge
from tests.tune.kernels import EXPECTED, OUTCOMES, build, trial

pytestmark = pytest.mark.modelled
LIMIT_S = 1.0
ARM64 = load("arm64", cores=1)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    return build(tmp_path_factory.mktemp("kernels"), "-target", ARM64.zig_target)


@pytest.fixture
def device(tmp_path: Path) -> ModelledProcess:
    return ModelledProcess(link_trial(ARM64), link_cost_plugin(), ARM64, tmp_path)


def test_a_kernel_gives_its_results_and_the_same_cycles_every_time(device: ModelledProcess, kernels: dict[str, Built]) -> None:
    device.hold(kernels["right"], LIMIT_S)
    results = device.results(kernels["slow"], LIMIT_S)
    assert results.guarded
    np.testing.assert_array_equal(results.arrays[0], EXPECTED)
    samples = device.compare(8, LIMIT_S)
    assert len(samples.a) == len(samples.b) == 16
    assert 200 < samples.b[0] / samples.a[0] < 2000
    device.results(kernels["slow"], LIMIT_S)
    assert device.compare(8, LIMIT_S) == samples
    device.promote(kernels["slow"])
    device.results(kernels["right"], LIMIT_S)
    assert device.compare(8, LIMIT_S).b == samples.a


def test_each_misfit_is_named(device: ModelledProcess, kernels: dict[str, Built]) -> None:
    for name, outcome in OUTCOMES.items():
        verdict = judge(device, trial(kernels["right"], kernels[name]), (EXPECTED,))
        assert verdict.outcome == outcome, (name, verdict)
        assert verdict.detail or outcome == "right"


def test_what_hangs_is_ended(device: ModelledProcess, kernels: dict[str, Built], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelled, "PATIENCE_S", 0.0)
    monkeypatch.setattr(modelled, "SLOWDOWN", 3.0)
    with pytest.raises(ChildHungError):
        device.results(kernels["hang"], LIMIT_S)


@pytest.mark.parametrize(
    ("cooling", "cold"), [(Cooling(), False), (Cooling(weights=1 << 20), True), (Cooling(written=1 << 20), True)],
    ids=["nothing lies between", "weights go by", "others write"],
)  # fmt: skip
def test_what_lies_between_two_samples_pushes_constants_and_results_out_of_the_caches(
    cooling: Cooling, cold: bool, kernels: dict[str, Built], tmp_path: Path
) -> None:
    commands = [*load_lines(1, kernels["right"], 60), *["sample\t1\t60"] * 3]
    found = trace(
        [str(link_trial(ARM64)), *options(1, cooling)], link_cost_plugin(), cpu=ARM64.emulator_cpu, caches=True, timeout_s=60,
        options=("-L", ARM64.sysroot), text="\n".join(commands),
    )  # fmt: skip
    constants, results = 256 // 64, 256 // 64
    missed = [phase.l2_misses for phase in found.phases if phase.symbol == MARKED][-2]
    assert missed >= constants + results if cold else missed == 0


def test_lines_that_miss_the_caches_cost() -> None:
    phase = Phase(symbol="mark", runs={}, accesses=100, l1_misses=10, l2_misses=3)
    assert cycles(phase) == round(10 * modelled.L1_MISS_CYCLES + 3 * modelled.L2_MISS_CYCLES)


def test_which_targets_can_be_modelled() -> None:
    budget = Budget(trials=1)
    check(ARM64, Options(budget=budget, modelled=True))
    with pytest.raises(CannotTuneError, match="--modelled"):
        check(ARM64, Options(budget=budget))
    with pytest.raises(NoModelError, match="x86_64"):
        check(load("x86_64"), Options(budget=budget, modelled=True))
    with pytest.raises(InputError, match="one thread"):
        check(ARM64, Options(budget=budget, modelled=True, threads=2))
    with pytest.raises(CannotTuneError) as caught:
        check(load("armv7"), Options(budget=budget))
    assert "--modelled" not in str(caught.value)
