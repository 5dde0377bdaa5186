"""The ctypes mirrors have the layout that a C compiler gives the structs of edgevision.h."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path

import numpy as np

from edgevision import shared_object
from edgevision.shared_object import DTYPES, EvApi, EvError, EvModel, EvOptions, EvStep, EvTensor
from tests.runtime.fake_artifact import build

MIRRORS = {
    "ev_error": EvError,
    "ev_tensor": EvTensor,
    "ev_model": EvModel,
    "ev_options": EvOptions,
    "ev_step": EvStep,
    "ev_api": EvApi,
}


def test_sizes_offsets_and_constants(tmp_path: Path) -> None:
    fields = {f"{c}.{name}": f"offsetof({c}, {name})" for c, mirror in MIRRORS.items() for name, _ in mirror._fields_}
    sizes = {c: f"sizeof({c})" for c in MIRRORS}
    dtypes = {name: "EV_" + name.upper() for name in DTYPES}
    asked = {**fields, **sizes, **dtypes, "abi": "EV_ABI", "rank": "EV_MAX_RANK"}
    lines = [f'printf("%s\\"{key}\\": %zu", first, (size_t)({c})); first = ", ";' for key, c in asked.items()]
    source = tmp_path / "layout.c"
    source.write_text(
        '#include <stdio.h>\n#include "edgevision.h"\nint main(void) { const char *first = "{";\n'
        + "\n".join(lines)
        + '\nputs("}"); return 0; }\n'
    )
    program = build(tmp_path / "layout", source=source, shared=False)
    in_c = json.loads(subprocess.run([program], capture_output=True, text=True, check=True).stdout)
    here = {f"{c}.{name}": getattr(m, name).offset for c, m in MIRRORS.items() for name, _ in m._fields_}
    here |= {c: ctypes.sizeof(mirror) for c, mirror in MIRRORS.items()}
    here |= {name: number for number, name in enumerate(DTYPES)}
    here |= {"abi": shared_object.ABI, "rank": EvTensor.shape.size // 8}
    assert here == in_c


def test_dtype_names_are_numpys() -> None:
    assert all(np.dtype(name).name == name for name in DTYPES)
