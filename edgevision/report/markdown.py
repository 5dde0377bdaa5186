"""Documents as Markdown for a comment on a pull request: what was decided first, details folded away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgevision.report import side_by_side
from edgevision.report.page import Document, Entry, entry, moved

MOST_OPERATORS = 10


def markdown(documents: Sequence[Document]) -> str:
    return "\n".join(line for document in documents for line in _lines(entry(document)))


def _lines(shown: Entry) -> Iterator[str]:
    yield f"### {shown.decision + ': ' if shown.decision else ''}{_text(shown.name)}"
    yield ""
    if shown.reason:
        yield from (_text(shown.reason) + ".", "")
    if shown.rows:
        rows = [(row.what, row.figure, row.between, row.limit, row.decision) for row in shown.rows]
        yield from _table(("check", "figure", "between", "limit", "decision"), rows)
    yield from (f"{_text(shown.measured)}.", "")
    if shown.beside:
        yield from (_text(side_by_side.verdict(shown.beside)), "", f"{_text(side_by_side.trust(shown.beside))}.", "")
        yield from _table(side_by_side.KIND_HEAD, side_by_side.kind_rows(shown.beside))
        if slower := side_by_side.slower_rows(shown.beside):
            yield from _folded("Where the GPU loses most", side_by_side.SLOWER_HEAD, slower)
    facts = [row for row in shown.facts if row[1]] or [row for row in shown.facts if row[2]]
    if facts:
        yield from _folded("Sizes, memory and accuracy", ("", "baseline", "candidate"), facts)
    operators = moved(shown.operators, MOST_OPERATORS)
    if operators:
        found = [(each.name, _figure(each.before), _figure(each.after), share) for each, share in operators]
        title = f"The {len(found)} operators that changed most, {shown.unit}"
        yield from _folded(title, ("operator", "baseline", "candidate", "change"), found)
    if shown.changes:
        counts = [(rule, str(before), str(after)) for rule, before, after in shown.changes]
        yield from _folded("Rewriting rules, how often each fired", ("rule", "baseline", "candidate"), counts)


def _folded(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from (f"<details><summary>{title}</summary>", "", *_table(head, rows), "</details>", "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(map(_text, row))} |"
    yield ""


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _text(plain: str) -> str:
    """As it stands, in a table too: names come from models."""
    for mark in "\\`*_<>|#[]":
        plain = plain.replace(mark, f"\\{mark}")
    return " ".join(plain.split())
