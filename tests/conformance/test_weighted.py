"""The node tests of operators that take weights, tables or indices, with these as constants of the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.cases import TAKES_WEIGHTS, Case, weighted_cases
from tests.conformance.checks import check, parameters


@pytest.mark.parametrize("case", parameters(weighted_cases()))
def test_with_constants(case: Case, record_property: Callable[[str, object], None]) -> None:
    check(case, record_property)


def test_every_such_operator_has_a_case() -> None:
    assert {case.model.graph.node[0].op_type for case in weighted_cases()} == TAKES_WEIGHTS
