"""edgevision with its tuning logs and without: what each is compiled with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.peers.case import Case
from benchmarks.peers.runtimes import RUNTIMES


@pytest.mark.parametrize(("name", "logs"), [("edgevision", True), ("edgevision-untuned", False)])
def test_the_untuned_one_is_compiled_without_any_log(
    name: str, logs: bool, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def compile_model(source: Path, targets: list[str], options: Any) -> Any:
        asked.append(options)
        (options.output / "network.so").write_bytes(b"an artifact")
        return SimpleNamespace(outcomes=[SimpleNamespace(artifact=SimpleNamespace(path=options.output / "network.so"))])

    monkeypatch.setattr("edgevision.pipeline.compile_model", compile_model)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2})
    RUNTIMES[name].convert(case, tmp_path)
    (options,) = asked
    assert (options.shipped_logs, tuple(options.tuning_logs), options.tune, options.threads) == (logs, (), 0, 3)
    assert (tmp_path / "network.so").read_bytes() == b"an artifact"
