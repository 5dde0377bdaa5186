"""What the reports show of a document, whatever they are written in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import PurePath
from statistics import median
from typing import Any

from edgevision.errors import InputError
from edgevision.report.check import milliseconds_of
from edgevision.report.gate import SHOWN, change
from edgevision.report.table import size
from edgevision.verdict import Decision

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One check in words."""

    what: str
    decision: Decision
    figure: str
    between: str
    limit: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Milliseconds, one for each process, or for each run."""

    label: str
    ms: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A fused operator before and after, in the entry's ``unit``; None where there is none that computes the same."""

    name: str
    before: float | None
    after: float | None

    @property
    def longest(self) -> float:
        return max(self.before or 0.0, self.after or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One document. ``decision`` is "" where nothing was judged. ``facts``: (what, baseline's, candidate's) in words; the
    baseline's is "" where there is none. ``changes``: (rewriting rule, times in the baseline, times in the candidate). ``unit``
    of operators. ``beside``: the CPU's version beside the GPU's, as JSON has it (see `report.side_by_side`)."""

    name: str
    device: str
    when: str
    how: str
    decision: Decision | str
    reason: str
    measured: str
    rows: tuple[Row, ...]
    series: tuple[Series, ...]
    operators: tuple[Operator, ...]
    unit: str
    facts: tuple[tuple[str, str, str], ...]
    changes: tuple[tuple[str, int, int], ...]
    beside: Mapping[str, Any] | None = None

    @property
    def median_ms(self) -> float | None:
        return median(self.series[-1].ms) if self.series else None


def entry(document: Document) -> Entry:
    """Raises: InputError, for a document that no report shows."""
    readers = {"check": _checked, "benchmark": _benchmarked}
    kind = str(document.get("kind"))
    if kind not in readers:
        raise InputError(f"no report shows a document of kind {kind!r}; give what `check --json` or `bench --json` wrote")
    return readers[kind](document)


def histories(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries with a latency, by network and device, each list in the order of time."""
    known = sorted((each for each in entries if each.series), key=lambda each: each.when)
    groups = dict.fromkeys((each.name, each.device) for each in known)
    return [[each for each in known if (each.name, each.device) == group] for group in groups]


def _checked(document: Document) -> Entry:
    bout, costs = document["bout"], document["costs"]
    before, after = document["baseline"], document["candidate"]
    return Entry(
        name=document["name"],
        device=bout["device"]["name"] if bout else "",
        when=bout["began"] if bout else "",
        how=document["how"],
        decision=document["decision"],
        reason=document["reason"],
        measured=_measured(bout) if bout else "modelled: no device was asked" if costs else "no device was asked",
        rows=tuple(_row(each) for each in document["checks"]),
        series=_series(document) if bout else (),
        operators=_operators(_steps(bout, costs, "baseline", before), _steps(bout, costs, "candidate", after)),
        unit="cycles" if costs else "µs",
        facts=tuple(_facts(before, after, bout)),
        changes=_changes(before, after),
    )


def _benchmarked(document: Document) -> Entry:
    latency = document["latency"]
    name, ms = PurePath(document["library"]).stem, tuple(latency["samples_ms"])
    return Entry(
        name=name,
        device=latency["device"]["name"],
        when=(document.get("measurement") or {}).get("began", ""),
        how=latency["how"],
        decision="",
        reason=f"latency {latency['median_ms']:.4g} ms",
        measured=f"{latency['how']} on {latency['device']['name']}, {latency['threads']} threads, {len(ms)} runs",
        rows=(),
        series=(Series(label=name, ms=ms),),
        operators=tuple(Operator(name=s["name"], before=None, after=s["median_us"]) for s in latency["steps"]),
        unit="µs",
        facts=(),
        changes=(),
        beside=document.get("side_by_side"),
    )


def _row(check: Mapping[str, Any]) -> Row:
    show, ends = SHOWN[check["unit"]], (check["estimate"] or {}).get("interval")
    return Row(
        what=check["what"], decision=check["decision"],
        figure="-" if check["measured"] is None else show(check["measured"]),
        between="-" if ends is None else f"{show(ends[0])} to {show(ends[1])}",
        limit=show(check["limit"]), reason=check["reason"],
    )  # fmt: skip


def _measured(bout: Mapping[str, Any]) -> str:
    device, threads = bout["device"], bout["threads"]
    cpu = f" ({device['cpu']})" if device["cpu"] else ""
    processes = sum(len(block["starts"]) for block in bout["blocks"])
    return (
        f"{bout['how']} on {device['name']}{cpu}, {threads} thread{'s' * (threads > 1)}, {processes} processes in turn, "
        f"{bout['seconds']:.0f} s from {bout['began']}"
    )


def _series(document: Document) -> tuple[Series, ...]:
    baseline, candidate = (tuple(milliseconds_of(document, side)) for side in ("A", "B"))
    if document["baseline"] is None:
        return (Series(label="candidate", ms=baseline + candidate),)
    return Series(label="baseline", ms=baseline), Series(label="candidate", ms=candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """``key``: what it computes. Names hold running numbers, which an operator more shifts."""

    key: tuple[object, ...]
    name: str
    figure: float


def _steps(bout: Any, costs: Any, side: str, there: Any) -> list[_Step]:
    if costs:
        steps = costs[side][0]["steps"] if costs[side] else []
        return [_Step(key=(s["macs"], s["name"].rstrip("0123456789")), name=s["name"], figure=s["cycles"]) for s in steps]
    if not bout or not there:
        return []
    known = {step["name"]: (*step["ops"], step["macs"]) for step in there["steps"]}
    steps = bout["profiles"][side]["steps"]
    return [_Step(key=known.get(step["name"], (step["name"],)), name=step["name"], figure=step["us"]) for step in steps]


def _operators(before: Sequence[_Step], after: Sequence[_Step]) -> tuple[Operator, ...]:
    """In the order they run: those that compute the same side by side, the others alone."""
    found: list[Operator] = []
    matcher = SequenceMatcher(a=[each.key for each in before], b=[each.key for each in after], autojunk=False)
    for tag, first, end, first_after, end_after in matcher.get_opcodes():
        if tag == "equal":
            pairs = zip(before[first:end], after[first_after:end_after], strict=True)
            found += [Operator(name=new.name, before=old.figure, after=new.figure) for old, new in pairs]
        else:
            found += [Operator(name=old.name, before=old.figure, after=None) for old in before[first:end]]
            found += [Operator(name=new.name, before=None, after=new.figure) for new in after[first_after:end_after]]
    return tuple(found)


def _facts(before: Any, after: Any, bout: Any) -> list[tuple[str, str, str]]:
    rows = []
    if bout:
        rows.append(_both("median run", before, *(f"{bout['median_ms'][side]:.4g} ms" for side in ("baseline", "candidate"))))
        cold = (f"{bout['profiles'][side]['cold_start_ms']:.3g} ms" for side in ("baseline", "candidate"))
        rows.append(_both("cold start", before, *cold))
        memory = [bout["profiles"][side]["peak_bytes"] for side in ("baseline", "candidate")]
        if None not in memory:
            rows.append(_both("resident memory", before, *map(size, memory)))
    if after:
        old = before or after
        rows += [_both(key.removesuffix("_bytes"), before, size(old[f"{key}_bytes"]), size(after[f"{key}_bytes"])) for key in SIZES]
        rows.append(_both("error against the original", before, _error(old), _error(after)))
        rows.append(_both("library's SHA-256", before, old["sha256"][:12], after["sha256"][:12]))
    return rows


SIZES = ("file", "weight", "arena")


def _both(what: str, before: Any, old: str, new: str) -> tuple[str, str, str]:
    return what, old if before else "", new


def _error(side: Mapping[str, Any]) -> str:
    found = side["verification"]
    return "not verified" if found["max_error"] is None else f"{found['max_error']:.1e} ({found['how']})"


def _changes(before: Any, after: Any) -> tuple[tuple[str, int, int], ...]:
    """How often each rewriting rule fired."""
    counts = [Counter({c["rule"]: c["count"] for c in side["changes"]}) if side else Counter() for side in (before, after)]
    return tuple((rule, counts[0][rule], counts[1][rule]) for rule in sorted(counts[0] | counts[1]))


def moved(operators: Sequence[Operator], most: int) -> list[tuple[Operator, str]]:
    """The ``most`` operators that changed by the largest amounts, and by which share; "new" and "gone" ones too. None of a network
    that was compared with nothing."""
    if not any(each.before for each in operators):
        return []
    ranked = sorted(operators, key=lambda each: -abs((each.after or 0.0) - (each.before or 0.0)))
    return [(each, _share(each)) for each in ranked[:most]]


def _share(each: Operator) -> str:
    if each.before is None or each.after is None:
        return "new" if each.before is None else "gone"
    return change(each.after / each.before - 1) if each.before else "-"
