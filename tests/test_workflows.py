"""The CI examples of docs/check.md, run as far as one machine can: an unchanged network passes, one with 15 % more work fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import junitparser
import pytest
import yaml

from edgevision.counting import count
from tests.pages import examples, run, save_model

PAGE = (Path(__file__).parent.parent / "docs" / "check.md").read_text(encoding="utf-8")
ELSEWHERE = ("pip install", "git worktree")
"""Commands that need what a test has not: a package index, the history of a repository."""


def workflow(file: str) -> Any:
    [text] = [each.text for each in examples(PAGE) if each.file == file]
    return yaml.safe_load(text)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The networks that the page compiles, and slower.onnx as the page makes it."""
    save_model(tmp_path / "model.onnx")
    [slower] = [each for each in examples(PAGE) if each.language == "python" and "slower.onnx" in each.text]
    run(slower, tmp_path)
    for name in ("base", "candidate"):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "model.onnx", tmp_path / name)
    return tmp_path


def called(command: str, folder: Path) -> int:
    if command.startswith(ELSEWHERE):
        return 0
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    return subprocess.run(["bash", "-euc", command], cwd=folder, env=environment, timeout=500, stdout=subprocess.DEVNULL).returncode


def test_the_slower_network_has_fifteen_per_cent_more_work(checkout: Path) -> None:
    import onnx

    macs = []
    for name in ("model.onnx", "slower.onnx"):
        model = onnx.load(checkout / name)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        macs.append(count(model).macs)
    assert macs[1] / macs[0] == pytest.approx(1.15, abs=0.005)


@pytest.mark.parametrize("file", ["github.yml", "gitlab.yml"])
def test_the_examples_are_whole(file: str) -> None:
    """Every option that they use is one of the command's, and every file that they keep is written."""
    text = next(each.text for each in examples(PAGE) if each.file == file)
    from edgevision.cli.check import check

    known = {option for parameter in check.params for option in parameter.opts}
    line = next(line for line in text.splitlines() if "edgevision check" in line)
    assert set(re.findall(r"--[\w-]+", line)) <= known
    assert workflow(file)


@pytest.mark.large
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("network", "status"), [("model.onnx", 0), ("slower.onnx", 1)])
def test_the_github_workflow(checkout: Path, network: str, status: int) -> None:
    shutil.copy(checkout / network, checkout / "candidate" / "model.onnx")
    ended: dict[str, int] = {}
    for step in workflow("github.yml")["jobs"]["latency"]["steps"]:
        if "run" in step and (step.get("if") == "always()" or not any(ended.values())):
            ended[step.get("name", step["run"])] = called(step["run"], checkout)
    assert ended["Compare"] == status and ended["Show"] == 0 and ended["Compile the baseline"] == 0
    assert (checkout / "summary.md").read_text().startswith("### PASS" if status == 0 else "### FAIL")
    [suite] = junitparser.JUnitXml.fromfile(str(checkout / "check.xml"))
    assert (suite.tests, suite.failures, suite.errors) == (1, status, 0)


@pytest.mark.large
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("network", "status"), [("model.onnx", 0), ("slower.onnx", 1)])
def test_the_gitlab_job(checkout: Path, network: str, status: int) -> None:
    (checkout / network).replace(checkout / "model.onnx")
    ended = 0
    for command in workflow("gitlab.yml")["latency"]["script"]:
        ended = ended or called(command, checkout)
    assert ended == status and (checkout / "check.html").is_file()
