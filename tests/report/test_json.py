"""Every document fits the schema, and the schema is one that can be broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from edgevision.latency import Latency, TensorError, Verification
from edgevision.model import Model
from edgevision.outcome import Outcome, coverage
from edgevision.report.json import SCHEMA, compile_report, dumps, latency, verification

schema = json.loads(SCHEMA.read_text())
validator = jsonschema.Draft202012Validator(schema)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {entry["$ref"].rpartition("/")[2] for entry in schema["oneOf"]} == {
        "compile", "manifest", "inspection", "evaluation", "benchmark", "pruning", "finetuning", "widths", "cost",
        "check", "baseline", "tuning", "tuning_logs", "devices", "probes", "benchmarks", "launch_plan",
    }  # fmt: skip


def fits(document: Mapping[str, Any]) -> None:
    one = {"$ref": f"#/$defs/{document['kind']}", "$defs": schema["$defs"]}
    jsonschema.Draft202012Validator(one).validate(document)
    validator.validate(document)


def test_a_compile_report_fits_the_schema(model: Model, outcomes: tuple[Outcome, ...]) -> None:
    report = json.loads(dumps(compile_report(model, outcomes)))
    fits(report)
    native, emulated, skipped = report["targets"]
    assert native["latency"]["median_ms"] == 5.15 and native["latency"]["min_ms"] == 5.0
    assert native["latency"]["median_interval_ms"] == [5.0, 9.9]
    assert native["verification"]["max_error"] == 2.35e-07 and native["verification"]["passed"] is True
    assert native["schedules"] == {"template": 2, "fallback": 1}
    assert emulated["latency"] is None and "emulated" in emulated["not_measured"]
    assert skipped["verification"]["passed"] is None and skipped["verification"]["max_error"] is None
    assert report["model"]["camera"]["mean"] == [1.0, 2.0, 3.0]
    assert report["model"]["changes"][0]["refusals"] == ["conv_7: the border is not zero"]


def dropped(report: Any, *path: str | int) -> Any:
    at = report
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return report


LEFT_OUT = (
    ("kind",),
    ("schema_version",),
    ("model", "sha256"),
    ("targets", 0, "latency"),
    ("targets", 0, "verification", "how"),
)


@pytest.mark.parametrize("path", LEFT_OUT)
def test_the_schema_misses_what_is_left_out(
    model: Model, outcomes: tuple[Outcome, ...], path: tuple[str | int, ...]
) -> None:
    report = json.loads(dumps(compile_report(model, outcomes)))
    assert not validator.is_valid(dropped(report, *path))


def test_the_schema_refuses_an_emulated_time(model: Model, outcomes: tuple[Outcome, ...]) -> None:
    report = json.loads(dumps(compile_report(model, outcomes)))
    report["targets"][0]["latency"]["how"] = "emulated"
    assert not validator.is_valid(report)


def test_an_infinite_error_is_null_with_its_reason(record: Verification) -> None:
    entry = verification(record)
    assert entry["max_error"] is None and entry["passed"] is False
    assert entry["outputs"] == [{"name": "y", "error": None, "allowed": 1e-4, "detail": "NaN in other places"}]
    dumps(entry)


@pytest.fixture
def record() -> Verification:
    spoiled = TensorError(name="y", error=float("inf"), allowed=1e-4, detail="NaN in other places")
    return Verification(how="native", inputs_tried=1, seed=0, errors=(spoiled,), reference="onnxruntime")


def test_nan_never_reaches_a_reader(latency_record: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({**latency_record, "median_ms": float("nan")})


@pytest.fixture
def latency_record(latency: Latency) -> Mapping[str, Any]:
    return {"median_ms": latency.median_ms}


def test_few_samples_have_no_interval(latency_of_two: Latency) -> None:
    assert latency(latency_of_two)["median_interval_ms"] is None


@pytest.fixture
def latency_of_two(request: pytest.FixtureRequest) -> Latency:
    whole: Latency = request.getfixturevalue("latency")
    return replace(whole, samples_ms=whole.samples_ms[:2])


def test_coverage_counts_kinds_of_schedules(outcomes: tuple[Outcome, ...]) -> None:
    assert list(coverage(outcomes[0].artifact.steps).items()) == [("template", 2), ("fallback", 1)]
    assert coverage(()) == {}
