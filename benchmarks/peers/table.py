"""Findings as tables of text: latency and ratio, spread, errors, footprint, limits; every gap has a numbered reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.peers.findings import FLOAT32_ERROR, Findings, Row, ours
from benchmarks.peers.ratios import ENOUGH_ROUNDS, NOISY_SHARE

WIDTH = 240


class Notes:
    """Reasons, each with a number: the same reason has the same one."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str) -> str:
        return f"[{self._numbers.setdefault(reason, len(self._numbers) + 1)}]"

    def lines(self) -> Iterable[str]:
        return (f"[{number}] {reason}" for reason, number in self._numbers.items())


def show(findings: Findings, runtimes: Sequence[str], console: Console | None = None) -> None:
    """Print ``findings``, with a column for each of ``runtimes``."""
    console = console or Console(width=WIDTH, highlight=False, markup=False)
    notes = Notes()
    console.print(
        f"{findings.machine}; load average {findings.load[0]:.1f} before, {findings.load[1]:.1f} after; nice {findings.nice}"
    )
    for threads in sorted({row.threads for row in findings.rows}):
        rows = [row for row in findings.rows if row.threads == threads]
        waiting = f"waiting for a core, % of time (bursts that count), {threads} thread(s)"
        for table in (
            _latencies(rows, threads, runtimes, notes),
            _matrix(f"min / p90, ms, {threads} thread(s)", rows, runtimes, _spread, notes),
            _matrix(waiting, rows, runtimes, _waiting, notes),
        ):
            console.print("", table)
        for name in ours(runtimes):
            console.print(_mean(findings, threads, name))
    first = min((row.threads for row in findings.rows), default=0)
    rows = [row for row in findings.rows if row.threads == first]
    errors = _matrix("relative error: max|a - onnxruntime| / max|onnxruntime|", rows, runtimes, _error, notes)
    console.print("", errors, "", _footprints(findings, notes), "", _rooflines(findings), "")
    for line in (*notes.lines(), *_legend()):
        console.print(line)


def _latencies(rows: Sequence[Row], threads: int, runtimes: Sequence[str], notes: Notes) -> Table:
    title = f"measured: median ms of a run, {threads} thread(s)"
    compared = [heading for name in ours(runtimes) for heading in (f"{name} / best", "95 % interval")]
    table = _table(title, ("network", "M MACs", *runtimes, "best peer", *compared))
    for row in rows:
        cells = [_cell(row, name, _median, notes) for name in runtimes]
        best = next((ratio.best for ratio in row.ratios.values()), "none")
        table.add_row(row.network, str(row.macs), *cells, best, *(cell for name in ours(runtimes) for cell in _compared(row, name)))
    return table


def _compared(row: Row, name: str) -> tuple[str, str]:
    if name not in row.ratios:
        return ("", "")
    r = row.ratios[name]
    return (f"{r.value:.2f}{'=' if r.tie else ''}{'~' if row.noisy(name) else ''}", f"{r.low:.2f} .. {r.high:.2f}")


def _mean(findings: Findings, threads: int, name: str) -> str:
    mean, ratios = findings.mean_ratio(threads, name), findings.ratios(threads, name)
    if mean is None:
        return f"no ratios: {name} or every peer is missing"
    worst, bound = max(ratio.value for ratio in ratios), max(ratio.high for ratio in ratios)
    extremes = f"worst {worst:.2f}, highest bound {bound:.2f}"
    return f"{name}: geometric mean of {len(ratios)} ratios {mean:.2f}, {extremes} ({threads} thread(s))"


def _matrix(title: str, rows: Sequence[Row], runtimes: Sequence[str], text: Callable[[Row, str], str], notes: Notes) -> Table:
    table = _table(title, ("network", *runtimes))
    for row in rows:
        table.add_row(row.network, *(_cell(row, name, text, notes) for name in runtimes))
    return table


def _cell(row: Row, name: str, text: Callable[[Row, str], str], notes: Notes) -> str:
    if name in row.failures:
        return notes.mark(f"{name}: {row.failures[name]}")
    return text(row, name) if name in row.times else ""


def _median(row: Row, name: str) -> str:
    wrong = row.errors[name] > FLOAT32_ERROR
    return f"{row.times[name].median_ms:.2f}{'~' if row.times[name].noisy else ''}{'!' if wrong else ''}"


def _spread(row: Row, name: str) -> str:
    return f"{row.times[name].min_ms:.2f} / {row.times[name].p90_ms:.2f}"


def _waiting(row: Row, name: str) -> str:
    return f"{100 * row.times[name].waiting:.1f} ({row.times[name].rounds})"


def _error(row: Row, name: str) -> str:
    return f"{row.errors[name]:.1e}"


def _footprints(findings: Findings, notes: Notes) -> Table:
    title = f"measured: fresh processes, {findings.footprint_network}, {findings.footprint_threads} thread(s)"
    headings = ("import and load, ms", "first result, ms", "peak resident, MB", "beyond bare Python, MB",
                "libraries, MB", "network, MB", "converted in, s")  # fmt: skip
    table = _table(title, ("runtime", *headings))
    for name, f in findings.footprints.items():
        sizes = (f.peak_bytes, f.added_bytes, f.library_bytes, f.network_bytes)
        megabytes = (f"{size / 1e6:.1f}" for size in sizes)
        table.add_row(name, f"{f.import_load_ms:.1f}", f"{f.first_run_ms:.1f}", *megabytes, f"{f.convert_s:.1f}")
    for name, reason in findings.footprint_refusals.items():
        table.add_row(name, notes.mark(f"{name}: {reason}"))
    return table


def _rooflines(findings: Findings) -> Table:
    headings = ("cores", "multiply-add, GFLOP/s", "1024 x 1024 product, GFLOP/s", "triad, GB/s")
    table = _table("measured: float32 limits of this machine, best of 20", headings)
    for cores, r in sorted(findings.rooflines.items()):
        gemm = f"{r.gemm_gflops:.0f}" if r.gemm_gflops else "no torch"
        table.add_row(str(cores), f"{r.multiply_add_gflops:.0f}", gemm, f"{r.triad_gbytes:.1f}")
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="", header_style="", box=MARKDOWN)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


def _legend() -> tuple[str, ...]:
    return (
        "/ best: edgevision's median over that of the best peer, below 1 edgevision is faster; '=' a tie (under 5 %)",
        "converted in: on as many cores as the network runs on; of edgevision a whole compile, with its check against onnxruntime",
        f"waiting: share of the time that threads were ready but had no core, whoever had it (bursts that count); '~': "
        f"fewer than {ENOUGH_ROUNDS} bursts were under {NOISY_SHARE:.0%}, for noise or for want of time, so all count",
        f"'!': error above {FLOAT32_ERROR:g}, so not the same float32 network; no peer in the ratio",
    )
