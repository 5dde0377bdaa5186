"""The fixtures that a project's own tests use, in a run of pytest of its own."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from edgevision import checking, pipeline
from edgevision.artifact import Artifact
from edgevision.pipeline import Options
from tests.pages import save_model
from tests.report.bouts import Ring

SHAPE = {"image": (1, 3, 32, 32)}
TESTS = """
def test_against_a_baseline(assert_latency):
    gated = assert_latency(LIBRARY, baseline=LIBRARY, allow=0.05, budget_ms=2.0, limit_s=30)
    assert gated.verdict.decision == "PASS"

def test_a_budget(assert_latency):
    assert_latency(LIBRARY, budget_ms=2.0)
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("baseline")
    save_model(folder / "model.onnx")
    options = Options(output=folder / "out", input_shapes=SHAPE, measure=False)
    return pipeline.compile_model(str(folder / "model.onnx"), ("native",), options).outcomes[0].artifact


@pytest.fixture
def project(pytester: pytest.Pytester, artifact: Artifact) -> pytest.Pytester:
    pytester.makepyfile(f"LIBRARY = {str(artifact.path)!r}\n{TESTS}")
    return pytester


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Ring:
    made = Ring()
    monkeypatch.setattr(checking, "alternate", made)
    return made


def run(project: pytest.Pytester, *options: str) -> pytest.HookRecorder:
    return project.inline_run(*options, "-p", "no:cacheprovider")


ANSWERS = {
    "unchanged": (1.0, (), {"passed": 2}),
    "slower": (1.1, (), {"passed": 1, "failed": 1}),
    "at the limit": (1.05, (), {"passed": 1, "failed": 1}),
    "at the limit, and that may be": (1.05, ("--edgevision-inconclusive=skip",), {"passed": 1, "skipped": 1}),
    "slower, and only the unknown may be": (1.1, ("--edgevision-inconclusive=skip",), {"passed": 1, "failed": 1}),
}


@pytest.mark.parametrize(("ratio", "options", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_each_answer(
    project: pytest.Pytester, ring: Ring, ratio: float, options: tuple[str, ...], expected: dict[str, int]
) -> None:
    ring.ratio = ratio
    result = run(project, *options)
    passed, skipped, failed = (len(each) for each in result.listoutcomes())
    assert {"passed": passed, "skipped": skipped, "failed": failed} == {"passed": 0, "skipped": 0, "failed": 0, **expected}
    if failed:
        [report] = result.getfailures()
        assert f"model: {'FAIL: latency' if ratio > 1.05 else 'INCONCLUSIVE: it lies at the limit'}" in str(report.longrepr)


def test_a_budget(project: pytest.Pytester, ring: Ring) -> None:
    ring.ms = 3.0
    result = run(project)
    assert [len(each) for each in result.listoutcomes()] == [0, 0, 2]


def test_a_network_is_compiled_once(
    pytester: pytest.Pytester, ring: Ring, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compile_model(model: Any, targets: Sequence[str], options: Options) -> Any:
        asked.append((model, targets, options.measure, options.input_shapes))
        return SimpleNamespace(outcomes=[SimpleNamespace(artifact=artifact)])

    monkeypatch.setattr(pipeline, "compile_model", compile_model)
    pytester.makepyfile("""
        SHAPE = {"image": (1, 3, 32, 32)}

        def test_each(edgevision_artifact, assert_latency):
            baseline = edgevision_artifact("model.onnx", input_shapes=SHAPE)
            assert edgevision_artifact("model.onnx", input_shapes=SHAPE) is baseline
            assert_latency(edgevision_artifact("model.onnx", target="native", input_shapes=SHAPE), baseline)
    """)
    run(pytester, "--edgevision-target=x86_64").assertoutcome(passed=1)
    assert asked == [("model.onnx", (target,), False, SHAPE) for target in ("x86_64", "native")]


def test_the_device(project: pytest.Pytester, ring: Ring) -> None:
    (project.path / "farm.toml").write_text('[devices.board]\ntransport = "local"\n')
    options = ("--edgevision-device=board", f"--edgevision-devices={project.path / 'farm.toml'}")
    run(project, *options).assertoutcome(passed=2)
    assert [name for name, *_ in ring.asked] == ["board", "board"]


def test_a_device_that_is_not_there(project: pytest.Pytester) -> None:
    result = run(project, "--edgevision-device=nowhere")
    assert [len(each) for each in result.listoutcomes()] == [0, 0, 2]
    assert all("nowhere" in str(report.longrepr) for report in result.getfailures())
