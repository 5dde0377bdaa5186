"""Fixtures for a network's own tests, loaded by pytest wherever edgevision is installed.

    def test_it_is_fast_enough(edgevision_artifact, assert_latency):
        assert_latency(edgevision_artifact("model.onnx"), baseline="base.json", allow=0.03, budget_ms=12)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgevision.artifact import Artifact
    from edgevision.verdict import Gated


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("edgevision")
    group.addoption("--edgevision-device", default="local", metavar="NAME", help="Where assert_latency measures.")
    group.addoption("--edgevision-devices", metavar="FILE", help="The devices' file, in place of devices.toml.")
    group.addoption("--edgevision-target", default="native", metavar="NAME", help="What edgevision_artifact compiles for.")
    group.addoption("--edgevision-inconclusive", choices=("fail", "skip"), default="fail",
                    help="What becomes of a test whose latency cannot be known on this device at this time.")  # fmt: skip


@pytest.fixture(scope="session")
def edgevision_artifact(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Artifact]:
    """Compiles a model (a file, a torch module, zoo:NAME), verifies it and gives the artifact: once a session for each model and
    target. Other arguments are `edgevision.pipeline.Options`' fields."""
    known: dict[tuple[str, ...], Artifact] = {}

    def compiled(model: Any, target: str = "", **options: Any) -> Artifact:
        from edgevision.pipeline import Options, compile_model

        name = target or request.config.getoption("--edgevision-target")
        key = (str(model) if isinstance(model, str | Path) else str(id(model)), name, repr(sorted(options.items())))
        if key not in known:
            chosen = Options(output=tmp_path_factory.mktemp("edgevision"), measure=False, **options)
            known[key] = compile_model(model, (name,), chosen).outcomes[0].artifact
        return known[key]

    return compiled


@pytest.fixture
def assert_latency(request: pytest.FixtureRequest) -> Callable[..., Gated]:
    """Fails the test when an artifact (or its .so, or a model) is slower than ``baseline`` (base.json, a .so, an artifact) by
    more than ``allow``, or than ``budget_ms``. Other arguments are fields of `edgevision.checking.Ask` and of its ``terms``."""

    def checked(
        candidate: Any, baseline: Any = None, *, allow: float = 0.03, budget_ms: float | None = None, **ask: Any
    ) -> Gated:
        from edgevision import checking
        from edgevision.report.gate import Terms

        file = request.config.getoption("--edgevision-devices")
        limit_s = ask.pop("limit_s", Terms().limit_s)
        given: dict[str, Any] = {
            "device": request.config.getoption("--edgevision-device"), "devices": Path(file) if file else None, **ask
        }
        terms = Terms(allow=allow, budget_ms=budget_ms, limit_s=limit_s)
        asked = checking.Ask(baseline=None if baseline is None else Path(_library(baseline)), terms=terms, **given)
        gated = checking.check(_library(candidate), asked)
        _settle(gated, request.config.getoption("--edgevision-inconclusive"))
        return gated

    return checked


def _library(given: Any) -> Any:
    """The path of an artifact's .so; anything else as it is."""
    from edgevision.artifact import Artifact

    return given.path if isinstance(given, Artifact) else given


def _settle(gated: Gated, inconclusive: str) -> None:
    said = f"{gated.name}: {gated.verdict.decision}: {gated.verdict.reason}"
    if gated.verdict.decision == "INCONCLUSIVE" and inconclusive == "skip":
        pytest.skip(said)
    if gated.verdict.decision != "PASS":
        pytest.fail(said, pytrace=False)
