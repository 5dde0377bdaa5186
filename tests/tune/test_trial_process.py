"""The program that runs candidates, with kernels in C that do what compiled ones must not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgevision.link import zig
from edgevision.link.trial_program import link_trial
from edgevision.target import load
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import TrialProcess
from edgevision.tune.request import Argument, Built
from edgevision.tune.trial import judge

COUNT = 64
LIMIT_S = 1.0
KERNEL = """
#include <stdint.h>
typedef struct {{ float *data; }} tensor;
typedef struct {{ int32_t type, zero; tensor *at; }} any;
int32_t __tvm_ffi_kernel(void *self, any *args, int32_t n, any *result) {{
    volatile float *x = args[0].at->data, *c = args[1].at->data, *y = args[2].at->data;
    {body}
    return 0;
}}
"""
TWICE = "for (int i = 0; i < 64; i++) y[i] = 2 * x[i] + c[i];"
SLOW = "for (int r = 0; r < 2000; r++) " + TWICE
BODIES = {
    "right": TWICE, "slow": SLOW, "crash": "*(volatile int *)8 = 1;", "hang": "for (;;) c = y;",
    "wrong": "for (int i = 0; i < 64; i++) y[i] = 2 * x[i];", "beyond": TWICE + " y[64] = 1;",
    "partial": "for (int i = 0; i < 63; i++) y[i] = 2 * x[i] + c[i];", "refuses": TWICE + " return 7;",
}  # fmt: skip


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    folder = tmp_path_factory.mktemp("kernels")
    operands = np.arange(2 * COUNT, dtype=np.float32)
    (folder / "operands.bin").write_bytes(operands.tobytes())
    made = {}
    for name, body in BODIES.items():
        source, library = folder / f"{name}.c", folder / f"{name}.so"
        source.write_text(KERNEL.format(body=body))
        zig.run(
            ["cc", "-O1", "-shared", "-fPIC", "-nostdlib", "-fno-sanitize=all", source, "-o", library],
            purpose="building a kernel", scratch=folder / "zig",
        )  # fmt: skip
        made[name] = Built(
            library=str(library), schedule="", workspace_bytes=0, tolerance=1e-6,
            arguments=tuple(
                Argument(role=role, code=2, bits=32, shape=(COUNT,), file=file, offset=offset)
                for role, file, offset in (
                    ("a", str(folder / "operands.bin"), 0), ("c", str(folder / "operands.bin"), 4 * COUNT), ("o", "-", 0)
                )
            ),
        )  # fmt: skip
    return made


@pytest.fixture
def device(tmp_path: Path) -> Iterator[TrialProcess]:
    made = TrialProcess(link_trial(load("native")), tmp_path, threads=2, l2_bytes=1 << 16)
    yield made
    made.close()


EXPECTED = 2 * np.arange(COUNT, dtype=np.float32) + np.arange(COUNT, 2 * COUNT, dtype=np.float32)


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


OUTCOMES = {"wrong": "wrong", "partial": "wrong", "beyond": "wrong", "crash": "crashed", "refuses": "crashed", "right": "right"}


def test_each_misfit_is_named_and_the_next_trial_goes_on(device: TrialProcess, kernels: dict[str, Built]) -> None:
    for name, outcome in OUTCOMES.items():
        verdict = judge(device, kernels["right"], kernels[name], (EXPECTED,), 1e-6, 1e-6)
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
