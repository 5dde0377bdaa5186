"""Runs inside the emulator, without edgevision: one inference between two marks that the plugin sees.

python inside.py MODEL
"""

import ctypes
import mmap
import sys

import numpy as np
import onnxruntime

MARK = (0xD503201F | 122 << 5).to_bytes(4, "little")
RETURN = 0xD65F03C0.to_bytes(4, "little")


def marker():  # type: ignore[no-untyped-def]
    """A function that is `hint #122; ret`."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(MARK + RETURN)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(None)(address), page


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
(given,) = session.get_inputs()
image = {given.name: np.random.default_rng(0).standard_normal(given.shape).astype(np.float32)}
mark, _page = marker()
for _ in range(2):
    session.run(None, image)
mark()
session.run(None, image)
mark()
