"""A backend test either passes natively or is refused for a reason that is listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgevision.errors import EdgevisionError
from tests import executor
from tests.conformance.cases import Case
from tests.conformance.unsupported import why_unsupported

# Their expected outputs were typed in with four digits.
ROUNDED = ("test_averagepool_2d_ceil_last_window_starts_on_pad",)
# Half a second each: attention written out in 60 operators.
SPELLED_OUT_AT_LENGTH = ("test_attention_", "test_flexattention_")


def parameters(cases: Sequence[Case]) -> list[object]:
    return [pytest.param(case, id=case.name, marks=[pytest.mark.large] * _is_long(case)) for case in cases]


def _is_long(case: Case) -> bool:
    return "_expanded" in case.name and case.name.startswith(SPELLED_OUT_AT_LENGTH)


def check(case: Case, record_property: Callable[[str, object], None]) -> None:
    reasons = why_unsupported(case)
    if not reasons:
        assert_agrees(executor.run(case.model, case.inputs), case)
        return
    record_property("refused", reasons[0])
    with pytest.raises(EdgevisionError) as refusal:
        executor.run(case.model, case.inputs)
    assert refusal.value.exit_code in (2, 3)


def assert_agrees(found: Sequence[np.ndarray], case: Case) -> None:
    """Types and shapes as declared, integers equal, floats within the test's own bounds and 1e-5 of their range."""
    for result, wanted in zip(found, map(np.asarray, case.outputs), strict=True):
        assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
        if wanted.dtype.kind != "f":
            np.testing.assert_array_equal(result, wanted)
            continue
        np.testing.assert_allclose(result, wanted, rtol=case.rtol, atol=case.atol)
        finite = np.isfinite(wanted)
        if finite.any() and case.name not in ROUNDED:
            difference = np.abs(result[finite].astype(np.float64) - wanted[finite]).max()
            assert difference <= 1e-5 * np.abs(wanted[finite].astype(np.float64)).max()
