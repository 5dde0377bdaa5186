"""Runs inside the emulator, without edgevision: one inference of a peer between two marks that the plugin sees.

python inside.py RUNTIME CASE FOLDER
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.case import Case
from benchmarks.peers.runtimes import RUNTIMES

MARK = (0xD503201F | 122 << 5).to_bytes(4, "little")
RETURN = 0xD65F03C0.to_bytes(4, "little")
WARM_UP = 2
MOST_ERROR = 1e-3
"""Of the largest output. MNN's is 3e-4 on RepVGG-A0."""


def marker() -> tuple[Callable[[], Any], mmap.mmap]:
    """A function that is `hint #122; ret`, and the memory that it is in."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(MARK + RETURN)
    return ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page))), page


def main(runtime: str, case: Case, folder: Path) -> None:
    image, expected = case.input(), case.reference()
    run = RUNTIMES[runtime].load(case, folder, 1)
    mark, _page = marker()
    for _ in range(WARM_UP):
        run(image)
    mark()
    found = run(image)
    mark()
    np.testing.assert_allclose(found, expected, rtol=0, atol=MOST_ERROR * float(np.abs(expected).max()))


if __name__ == "__main__":
    main(sys.argv[1], Case(folder=Path(sys.argv[2])), Path(sys.argv[3]))
