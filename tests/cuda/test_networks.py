"""Whole networks as CUDA artifacts whose kernels the CPU computes: the zoo's and the trained ones agree with onnxruntime to 1e-4,
stored in half precision to 2e-2.

No GPU is asked: this says that text, launches, buffers and runtime are right, and nothing about time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgevision import pipeline, target
from edgevision.link import package
from edgevision.lower.phases import lower
from edgevision.measure import verify
from edgevision.measure.compare import LIMITS
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import Reference
from tests.cuda import stand_in
from tests.graphs.trained import NotObtainableError
from tests.parity.subjects import SMALL, TOO_COARSE_AS_HALF, Subject

CASES = [
    pytest.param(subject, dtype, id=f"{subject.name}-{dtype}")
    for subject in SMALL
    for dtype in ("float32", "float16")
    if (subject.name, dtype) != (TOO_COARSE_AS_HALF, "float16")
]


@pytest.mark.large
@pytest.mark.trained
@pytest.mark.parametrize(("subject", "dtype"), CASES)
def test_its_kernels_compute_the_network(
    subject: Subject, dtype: str, program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        source = subject.path()
    except NotObtainableError as error:
        pytest.skip(str(error))
    options = pipeline.Options(input_shapes=subject.input_shapes, dtype=dtype)
    model, chosen = pipeline.read(source, options), target.load("cuda-sm90")
    (tmp_path / "pieces").mkdir()
    scheduled = pipeline.scheduled_for(lower(model), chosen, model, options, print)
    artifact = package.link(scheduled, chosen, tmp_path / "pieces", tmp_path, name="network", bench=False)
    kernels = stand_in.build(next(tmp_path.rglob("kernels.cu")).read_text(), tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(program("cuda-sm90").parent))
    monkeypatch.setenv("EV_FAKE_CUDA_KERNELS", str(kernels))
    record = verify.verify(artifact, LocalDevice(how="stand-in"), Reference.of(model, dtype=dtype), count=1, allowed=LIMITS[dtype])
    assert record.max_error < LIMITS[dtype]
    assert not [step.name for step in artifact.steps if step.schedule.startswith("sequential")]
