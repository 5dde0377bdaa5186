"""Kernels in C that do what compiled ones must not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgevision.link import zig
from edgevision.tune.request import Argument, Built
from edgevision.tune.trial import Trial

COUNT = 64
KERNEL = """
#include <stdint.h>
typedef struct {{ float *data; }} tensor;
typedef struct {{ int32_t type, zero; tensor *at; }} any;
int32_t {symbol}(void *self, any *args, int32_t n, any *result) {{
    volatile float *x = args[0].at->data, *c = args[1].at->data, *y = args[2].at->data;
    {body}
    return 0;
}}
"""
TWICE = "for (int i = 0; i < 64; i++) y[i] = 2 * x[i] + c[i];"
SLOW = "for (int r = 0; r < 2000; r++) " + TWICE
BODIES = {
    "right": TWICE, "slow": SLOW, "crash": "*(volatile int *)8 = 1;", "hang": "for (;;) c = y;",
    "wrong": "for (int i = 0; i < 64; i++) y[i] = 2 * x[i];", "beyond": TWICE + " y[64] = 1;",
    "partial": "for (int i = 0; i < 63; i++) y[i] = 2 * x[i] + c[i];", "refuses": TWICE + " return 7;",
}  # fmt: skip
OUTCOMES = {"wrong": "wrong", "partial": "wrong", "beyond": "wrong", "crash": "crashed", "refuses": "crashed", "right": "right"}
EXPECTED = 2 * np.arange(COUNT, dtype=np.float32) + np.arange(COUNT, 2 * COUNT, dtype=np.float32)


def build(folder: Path, *options: str, linked: bool = False) -> dict[str, Built]:
    """One library a body, or an object for a program of many (``linked``); ``options`` go to the compiler."""
    operands = np.arange(2 * COUNT, dtype=np.float32)
    (folder / "operands.bin").write_bytes(operands.tobytes())
    made = {}
    for name, body in BODIES.items():
        source, library = folder / f"{name}.c", folder / (f"{name}.o" if linked else f"{name}.so")
        source.write_text(KERNEL.format(body=body, symbol=f"__tvm_ffi_{name if linked else 'kernel'}"))
        kind = ["-c"] if linked else ["-shared", "-fPIC", "-nostdlib"]
        zig.run(
            ["cc", *options, "-O1", *kind, "-fno-sanitize=all", source, "-o", library],
            purpose="building a kernel", scratch=folder / "zig",
        )  # fmt: skip
        made[name] = Built(
            library=str(library), schedule="", workspace_bytes=0, tolerance=1e-6,
            arguments=tuple(
                Argument(role=role, code=2, bits=32, shape=(COUNT,), file=file, offset=offset)
                for role, file, offset in (
                    ("a", str(folder / "operands.bin"), 0), ("c", str(folder / "operands.bin"), 4 * COUNT), ("o", "-", 0)
                )
            ),
        )  # fmt: skip
    return made


def trial(default: Built, candidate: Built, reference: Built | None = None) -> Trial:
    return Trial(
        workload="kernel", default=default, incumbent=default, candidate=candidate, default_s=1e-6, reference=reference
    )  # fmt: skip
