"""One check in every form: what a JUnit parser, a Markdown reader and a browser make of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest

from edgevision.artifact import Artifact
from edgevision.errors import InputError
from edgevision.model import Model
from edgevision.outcome import Outcome
from edgevision.report import baseline, manifest
from edgevision.report.check import check_report, milliseconds_of
from edgevision.report.gate import Gate, Terms, at_most
from edgevision.report.html import html
from edgevision.report.json import SCHEMA, dumps
from edgevision.report.junit import junit
from edgevision.report.markdown import markdown
from edgevision.report.page import entry, histories, moved
from edgevision.verdict import Gated, Verdict
from tests.report.bouts import blocks, bout

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = '<script>alert("x")</script> | `rm` ]]> \x01'
schema = json.loads(SCHEMA.read_text())


def gated(artifact: Artifact, ratio: float, **more: Any) -> Gated:
    found = blocks(ratio, 40, noise=0.01)
    gate = Gate(terms=Terms(budget_ms=5.0))
    gate.look(found, 60.0)
    checks = (*gate.checks, at_most("resident memory", None, 1e6, "bytes", "the device does not say"))
    given: dict[str, Any] = {"bout": bout(found), "baseline": artifact, **more}
    return Gated(name="tiny", verdict=Verdict(checks=checks), allow=0.03, risk=0.01, candidate=artifact, **given)


@pytest.fixture
def finished(model: Model, artifact: Artifact, outcomes: tuple[Outcome, ...]) -> Artifact:
    manifest.write(model, outcomes[0].target, artifact, outcomes[0].verification)
    return artifact


@pytest.fixture
def failed(finished: Artifact) -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(dumps(check_report(gated(finished, 1.1))))
    return document


@pytest.fixture
def passed(finished: Artifact) -> Mapping[str, Any]:
    earlier = gated(finished, 1.0)
    assert earlier.bout is not None
    before = replace(earlier, bout=replace(earlier.bout, began="2026-01-01T00:00:00+00:00"))
    document: Mapping[str, Any] = json.loads(dumps(check_report(before)))
    return document


def test_the_document_fits_the_schema_and_keeps_every_sample(failed: Mapping[str, Any], finished: Artifact) -> None:
    jsonschema.Draft202012Validator(schema).validate(failed)
    assert (failed["decision"], failed["exit_code"]) == ("FAIL", 1)
    assert [check["decision"] for check in failed["checks"]] == ["FAIL", "PASS", "INCONCLUSIVE"]
    again = gated(finished, 1.1).bout
    assert again is not None and milliseconds_of(failed, "B") == again.milliseconds("B")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**failed, "decision": "MAYBE"})


def test_a_junit_parser_accepts_it(failed: Mapping[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text(junit([failed]), encoding="utf-8")
    [suite] = junitparser.JUnitXml.fromfile(str(path))
    assert (suite.tests, suite.failures, suite.errors) == (3, 1, 1)
    results = {case.name: [type(each).__name__ for each in case.result] for case in suite}
    assert results == {"latency against the baseline": ["Failure"], "latency": [], "resident memory": ["Error"]}
    [failure] = next(case for case in suite if case.name == "latency against the baseline").result
    assert "+10.0 %" in failure.message or "+9." in failure.message


def test_names_of_models_break_no_form(failed: Mapping[str, Any], tmp_path: Path) -> None:
    hostile = {**failed, "name": HOSTILE}
    path = tmp_path / "junit.xml"
    path.write_text(junit([hostile]), encoding="utf-8")
    [suite] = junitparser.JUnitXml.fromfile(str(path))
    assert suite.name == HOSTILE.replace("\x01", "?")
    assert "<script>" not in html([hostile]) and "&lt;script&gt;" in html([hostile])
    assert markdown([hostile]).splitlines()[0].startswith('### FAIL: \\<script\\>alert("x")')


def test_markdown_for_a_pull_request(failed: Mapping[str, Any]) -> None:
    lines = markdown([failed]).splitlines()
    assert lines[0] == "### FAIL: tiny" and lines[2].startswith("latency +")
    widths = [line.count("|") for line in lines if line.startswith("|") and "---" not in line]
    assert set(widths) <= {4, 5, 6}
    assert sum(line.startswith("<details>") for line in lines) == sum(line == "</details>" for line in lines) == 3


class Page(HTMLParser):
    """Everything in a page that could ask the network for something, and its elements."""

    VOID = {"meta", "link", "br"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asks: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.asks += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_all_it_shows(failed: Mapping[str, Any], passed: Mapping[str, Any]) -> None:
    text, page = html([passed, failed]), Page()
    page.feed(text)
    assert page.open == [] and page.asks == ["data:,"]
    assert "script" not in page.seen and "url(" not in text and "@import" not in text
    assert page.seen.count("svg") == 5  # distribution and operators of both, and the history
    assert "FAIL: tiny" in text and "over time" in text
    assert html([passed]).count("<svg") == 2


def test_histories_are_one_network_on_one_device_in_order(failed: Mapping[str, Any], passed: Mapping[str, Any]) -> None:
    other = {**failed, "name": "other"}
    groups = histories([entry(each) for each in (failed, other, passed)])
    assert [[(each.name, each.decision) for each in group] for group in groups] == [
        [("tiny", "INCONCLUSIVE"), ("tiny", "FAIL")], [("other", "FAIL")],
    ]  # fmt: skip


def test_operators_are_compared_by_what_they_compute(failed: Mapping[str, Any]) -> None:
    document = json.loads(json.dumps(failed))
    steps, times = document["candidate"]["steps"], document["bout"]["profiles"]["candidate"]["steps"]
    steps.insert(0, {"name": "conv_relu", "ops": ["Conv", "Relu"], "macs": 7, "schedule": "fallback"})
    times.insert(0, {"name": "conv_relu", "us": 50.0})
    steps[1]["name"] = times[1]["name"] = "conv_relu1"
    times[1]["us"] = 770.0
    found = entry(document).operators
    assert [(each.name, each.before, each.after) for each in found] == [
        ("conv_relu", None, 50.0), ("conv_relu1", 700.0, 770.0), ("resize", 300.0, 300.0),
    ]  # fmt: skip
    assert [(each.name, share) for each, share in moved(found, 2)] == [("conv_relu1", "+10.0 %"), ("conv_relu", "new")]


def test_other_documents_are_refused() -> None:
    with pytest.raises(InputError, match="kind 'compile'"):
        entry({"kind": "compile"})


# --- base.json --------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(finished: Artifact, tmp_path: Path) -> Path:
    path = tmp_path / "base.json"
    baseline.save(path, finished, bout(blocks(1.0, 3)), ())
    return path


def test_a_baseline_is_the_artifact_that_was_saved(saved: Path, finished: Artifact, tmp_path: Path) -> None:
    jsonschema.Draft202012Validator(schema).validate(json.loads(saved.read_text()))
    assert json.loads(saved.read_text())["artifact"]["library"] == "tiny.so"
    found = baseline.read(saved).artifact
    assert found is not None and (found.path, found.model_sha256) == (finished.path, finished.model_sha256)
    moved_to = tmp_path / "elsewhere"
    moved_to.mkdir()
    for path in [*tmp_path.glob("tiny*"), saved, tmp_path / "edgevision.h"]:
        shutil.copy(path, moved_to)
    moved_artifact = baseline.read(moved_to / "base.json").artifact
    assert moved_artifact is not None and moved_artifact.path.parent == moved_to


SPOILED = {
    "library changed": (lambda a: a.path.write_bytes(b"other"), "tiny.so is not what it was"),
    "bench changed": (lambda a: a.bench.write_bytes(b"other"), "tiny-bench is not what it was"),
    "library gone": (lambda a: a.path.unlink(), "tiny.so is missing"),
    "bench gone": (lambda a: a.bench.unlink(), "tiny-bench, which belongs to its artifact, is missing"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED)
def test_a_baseline_that_is_not_what_it_was_is_refused(saved: Path, finished: Artifact, spoil: Any, message: str) -> None:
    spoil(finished)
    with pytest.raises(baseline.BaselineError, match=message):
        baseline.read(saved)


NO_BASELINE = {
    "absent": (None, "no such file"),
    "broken": ("{", "no JSON"),
    "another document": ('{"kind": "check"}', "not a baseline"),
}


@pytest.mark.parametrize(("content", "message"), NO_BASELINE.values(), ids=NO_BASELINE)
def test_files_that_are_no_baseline(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "base.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(baseline.BaselineError, match=message):
        baseline.read(path)


# --- a browser --------------------------------------------------------------------------------------------------------


browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the HTML report in (apt-get install chromium)")


@browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_opens_it_without_an_error_or_a_request(
    failed: Mapping[str, Any], passed: Mapping[str, Any], tmp_path: Path, width: int
) -> None:
    page = tmp_path / "report.html"
    page.write_text(html([passed, failed]), encoding="utf-8")
    assert _opened(page, width, tmp_path) == ([], [])
    assert _overflow(page, width, tmp_path) <= 0


@browser
def test_the_browser_would_tell(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    bad = "<img src='http://127.0.0.1:9/x.png'><script>console.error('wrong')</script>"
    page.write_text(f"<body>{bad}<pre>{'x' * 300}</pre></body>")
    errors, asked = _opened(page, 390, tmp_path)
    assert len(errors) >= 1 and "wrong" in errors[0] and asked == ["http://127.0.0.1:9/x.png"]
    assert _overflow(page, 390, tmp_path) > 0


def _opened(page: Path, width: int, folder: Path) -> tuple[list[str], list[str]]:
    """What the console says of the page, and what it asks others for."""
    picture, log = folder / "page.png", folder / "net.json"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={width},1600"]
    options += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", f"--screenshot={picture}"]
    done = subprocess.run([str(CHROMIUM), *options, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and picture.stat().st_size > 3000, done.stderr
    urls = sorted(set(re.findall(r'"url":"(https?:[^"]*)"', log.read_text(errors="replace"))))
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line], [url for url in urls if not _browsers_own(url)]


def _browsers_own(url: str) -> bool:
    """What Chromium asks its maker by itself, with any page."""
    return re.match(r"https?://([\w-]+\.)*(google|googleapis|gvt1|gstatic)\.com[/:]", url) is not None


def _overflow(page: Path, width: int, folder: Path) -> int:
    """By how many pixels the page is wider than its window, by a script that the test adds."""
    probe = folder / "probe.html"
    script = "<script>document.title = 'over:' + (document.documentElement.scrollWidth - window.innerWidth)</script>"
    probe.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={width},1600", "--dump-dom", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>over:(-?\d+)</title>", done.stdout)
    assert found, done.stderr
    return int(found[1])
