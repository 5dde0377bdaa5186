"""Removing a guard of the rewriting turns a test red, but for those listed here, most of which only save time."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rewrite.mutation import FOLDER, KINDS, mutants

UNNOTICED = {
    "composing: outer.diagonal": "the general product gives the same weights",
    "composing: inner.diagonal": "the general product gives the same weights",
    "emit: not any((name in aliases for name in node.input))": "a copy with the same names is the same node",
    "linear_form: ratio == 1": "one block is the whole",
    "moves: all((form.identity for form in forms))": "a move of nothing is taken back, since it does not pay",
    "moves: not isinstance(node, Affine)": "no graph is known in which one push makes another superfluous",
    "moves: key not in network.nodes or reader_key not in network.nodes": "no graph is known for this one either",
    "search: not isinstance(node, Affine) or node.output in self.excluded": "what it would change is taken back by _trespasses",
    "search: len(readers) == 1 and (not isinstance(readers[0][1], Wire))": "the reader absorbs it by itself",
    "search: len(node.terms) != 1 or not node.terms[0].form.pointwise": "more is tried, and taken back where it does not pay",
}
"""Guards whose removal no test notices, and why."""


@pytest.mark.large
@pytest.mark.timeout(3600)
def test_every_guard_is_needed() -> None:
    command = [sys.executable, "-m", "tests.rewrite.mutation"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    print(done.stdout)
    alive = re.findall(r"^  survives: (\w+)\.py:\d+ guard: (.*)$", done.stderr, re.MULTILINE)
    assert {f"{module}: {condition}" for module, condition in alive} <= set(UNNOTICED)


def test_a_mutant_is_the_module_with_one_condition_less() -> None:
    found = list(mutants("adding", KINDS))
    assert {each.kind for each in found} == set(KINDS)
    guard = next(each for each in found if each.text == "one.stride != other.stride")
    original = ast.unparse(ast.parse((FOLDER / "adding.py").read_text(encoding="utf-8")))
    assert guard.changed == original.replace("if one.stride != other.stride:", "if False:")
