"""Whole networks on the OpenCL device: the zoo's, the trained and the largest ones agree with onnxruntime to 1e-4."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgevision.pipeline import Options, compile_model
from tests import graphs
from tests.graphs.trained import NotObtainableError
from tests.parity.subjects import LARGE, SMALL, Subject

QUICK = ("trained: blazeface-front",)
"""The others take half a minute of the driver's compiler each."""

CASES = [
    *(pytest.param(s, id=s.name, marks=() if s.name in QUICK else pytest.mark.large) for s in SMALL),
    *(
        pytest.param(s, id=s.name, marks=pytest.mark.large)
        for s in LARGE
        if not s.name.startswith("timm") or s.name.endswith(graphs.LARGE)
    ),
]


@pytest.mark.trained
@pytest.mark.parametrize("subject", CASES)
def test_it_runs_on_the_device(subject: Subject, tmp_path: Path, pocl: None) -> None:
    try:
        source = subject.path()
    except NotObtainableError as error:
        pytest.skip(str(error))
    options = Options(output=tmp_path, input_shapes=subject.input_shapes, measure=False)
    (outcome,) = compile_model(source, ["opencl"], options).outcomes
    assert outcome.verification.how == "native"
    assert outcome.verification.max_error < 1e-4
    assert not [step.name for step in outcome.artifact.steps if step.schedule.startswith("sequential")]
