"""Winograd's weights as a library makes them when it is loaded, beside `FilterTransform`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgevision.filter_transform import FilterTransform
from edgevision.schedule.toom_cook import strided, transforms
from tests.native.builds import NATIVE, TESTS, ZIG, program


@pytest.fixture(scope="module")
def transform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filters") / "transform"
    return program(ZIG, path, TESTS / "transform_filters.c", NATIVE / "filters.c")


@pytest.mark.parametrize(
    ("ci", "inputs", "groups", "channels", "filled", "block"),
    [(16, 16, 1, 32, 32, 32), (5, 8, 1, 70, 80, 32), (3, 16, 3, 20, 32, 32), (17, 20, 2, 9, 12, 8), (1, 4, 1, 1, 4, 4)],
    ids=["whole", "the last block is smaller", "groups", "a vector of zeros", "a filter"],
)  # fmt: skip
@pytest.mark.parametrize("matrix", [transforms(4).kernel, transforms(2).kernel, strided(2).kernel], ids=["4", "2", "strided"])
def test_a_library_makes_what_the_kernels_were_compiled_for(
    transform: Path, matrix: np.ndarray, ci: int, inputs: int, groups: int, channels: int, filled: int, block: int
) -> None:  # fmt: skip
    by = FilterTransform(matrix=matrix, groups=groups, channels=channels, inputs=inputs, filled=filled, block=block)
    filters = np.random.default_rng(ci).standard_normal((3, 3, ci, groups * channels)).astype(np.float32)
    expected = by(filters)
    numbers = (filters.nbytes, by.nbytes, ci, inputs, groups, channels, filled, block, *matrix.shape)
    done = subprocess.run(
        [transform, *map(str, numbers)], input=matrix.astype(np.float64).tobytes() + filters.tobytes(), capture_output=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    np.testing.assert_allclose(np.frombuffer(done.stdout, np.float32), expected, rtol=1e-6, atol=1e-7)
    assert by.nbytes == expected.nbytes
