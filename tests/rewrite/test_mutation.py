"""Removing a guard of the rewriting turns a test red. What may go without a sound only saves time, or is checked twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHORTCUTS = {
    "outer.diagonal",  # composing: the general product gives the same weights
    "inner.diagonal",
    "ratio == 1",  # linear_form: one block is the whole
}
"""Guards whose removal changes no result."""


@pytest.mark.large
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("module", ["adding", "composing", "shrinking", "linear_form"])
def test_every_guard_of_the_algebra_is_needed(module: str) -> None:
    command = [sys.executable, "-m", "tests.rewrite.mutation", module]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    print(done.stdout)
    assert "mutants found" in done.stdout
    alive = [line.split("survives: ")[1] for line in done.stdout.splitlines() if " guard survives: " in line]
    assert set(alive) <= SHORTCUTS
