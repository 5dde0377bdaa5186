"""What people read: the figures, how they were obtained, and where the time goes."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from edgevision.accuracy import Accuracy, Evaluation
from edgevision.latency import Latency
from edgevision.outcome import Outcome
from edgevision.report.accuracy import evaluation_view
from edgevision.report.benchmark import benchmark_view
from edgevision.report.table import compile_table, profile_table, size, thousands


def text(view: RenderableType, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined]


def row(printed: str, label: str) -> list[str]:
    line = next(line for line in printed.splitlines() if line.strip("│ ").startswith(label))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_a_compile_of_three_targets(outcomes: tuple[Outcome, ...]) -> None:
    printed = text(compile_table("tiny", outcomes))
    assert row(printed, "verified") == ["verified", "native, 3 inputs", "qemu, 1 input", "no (--no-verify)"]
    assert row(printed, "largest error") == ["largest error", "2.3e-07", "2.3e-07", "-"]
    assert row(printed, "median") == ["median", "5.15 ms", "not measured", "not measured"]
    assert row(printed, "p90") == ["p90", "9.9 ms", "-", "-"]
    assert row(printed, "fastest") == ["fastest", "5 ms", "-", "-"]
    assert row(printed, "threads")[1] == "2"
    assert row(printed, "weights")[1:] == ["13.9 MB"] * 3
    assert row(printed, "schedules")[1] == "2 template (38% of time)" and "1 fallback (62% of time)" in printed
    assert "arm64 was not measured: emulated time says nothing about the device" in printed


def test_the_table_fits_a_terminal_of_80_columns(outcomes: tuple[Outcome, ...]) -> None:
    printed = text(compile_table("tiny", outcomes[:2]), width=80)
    assert max(map(len, printed.splitlines())) <= 80 and "…" not in printed


def test_the_profile_names_the_longest_operators(outcomes: tuple[Outcome, ...], latency: Latency) -> None:
    printed = text(profile_table(outcomes[0].artifact, latency, top=2))
    assert "the 2 longest of 3 operators" in printed
    assert row(printed, "resize") == ["resize", "Resize", "2500.0", "62.5%", "", "fallback"]
    assert row(printed, "conv_relu") == ["conv_relu", "Conv Relu", "1000.0", "25.0%", "2.0", "template:conv2d"]
    assert "depthwise" not in printed


def test_a_benchmark(outcomes: tuple[Outcome, ...], latency: Latency) -> None:
    printed = text(benchmark_view(outcomes[0].artifact, latency, top=0), width=120)
    assert "5.15 ms" in printed and "5 to 9.9" in printed and "longest" not in printed


def test_an_evaluation() -> None:
    networks = (Accuracy(network="original", top1=0.75, top5=0.9), Accuracy(network="artifact", top1=0.7499, top5=None))
    evaluation = Evaluation(images=400, classes=10, networks=networks, agreement=0.995, skipped=("a.png: cut",))
    printed = text(evaluation_view(evaluation, Path("photos")))
    assert row(printed, "original") == ["original", "75.00%", "90.00%"]
    assert row(printed, "artifact") == ["artifact", "74.99%", "-"]
    assert "99.50% of the images" in printed and "1 unreadable images skipped" in printed


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (13_949_000, "13.9 MB"), (999_700, "1 MB"), (5_000_000_000, "5 GB")],
)
def test_sizes(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0"), (999, "999"), (10_838_016, "10.8 M"), (20_716_000_000, "20.7 G")]
)
def test_counts(count: int, shown: str) -> None:
    assert thousands(count) == shown
