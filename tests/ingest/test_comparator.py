"""The comparison that every other test of ingest leans on rejects what is wrong."""

import numpy as np
import pytest

from tests.ingest.nets import PARITY_RTOL, random, relative_error

REFERENCE = random(2, 3)
WRONG = {
    "a percent off": REFERENCE * np.float32(1.01),
    "a thousand times": REFERENCE * 1000,
    "zeros": np.zeros_like(REFERENCE),
    "NaN": np.where(REFERENCE.max() == REFERENCE, np.nan, REFERENCE).astype(np.float32),
    "another shape": REFERENCE.reshape(3, 2),
    "another type": REFERENCE.astype(np.float64),
    "one element": REFERENCE + np.eye(2, 3, dtype=np.float32) * 1e-3,
}


@pytest.mark.parametrize("result", WRONG.values(), ids=WRONG)
def test_wrong_results_are_rejected(result):
    assert not relative_error(result, REFERENCE) <= PARITY_RTOL


def test_rounding_is_accepted():
    assert relative_error(np.nextafter(REFERENCE, np.float32(9)), REFERENCE) <= PARITY_RTOL


def test_a_reference_of_zeros_proves_nothing():
    assert not relative_error(np.zeros(3, np.float32), np.zeros(3, np.float32)) <= PARITY_RTOL


def test_integers_must_be_equal():
    assert relative_error(np.array([1, 2]), np.array([1, 2])) == 0
    assert not relative_error(np.array([1, 2]), np.array([1, 3])) <= PARITY_RTOL
