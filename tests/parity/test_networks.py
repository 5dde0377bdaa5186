"""Every network compiles for this machine and for arm64, and agrees with onnxruntime to 1e-4."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgevision.pipeline import Options, compile_model
from tests.graphs.trained import NotObtainableError
from tests.parity.subjects import LARGE, SMALL, Subject

CASES = [
    *(pytest.param(s, id=s.name) for s in SMALL),
    *(pytest.param(s, id=s.name, marks=pytest.mark.large) for s in LARGE),
]


@pytest.mark.qemu
@pytest.mark.trained
@pytest.mark.parametrize("subject", CASES)
def test_it_compiles_and_verifies(subject: Subject, tmp_path: Path) -> None:
    try:
        source = subject.path()
    except NotObtainableError as error:
        pytest.skip(str(error))
    options = Options(output=tmp_path, input_shapes=subject.input_shapes, measure=False)
    outcomes = compile_model(source, ["native", "arm64"], options).outcomes
    assert [o.verification.how for o in outcomes] == ["native", "qemu"]
    for outcome in outcomes:
        assert outcome.verification.passed
        assert outcome.verification.max_error < 1e-4
        layouts = [s.ops for s in outcome.artifact.steps[1:-1] if "transpose" in s.ops]
        assert not layouts or not subject.name.startswith(("ghost", "mobile", "repvgg", "parnet")), layouts
