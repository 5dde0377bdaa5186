"""Where edgevision keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def directory() -> Path:
    """$XDG_CACHE_HOME/edgevision, ~/.cache/edgevision without that variable. Not created here.

    A relative $XDG_CACHE_HOME counts as unset: XDG Base Directory Specification, "Environment variables".
    """
    return _base() / "edgevision"


def zig_directory() -> Path:
    """Where zig keeps the C libraries that it builds: $ZIG_GLOBAL_CACHE_DIR, else the place zig itself would choose."""
    chosen = os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    return Path(chosen) if chosen else _base() / "zig"


def _base() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return base if base.is_absolute() else Path.home() / ".cache"
