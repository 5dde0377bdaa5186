"""A case for fake runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.case import Case


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A network that is not one, with an input and the output that it should have."""
    case = Case(folder=tmp_path / "case")
    case.folder.mkdir()
    case.onnx.write_bytes(b"a network")
    np.save(case.folder / "input.npy", np.ones((1, 4), np.float32))
    np.save(case.folder / "reference.npy", np.array([[1, -2, 3]], np.float32))
    return case
