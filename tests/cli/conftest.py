"""The command line as a user calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from edgevision.cli.main import main

Command = Callable[..., tuple[str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `edgevision` with these words, which must end with ``status``; what it printed on stdout and stderr."""

    def run(*words: object, status: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["edgevision", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert ended.value.code == status, printed.err
        return printed.out, printed.err

    return run
