"""The generated driver: weights share places, C text is safe for any name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgevision.link import driver
from edgevision.link.weights import pack_versions, pack_weights


def test_equal_constants_share_a_place() -> None:
    a = np.arange(5, dtype=np.float32)
    packed = pack_weights([a, np.ones(3, np.float32), a.copy()])
    assert packed.offsets[0] == packed.offsets[2] != packed.offsets[1]
    assert all(o % 64 == 0 for o in packed.offsets)
    at = packed.offsets[1]
    assert np.frombuffer(packed.blob[at : at + 12], np.float32).tolist() == [1, 1, 1]


def test_versions_share_what_they_lay_out_alike() -> None:
    bias, table = np.ones(3, np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
    device, processor = pack_versions([[table, bias], [table.T, bias, table.reshape(-1)]], 512)
    assert device.blob is processor.blob
    assert device.offsets == (0, 512) and device.end == 512 + bias.nbytes
    assert processor.offsets == (1024, 512, 0) and processor.end == len(processor.blob)
    assert np.frombuffer(processor.blob[1024:], np.float32).tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("name", ["plain", 'quote " back \\ slash', "tri??/graph", "naïve 中", "a\nb\x01" + "7"])
def test_any_name_survives_the_c_compiler(name: str, tmp_path: Path) -> None:
    source = tmp_path / "name.c"
    source.write_text(
        f"#include <stdio.h>\nint main(void) {{ fputs({driver.literal(name)}, stdout); return 0; }}\n"
    )
    program = tmp_path / "name"
    subprocess.run([sys.executable, "-m", "ziglang", "cc", str(source), "-o", str(program)], check=True)
    assert subprocess.run([str(program)], capture_output=True, check=True).stdout.decode() == name
