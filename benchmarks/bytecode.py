"""Bytecode for Pythons whose start is measured: pip leaves it with a package, and a checkout may have none."""

from __future__ import annotations

import os
from pathlib import Path


def kept_in(folder: Path) -> dict[str, str]:
    """This process's environment, with which the Pythons that it starts keep the bytecode of all that they import in ``folder``."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(folder)}
