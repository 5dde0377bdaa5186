"""Small models of the onnx package, most of them exported by PyTorch long ago."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.cases import Case, exported_cases
from tests.conformance.checks import check, parameters


@pytest.mark.parametrize("case", parameters(exported_cases()))
def test_exported(case: Case, record_property: Callable[[str, object], None]) -> None:
    check(case, record_property)
