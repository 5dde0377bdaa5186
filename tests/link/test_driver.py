"""The generated driver: weights share places, C text is safe for any name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgevision.link import driver


def test_equal_constants_share_a_place() -> None:
    a = np.arange(5, dtype=np.float32)
    packed = driver.pack_weights([a, np.ones(3, np.float32), a.copy()])
    assert packed.offsets[0] == packed.offsets[2] != packed.offsets[1]
    assert all(o % 64 == 0 for o in packed.offsets)
    at = packed.offsets[1]
    assert np.frombuffer(packed.blob[at : at + 12], np.float32).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["plain", 'quote " back \\ slash', "tri??/graph", "naïve 中", "a\nb\x01" + "7"])
def test_any_name_survives_the_c_compiler(name: str, tmp_path: Path) -> None:
    source = tmp_path / "name.c"
    source.write_text(
        f"#include <stdio.h>\nint main(void) {{ fputs({driver.literal(name)}, stdout); return 0; }}\n"
    )
    program = tmp_path / "name"
    subprocess.run([sys.executable, "-m", "ziglang", "cc", str(source), "-o", str(program)], check=True)
    assert subprocess.run([str(program)], capture_output=True, check=True).stdout.decode() == name
