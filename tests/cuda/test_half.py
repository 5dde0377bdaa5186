"""Half precision in memory as CUDA kernels: what NVRTC makes of the type, and what the kernels compute on the CPU."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgevision import target
from edgevision.link.cuda_compiler import compile_kernels
from edgevision.schedule.gpu import half
from tests import executor
from tests.cuda import on_cpu
from tests.cuda.test_schedules import BUNDLES, GENERATOR
from tests.opencl import networks
from tests.opencl.test_half import passed_on

SOURCES = {**{name: lambda make=make: make().model() for name, make in BUNDLES.items()}, "network": networks.small,
           "rounding": lambda: passed_on(np.ones(16))}  # fmt: skip


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """All sources in one library."""
    models = {name: make() for name, make in SOURCES.items()}
    prepared = {name: on_cpu.prepare(model, f"{name}_", dtype=half.HALF) for name, model in models.items()}
    return models, prepared, on_cpu.build(list(prepared.values()), tmp_path_factory.mktemp("kernels"))


def inputs(model):
    shapes = [[d.dim_value for d in each.type.tensor_type.shape.dim] for each in model.graph.input]
    return [GENERATOR.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("name", [*BUNDLES, "network"])
def test_kernels_are_off_by_what_storing_loses(name, compiled):
    models, prepared, library = compiled
    images = inputs(models[name])
    expected = executor.onnxruntime_outputs(models[name], images)
    assert half.HALF in {v.dtype for call in prepared[name].program.calls for v in call.args}
    for found, wanted in zip(on_cpu.run(prepared[name], library, images), expected, strict=True):
        assert np.abs(found - wanted).max() < 3e-3 * np.abs(wanted).max()


def test_storing_rounds_to_the_nearest_half(compiled):
    _, prepared, library = compiled
    x = GENERATOR.standard_normal((16, 64)).astype(np.float32)
    (found,) = on_cpu.run(prepared["rounding"], library, [x])
    np.testing.assert_array_equal(found, x.T.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("name", ["cuda-sm86", "cuda-sm87", "cuda-sm89", "cuda-sm90"])
def test_nvrtc_takes_the_type_and_converts_by_one_instruction_each(name, compiled):
    _, prepared, _ = compiled
    made = compile_kernels(prepared["network"].text, target.load(name).compute_capability)
    assert re.search(rb"cvt\.f32\.f16 ", made.ptx)
    assert re.search(rb"cvt\.rn\.f16\.f32 ", made.ptx)
    assert b"ld.global.nc.v4.u16" in made.ptx or b"ld.global.v4.u16" in made.ptx  # four halves at a time
