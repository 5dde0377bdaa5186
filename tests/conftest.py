"""Tests that this machine cannot run are skipped with the reason, and the end of the run counts them by reason."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from edgevision import target as targets
from edgevision.measure.emulator import why_absent, why_no_runner

DESELECTED = pytest.StashKey[int]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked ``qemu("arm64", "armv7")`` where one of these targets cannot be emulated; bare: arm64; one marked
    ``modelled`` where ARM code cannot be counted and priced."""
    for marker in item.iter_markers("qemu"):
        for name in marker.args or ("arm64",):
            target = targets.load(name)
            reason = target.emulator and (why_absent(target) or why_no_runner(target))
            if reason:
                pytest.skip(reason)
    if item.get_closest_marker("modelled"):
        absent = [tool for tool in ("qemu-aarch64", "llvm-mc-19", "llvm-mca-19") if shutil.which(tool) is None]
        if absent:
            pytest.skip(f"{' and '.join(absent)} not installed (apt-get install qemu-user llvm-19)")


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    config = items[0].config
    config.stash[DESELECTED] = config.stash.get(DESELECTED, 0) + len(items)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells its controller how many tests it left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["deselected"] = session.config.stash.get(DESELECTED, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Every worker collects all tests, so each left out the same ones."""
    config, told = node.config, getattr(node, "workeroutput", {})  # type: ignore[attr-defined]
    config.stash[DESELECTED] = max(config.stash.get(DESELECTED, 0), told.get("deselected", 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = list(not_run(terminalreporter.stats.get("skipped", ()), terminalreporter.config))
    if lines:
        terminalreporter.section("not run")
    for line in lines:
        terminalreporter.write_line(line)
    lines = list(refused(terminalreporter.stats.get("passed", ())))
    if lines:
        terminalreporter.section("refused, as listed in tests/conformance/unsupported.py")
    for line in lines:
        terminalreporter.write_line(line)


def refused(passed: Sequence[pytest.TestReport]) -> Iterator[str]:
    """One line a reason: how many of other people's tests are rightly refused (their property "refused")."""
    theirs = [dict(report.user_properties) for report in passed if "tests/conformance/" in report.nodeid]
    reasons = Counter(properties["refused"] for properties in theirs if "refused" in properties)
    if reasons:
        yield f"{_tests(len(theirs) - reasons.total())} compiled and correct"
    for reason, count in reasons.most_common():
        yield f"{_tests(count)}: {reason}"


def not_run(skipped: Sequence[pytest.TestReport], config: pytest.Config) -> Iterator[str]:
    """One line a reason: how many tests did not run, and what they need."""
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)  # type: ignore[index]
    for reason, count in reasons.most_common():
        yield f"NOT RUN: {_tests(count)}: {reason}"
    deselected = config.stash.get(DESELECTED, 0)
    if deselected:
        options = (config.getoption(name) for name in ("markexpr", "keyword"))
        chosen = " and ".join(option for option in options if option) or "--deselect"
        large = " (`make test-all` runs them)" if chosen == "not large" else ""
        yield f"NOT RUN: {_tests(deselected)}: left out by {chosen!r}{large}"


def _tests(count: int) -> str:
    return "1 test" if count == 1 else f"{count} tests"
