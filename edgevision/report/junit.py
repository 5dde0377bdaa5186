"""Documents as JUnit XML: a suite for each, a test case for each check. Source of the form: testmoapp/junitxml."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from edgevision.report.page import Document, Entry, Row, entry


def junit(documents: Sequence[Document]) -> str:
    """FAIL is a failure, INCONCLUSIVE an error: neither may pass unseen."""
    root = ElementTree.Element("testsuites", name="edgevision check")
    for document in documents:
        _suite(root, entry(document), document)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ElementTree.Element, shown: Entry, document: Document) -> None:
    seconds = (document.get("bout") or {}).get("seconds", 0.0)
    failures, errors = (sum(row.decision == decision for row in shown.rows) for _, decision in KINDS)
    suite = ElementTree.SubElement(
        root, "testsuite", name=_plain(shown.name), tests=str(len(shown.rows)), failures=str(failures), errors=str(errors),
        time=f"{seconds:.3f}", timestamp=shown.when[:19],
    )  # fmt: skip
    for row in shown.rows:
        _case(suite, shown, row, seconds / len(shown.rows))


def _case(suite: ElementTree.Element, shown: Entry, row: Row, seconds: float) -> None:
    classname = _plain(f"edgevision.{shown.name}.{shown.device or shown.how}")
    case = ElementTree.SubElement(suite, "testcase", name=row.what, classname=classname, time=f"{seconds:.3f}")
    kind = next((kind for kind, decision in KINDS if decision == row.decision), "")
    if kind:
        ElementTree.SubElement(case, kind, message=_plain(row.reason), type=row.decision).text = _plain(shown.measured)
    else:
        ElementTree.SubElement(case, "system-out").text = _plain(f"{row.reason}; {shown.measured}")


def _plain(text: str) -> str:
    """Without the characters that XML 1.0 has no way to write."""
    return "".join(each if each >= " " or each in "\t\n" else "?" for each in text)


KINDS = (("failure", "FAIL"), ("error", "INCONCLUSIVE"))
