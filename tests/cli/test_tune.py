"""`edgevision tune`, `edgevision logs` and `edgevision compile --tuning-logs`: one network through all of them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from edgevision import target as targets
from edgevision import tuning_log
from edgevision.report.json import SCHEMA
from edgevision.tune import network
from edgevision.tune.benches import CannotTuneError, check
from edgevision.tune.options import Options
from edgevision.tune.state import Budget
from edgevision.tuning_log import FILE, PROVENANCE, folder_name
from tests.cli.conftest import Command
from tests.pages import save_model


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def fits(document: dict[str, Any]) -> dict[str, Any]:
    """``document``, which must be one that the schema describes."""
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    return document


def schedules(command: Command, *options: str) -> tuple[dict[str, int], bytes]:
    out, _ = command("compile", "model.onnx", "-q", "--json", "--no-verify", "--no-measure", *options)
    (target,) = json.loads(out)["targets"]
    return target["schedules"], Path(target["library"]).read_bytes()


def test_from_tuning_to_a_tuned_artifact(command: Command, tmp_path: Path) -> None:
    save_model(tmp_path / "model.onnx")
    out, _ = command("tune", "model.onnx", "--trials", 5, "--json", "--quiet", "--jobs", 1)
    report = fits(json.loads(out))
    assert report["kind"] == "tuning" and report["trials"] == 5
    assert sum(report["outcomes"].values()) == 5 and report["outcomes"]["right"] == 5
    assert report["best_ms"] <= report["default_ms"]
    workloads = len(report["workloads"])
    log = tmp_path / "tuning_logs" / folder_name(targets.load("native"))
    assert {entry.name for entry in log.iterdir()} == {FILE, PROVENANCE}
    (run,) = tomllib.loads((log / PROVENANCE).read_text())["run"]
    assert run["model"] == "model" and run["budget"] == {"trials": 5} and run["threads"] == 1

    shown = fits(json.loads(command("logs", "show", "--json")[0]))
    (entry,) = shown["logs"]
    assert len(entry["workloads"]) == workloads and entry["damaged"] == []
    assert "conv2d" in command("logs", "show")[0]
    assert "records" in command("logs", "verify")[0]

    tuned, first = schedules(command, "--tuning-logs", "tuning_logs", "-o", "b")
    assert set(tuned) == {"tuned"} and tuned["tuned"] >= workloads
    command("logs", "merge", "tuning_logs", "--tuning-logs", "other")
    command("logs", "prune", "--keep", 1, "--tuning-logs", "other")
    again, second = schedules(command, "--tuning-logs", "other", "-o", "c")
    assert again == tuned and second == first, "the same choices give the same bytes"
    merged = tmp_path / "other" / log.name / PROVENANCE
    assert tomllib.loads(merged.read_text())["run"] == [run]

    record = tuning_log.read(log / FILE).records[-1]
    tuning_log.append(log / FILE, [replace(record, seed=record.seed + 1)])
    with (log / PROVENANCE).open("a") as file:
        file.write('[[run]]\nmodel = "of another day"\n')
    command("logs", "merge", "tuning_logs", "--tuning-logs", "other")
    assert [each["model"] for each in tomllib.loads(merged.read_text())["run"]] == ["model", "of another day"]

    with (log / FILE).open("a") as file:
        file.write("00000000 {}\n")
    out, err = command("logs", "verify", status=1)
    assert "damaged" in out and "problems" in err


def test_what_another_machine_measured_is_measured_here(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path / "model.onnx")
    search = ("tune", "model.onnx", "--trials", 1, "--json", "--quiet", "--jobs", 1)
    command(*search, "--tuning-logs", "far")
    log = tmp_path / "far" / folder_name(targets.load("native")) / FILE
    tuning_log.replace(log, [replace(record, us=record.us and 1e9) for record in tuning_log.read(log).records])
    monkeypatch.setattr(network, "shipped", lambda: tmp_path / "far")
    assert 0 < json.loads(command(*search)[0])["default_ms"] < 1e3


def test_logs_of_nothing(command: Command, tmp_path: Path) -> None:
    assert "no such folder" in command("logs", "show", "--tuning-logs", "absent", status=2)[1]
    (tmp_path / "empty").mkdir()
    assert "edgevision tune" in command("logs", "show", "--tuning-logs", "empty")[0]
    (tmp_path / "file").write_text("")
    save_model(tmp_path / "model.onnx")
    assert "is a file" in command("compile", "model.onnx", "-q", "--tuning-logs", "file", status=2)[1]


def test_a_target_that_is_only_emulated_cannot_be_tuned(command: Command) -> None:
    _, err = command("tune", "model.onnx", "--target", "armv7", status=4)
    assert "emulates" in err and "logs merge" in err
    options = Options(budget=Budget(trials=1))
    with pytest.raises(CannotTuneError):
        check(targets.load("armv7"), options)
    check(targets.load("native"), options)


def test_a_network_that_leaves_no_choice(command: Command, tmp_path: Path) -> None:
    image, scores = (make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 3, 3]) for name in ("image", "scores"))
    graph = make_graph([make_node("Sin", ["image"], ["scores"])], "sine", [image], [scores])
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8), tmp_path / "model.onnx")
    assert "leaves a choice" in command("tune", "model.onnx", "--trials", 1, status=2)[1]
    assert not (tmp_path / "tuning_logs").exists()


@pytest.mark.parametrize("words", [("--trials", 0), ("--minutes", 0), ("--minutes", -1), ("--threads", 0), ("--nice", -21)])
def test_impossible_budgets_are_refused(command: Command, words: tuple[object, ...]) -> None:
    command("tune", "model.onnx", *words, status=2)


@pytest.mark.large
def test_compile_can_tune_first(command: Command, tmp_path: Path) -> None:
    save_model(tmp_path / "model.onnx")
    tuned, _ = schedules(command, "--tune", "2", "--tuning-logs", "logs")
    assert set(tuned) == {"tuned"}
    assert (tmp_path / "logs" / folder_name(targets.load("native")) / FILE).is_file()
    untuned, _ = schedules(command, "--no-tuning-logs", "-o", "a")
    assert "tuned" not in untuned
