"""From results to tables: who counts as a peer, and that nobody is left out silently."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import pytest
from rich.console import Console

from benchmarks.peers.contest import Result
from benchmarks.peers.findings import FLOAT32_ERROR, Findings, row
from benchmarks.peers.ratios import Burst
from benchmarks.peers.roofline import Roofline
from benchmarks.peers.table import show

RUNTIMES = ("edgevision", "onnxruntime", "openvino", "ncnn", "mnn")
ERRORS = {"edgevision": 1e-6, "onnxruntime": 0.0, "openvino": 1e-2, "ncnn": 1e-5}


def bursts(milliseconds: float, waiting: float = 0.0) -> list[Burst]:
    return [Burst(seconds=(milliseconds / 1e3,), ran_s=1 - waiting, waited_s=waiting)] * 20


def result(**noise: float) -> Result:
    """Edgevision 4 ms, onnxruntime 5, ncnn 8; openvino 1 but in less than float32; mnn failed."""
    speeds = {"edgevision": 4, "onnxruntime": 5, "openvino": 1, "ncnn": 8}
    found = {name: bursts(speed, noise.get(name, 0.0)) for name, speed in speeds.items()}
    return Result(bursts=found, errors=ERRORS, failures={"mnn": "no session"})


def printed(findings: Findings, runtimes: Sequence[str] = RUNTIMES) -> str:
    stream = io.StringIO()
    show(findings, runtimes, Console(file=stream, width=240, markup=False))
    return stream.getvalue()


def findings(found: Result | None = None) -> Findings:
    all_of_it = Findings(machine="a machine", load=(0.5, 1.5))
    all_of_it.rooflines[1] = Roofline(cores=1, multiply_add_gflops=200.4, gemm_gflops=None, triad_gbytes=12.34)
    all_of_it.rows.append(row("net", 300, 1, found or result(), {}))
    return all_of_it


def test_the_best_peer_computes_in_float32() -> None:
    found = row("net", 300, 1, result(), {})
    assert (found.ratios["edgevision"].best, found.ratios["edgevision"].value) == ("onnxruntime", 0.8)


def test_the_error_limit_lets_its_own_value_pass() -> None:
    at_limit = Result(bursts=result().bursts, errors={**ERRORS, "openvino": FLOAT32_ERROR}, failures={})
    found = row("net", 300, 1, at_limit, {})
    assert found.ratios["edgevision"].best == "openvino"


def test_what_is_compiled_without_a_log_has_its_own_ratio_and_is_no_peer() -> None:
    """It would be the fastest of the others."""
    both = Result(
        bursts=result().bursts | {"edgevision-untuned": bursts(4.5)}, errors=ERRORS | {"edgevision-untuned": 0.0}, failures={}
    )  # fmt: skip
    found = row("net", 300, 1, both, {})
    assert {name: (ratio.best, ratio.value) for name, ratio in found.ratios.items()} == {
        "edgevision": ("onnxruntime", pytest.approx(0.8)), "edgevision-untuned": ("onnxruntime", pytest.approx(0.9)),
    }  # fmt: skip
    text = printed(findings(both), ("edgevision-untuned", *RUNTIMES))
    assert "edgevision: geometric mean of 1 ratios 0.80, worst 0.80, highest bound 0.80" in text
    assert "edgevision-untuned: geometric mean of 1 ratios 0.90, worst 0.90" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| net ") and "onnxruntime" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[-5:] == ["onnxruntime", "0.90", "0.90 .. 0.90", "0.80", "0.80 .. 0.80"]


@pytest.mark.parametrize("gone", [{"edgevision"}, {"onnxruntime", "ncnn"}], ids=["ours", "all float32 peers"])
def test_without_one_side_there_is_no_ratio(gone: set[str]) -> None:
    rest = {name: its for name, its in result().bursts.items() if name not in gone}
    found = row("net", 300, 1, Result(bursts=rest, errors=ERRORS, failures={}), {})
    assert found.ratios == {}
    assert "no ratios" in printed(findings(Result(bursts=rest, errors=ERRORS, failures={})))


def test_who_ran_in_no_round_is_in_no_ratio() -> None:
    nothing = {**result().bursts, "onnxruntime": []}
    found = row("net", 300, 1, Result(bursts=nothing, errors=ERRORS, failures={}), {})
    assert found.ratios["edgevision"].best == "ncnn"


def test_a_failure_is_in_the_table_with_its_reason() -> None:
    text = printed(findings())
    assert "[1] mnn: no session" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| net ") and "0.80" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "net", "300", "4.00", "5.00", "1.00!", "8.00", "[1]", "onnxruntime", "0.80", "0.80 .. 0.80",
    ]  # fmt: skip


def test_what_was_refused_before_is_in_the_table_too() -> None:
    found = findings()
    found.rows.append(row("other", 1, 1, Result(bursts={}, errors={}, failures={}), {"ncnn": "not converted: why"}))
    assert "ncnn: not converted: why" in printed(found)


@pytest.mark.parametrize(
    ("who", "marked"), [("edgevision", True), ("onnxruntime", True), ("ncnn", False)], ids=["ours", "best", "another"]
)
def test_noise_of_the_two_that_are_compared_marks_the_ratio(who: str, marked: bool) -> None:
    assert row("net", 300, 1, result(**{who: 0.2}), {}).noisy("edgevision") == marked
    assert ("0.80~" in printed(findings(result(**{who: 0.2})))) == marked


def test_the_mean_is_of_the_rows_with_that_many_threads() -> None:
    found = findings()
    found.rows.append(row("net", 300, 2, result(), {}))
    found.rows.append(row("net", 300, 2, Result(bursts={}, errors={}, failures={}), {}))
    assert found.mean_ratio(2, "edgevision") == pytest.approx(0.8)
    assert found.mean_ratio(3, "edgevision") is None


def test_the_conditions_are_printed() -> None:
    text = printed(findings())
    assert "load average 0.5 before, 1.5 after" in text
    for figure in ("200", "12.3", "no torch", "measured"):
        assert figure in text


def test_json_has_every_figure_and_says_how() -> None:
    read = json.loads(json.dumps(findings().json()))
    assert read["label"] == "measured"
    assert read["rows"][0]["times"]["ncnn"]["median_ms"] == 8
    assert read["rows"][0]["failures"] == {"mnn": "no session"}
