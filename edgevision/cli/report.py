"""`edgevision report`: what checks and measurements wrote, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from edgevision.errors import InputError

FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where each form goes; None: nowhere."""

    json: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None
    html: Path | None = None


@click.command()
@click.argument("files", metavar="FILE.json...", nargs=-1, required=True, type=FILE)
@click.option("--junit", type=FILE, metavar="FILE", help="Write JUnit XML.")
@click.option("--markdown", type=FILE, metavar="FILE", help="Write Markdown.")
@click.option("--html", type=FILE, metavar="FILE", help="Write one HTML page that needs no network.")
def report(files: tuple[Path, ...], junit: Path | None, markdown: Path | None, html: Path | None) -> None:
    """Show what `edgevision check --json` and `bench --json` wrote: the last file in question, those before it as its history."""
    from edgevision.report import console
    from edgevision.report.history import history_view
    from edgevision.report.page import entry

    documents = [read(path) for path in files]
    write(documents, Files(junit=junit, markdown=markdown, html=html))
    console.stdout().print(history_view([entry(each) for each in documents]))


def read(path: Path) -> Mapping[str, Any]:
    """A document that reports can show. Raises: InputError."""
    from edgevision.report.page import entry

    try:
        document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        entry(document)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not what `edgevision check --json` writes ({type(error).__name__}: {error})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return document


def write(documents: Sequence[Mapping[str, Any]], files: Files) -> None:
    """The last document as JSON, all of them in the other forms; each file whole or not at all."""
    from edgevision.report.html import html
    from edgevision.report.json import dumps
    from edgevision.report.junit import junit
    from edgevision.report.markdown import markdown

    if files.json:
        _put(files.json, dumps(documents[-1]))
    if files.junit:
        _put(files.junit, junit(documents[-1:]))
    if files.markdown:
        _put(files.markdown, markdown(documents[-1:]))
    if files.html:
        _put(files.html, html(documents))


def _put(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from error
