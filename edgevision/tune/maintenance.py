"""What can be done to tuning logs besides tuning: join them, cut them to what a compile reads, and check them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevision.tuning_log import (
    FILE,
    PROVENANCE,
    Record,
    Setting,
    TuningLogError,
    append,
    encode,
    read,
    replace,
    tuned,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One file of records: the folder that it is in names the instruction set."""

    path: Path
    records: tuple[Record, ...]
    damaged: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.path.parent.name


def logs(folder: Path) -> tuple[Log, ...]:
    """The logs in ``folder``, by name.

    Raises: TuningLogError where it is no folder, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise TuningLogError(folder, "no such folder")
    found = []
    for path in sorted(folder.glob(f"*/{FILE}")):
        content = read(path)
        found.append(Log(path=path, records=content.records, damaged=content.damaged))
    return tuple(found)


def merge(source: Path, into: Path) -> dict[str, int]:
    """Add the records of ``source`` that ``into`` lacks, and say where they come from. The number of new ones a log."""
    added = {}
    for log in logs(source):
        path = into / log.name / FILE
        known = {encode(record) for record in read(path).records}
        new = [record for record in log.records if encode(record) not in known]
        append(path, new)
        if new:
            _merge_provenance(log.path.parent / PROVENANCE, path.parent / PROVENANCE)
        added[log.name] = len(new)
    return added


def _merge_provenance(source: Path, into: Path) -> None:
    """The runs and remarks that ``into`` lacks: ``source`` may have begun as a copy of it."""
    known = _runs(into)
    missing = [run for run in _runs(source) if run not in known]
    if missing:
        with into.open("a", encoding="utf-8") as file:
            file.writelines(f"{run}\n\n" for run in missing)


def _runs(provenance: Path) -> list[str]:
    return provenance.read_text(encoding="utf-8").strip().split("\n\n") if provenance.is_file() else []


def prune(folder: Path, keep: int) -> dict[str, tuple[int, int]]:
    """Keep, of each workload in each setting, the default and the ``keep`` best choices beside it with all their results. Records
    before and after, by log. A later tuning run no longer knows what was tried in vain."""
    counts = {}
    for log in logs(folder):
        kept = set(map(encode, _kept(log.records, keep)))
        lines = [record for record in log.records if encode(record) in kept]
        replace(log.path, sorted(set(lines), key=encode_key))
        counts[log.name] = (len(log.records), len(set(lines)))
    return counts


def encode_key(record: Record) -> tuple[str, str, str]:
    """An order that does not depend on when something was measured."""
    return (record.what, record.workload, encode(record))


def _kept(records: Sequence[Record], keep: int) -> Iterator[Record]:
    for setting in sorted({record.setting for record in records}, key=str):
        ours = [record for record in records if record.setting == setting and record.wins]
        beside = tuned(ours, setting).beside
        best = {key: {each.choice for ranked in found.values() for each in ranked[:keep]} for key, found in beside.items()}
        yield from (record for record in ours if record.is_default or record.choice in best[record.workload])


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something about a log: ``severe`` if records are lost or wrong, else they are only of no use here."""

    log: str
    text: str
    severe: bool


def problems(log: Log, setting: Setting) -> Iterator[Problem]:
    """What is wrong with a log, read on a machine with ``setting``."""
    if log.damaged:
        lines = ", ".join(map(str, log.damaged))
        yield Problem(log=log.name, text=f"line {lines}: damaged, left out", severe=True)
    for number, record in enumerate(log.records, start=1):
        fault = _fault(record)
        if fault:
            yield Problem(log=log.name, text=f"record {number}: {fault}", severe=True)
    stale = sum(
        1 for r in log.records if (r.setting.tvm, r.setting.schedules) != (setting.tvm, setting.schedules)
    )  # fmt: skip
    if stale:
        yield Problem(
            log=log.name, text=f"{stale} records are of another version of TVM or of the templates", severe=False
        )
    if not log.records:
        yield Problem(log=log.name, text="no records", severe=False)


def _fault(record: Record) -> str:
    if record.wins and (record.outcome != "right" or record.ratio is None or record.us is None):
        return "it won without a time"
    if record.ratio is not None and not 0 < record.ratio < 1e6:
        return f"a ratio of {record.ratio}"
    if record.us is not None and not 0 < record.us < 1e12:
        return f"a time of {record.us} us"
    return ""
