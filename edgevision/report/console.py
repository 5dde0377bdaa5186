"""Where tables are printed."""

from __future__ import annotations

import sys

from rich.console import Console

FILE_COLUMNS = 120
"""Width of what goes to a file or a pipe, which has none of its own."""


def stdout() -> Console:
    """Standard output, as wide as its terminal."""
    return Console() if sys.stdout.isatty() else Console(width=FILE_COLUMNS)
