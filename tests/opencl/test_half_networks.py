"""Whole networks stored as half on the OpenCL device: within 2e-2 of their outputs' range, half as large, the same classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgevision import zoo
from edgevision.errors import VerificationError
from edgevision.measure.local import LocalDevice
from edgevision.pipeline import Options, compile_model
from tests.graphs import trained
from tests.parity.subjects import LARGE, SMALL, TOO_COARSE_AS_HALF, Subject
from tests.parity.test_photographs import PHOTOGRAPHS, _pixels, prepared

CHOSEN = [s for s in SMALL if s.name != TOO_COARSE_AS_HALF] + [
    s for s in LARGE if s.name in ("parnet-s", "trained: ppocr-detector")
]


@pytest.mark.large
@pytest.mark.trained
@pytest.mark.parametrize("subject", [pytest.param(s, id=s.name) for s in CHOSEN])
def test_it_is_half_as_large_and_within_the_limit(subject: Subject, tmp_path: Path, pocl: None) -> None:
    made = {}
    for dtype in ("float16", "float32"):
        options = Options(
            output=tmp_path / dtype, input_shapes=subject.input_shapes, measure=False, verify=dtype == "float16", dtype=dtype
        )  # fmt: skip
        made[dtype] = compile_model(_path(subject), ["opencl"], options).outcomes[0]
    half, whole = (made[dtype].artifact for dtype in ("float16", "float32"))
    assert 1e-4 < made["float16"].verification.max_error < 2e-2
    assert half.weight_bytes < 0.55 * whole.weight_bytes
    assert half.arena_bytes < 0.75 * whole.arena_bytes


@pytest.mark.large
@pytest.mark.trained
def test_a_network_that_half_is_too_coarse_for_is_refused(tmp_path: Path, pocl: None) -> None:
    (subject,) = (s for s in SMALL if s.name == TOO_COARSE_AS_HALF)
    options = Options(output=tmp_path, input_shapes=subject.input_shapes, measure=False, dtype="float16")
    with pytest.raises(VerificationError, match="half precision is too coarse for it, compile it with --dtype float32"):
        compile_model(_path(subject), ["opencl"], options)


@pytest.mark.large
@pytest.mark.trained
def test_photographs_keep_their_class(tmp_path: Path, pocl: None) -> None:
    try:
        weights = trained.mobilenetv2(trained.cache_folder())
    except trained.NotObtainableError as error:
        pytest.skip(str(error))
    path = tmp_path / "mobilenetv2.onnx"
    zoo.export("mobilenetv2-1.0", path, weights=weights)
    artifact = compile_model(path, ["opencl"], Options(output=tmp_path, measure=False, dtype="float16")).outcomes[0].artifact
    images = [prepared(_pixels(name)) for name in PHOTOGRAPHS]
    session = onnxruntime.InferenceSession(path)
    found = [outputs[0][0] for outputs in LocalDevice().execute(artifact, [[image] for image in images])]
    wanted = [session.run(None, {"input": image})[0][0] for image in images]
    assert [int(a.argmax()) for a in found] == [int(b.argmax()) for b in wanted]
    assert max(float(np.abs(a - b).max() / np.ptp(b)) for a, b in zip(found, wanted, strict=True)) < 2e-2


def _path(subject: Subject) -> str | Path:
    try:
        return subject.path()
    except trained.NotObtainableError as error:
        pytest.skip(str(error))
