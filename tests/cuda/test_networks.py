"""Whole networks as CUDA artifacts whose kernels the CPU computes: the zoo's and the trained ones agree with onnxruntime to 1e-4.

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
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import Reference
from edgevision.schedule.gpu.apply import schedule
from tests.cuda import stand_in
from tests.graphs.trained import NotObtainableError
from tests.parity.subjects import SMALL, Subject


@pytest.mark.large
@pytest.mark.trained
@pytest.mark.parametrize("subject", [pytest.param(s, id=s.name) for s in SMALL])
def test_its_kernels_compute_the_network(
    subject: Subject, program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        source = subject.path()
    except NotObtainableError as error:
        pytest.skip(str(error))
    model, chosen = pipeline.read(source, pipeline.Options(input_shapes=subject.input_shapes)), target.load("cuda-sm90")
    (tmp_path / "pieces").mkdir()
    artifact = package.link(schedule(lower(model), chosen), chosen, tmp_path / "pieces", tmp_path, name="network", bench=False)
    kernels = stand_in.build(next(tmp_path.rglob("kernels.cu")).read_text(), tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(program("cuda-sm90").parent))
    monkeypatch.setenv("EV_FAKE_CUDA_KERNELS", str(kernels))
    record = verify.verify(artifact, LocalDevice(how="stand-in"), Reference.of(model), count=1)
    assert record.max_error < 1e-4
    assert not [step.name for step in artifact.steps if step.schedule.startswith("sequential")]
