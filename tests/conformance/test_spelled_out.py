"""The node tests of operators that ONNX defines by others, written out in these."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.cases import Case, node_cases
from tests.conformance.checks import check, parameters

SPELLED_OUT = [case for case in node_cases() if "_expanded" in case.name]


@pytest.mark.parametrize("case", parameters(SPELLED_OUT))
def test_spelled_out(case: Case, record_property: Callable[[str, object], None]) -> None:
    check(case, record_property)
