"""The peers' environment, with a pip that is not one: what is asked for, what fails, what is kept."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.peers.case import Runtime
from benchmarks.peers.environment import Environment, pinned_versions
from benchmarks.peers.runtimes import RUNTIMES

PIP = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
*ncnn*) echo "WARNING: something" >&2; echo "ERROR: No matching distribution found for ncnn" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = Environment(tmp_path / "venv")
    made.python.parent.mkdir(parents=True)
    made.python.write_text(PIP.format(log=tmp_path / "asked"))
    made.python.chmod(0o755)
    return made


def asked(environment: Environment) -> list[str]:
    log = environment.folder.parent / "asked"
    return log.read_text().splitlines() if log.exists() else []


def test_exact_versions_are_asked_for_once(environment: Environment) -> None:
    environment.install([RUNTIMES["openvino"]], lambda what: None)
    environment.install([RUNTIMES["openvino"]], lambda what: None)
    (line,) = asked(environment)
    assert re.search(r"-c \S+constraints\.txt openvino==\d+\.\d+\.\d+$", line)


def test_one_that_cannot_be_installed_costs_no_other(environment: Environment) -> None:
    environment.install([RUNTIMES["ncnn"], RUNTIMES["mnn"]], lambda what: None)
    assert environment.refusals == {"ncnn": "not installed: ERROR: No matching distribution found for ncnn"}
    assert len(asked(environment)) == 2


def test_a_failure_is_tried_again(environment: Environment) -> None:
    for _ in range(2):
        environment.install([RUNTIMES["ncnn"]], lambda what: None)
    assert len(asked(environment)) == 2


def test_another_pin_is_installed_anew(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.install([RUNTIMES["mnn"]], lambda what: None)
    monkeypatch.setattr("benchmarks.peers.environment.pinned_versions", lambda: {"mnn": "99.0"})
    environment.install([RUNTIMES["mnn"]], lambda what: None)
    assert asked(environment)[-1].endswith("mnn==99.0")


def test_every_package_is_pinned() -> None:
    assert {package for runtime in RUNTIMES.values() for package in runtime.packages} <= set(pinned_versions())


def test_ours_need_nothing_installed() -> None:
    assert [name for name, runtime in RUNTIMES.items() if runtime.ours] == ["edgevision", "edgevision-untuned"]


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=RUNTIMES)
def test_a_process_finds_the_runtime_where_it_says(runtime: Runtime) -> None:
    module, _, name = runtime.source.partition(":")
    assert getattr(import_module(module), name) is runtime
