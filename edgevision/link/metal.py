"""Device kernels -> Metal Shading Language, by TVM's code generator."""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

import re

import tvm

from edgevision.errors import UnsupportedError
from edgevision.link.device_source import Launch, kernels, stores_are_aligned
from edgevision.program import Program

_PREAMBLE = "#include <metal_stdlib>\nusing namespace metal;\n"
_EACH = f"{_PREAMBLE}\nunion __TVMArgUnion {{\n int v_int[2];\n}};\n"
"""What TVM writes in front of each kernel; without numbers among the arguments, nothing uses the union."""

_STORE = re.compile(r"^( *)\*\(device (\w+[24])\*\)(\(p\d+_ptr \+ .*?\) = .*;)$", re.MULTILINE)
"""A vector lies at a multiple of its own size, a packed one at a multiple of its elements' (Metal Shading Language 2.2.3)."""
_KERNEL = "kernel void "


def device_source(program: Program) -> tuple[str, dict[str, Launch]]:
    """The text of all functions, and the launch of each; buffers have the numbers of `Launch.arguments`' places.

    Raises: UnsupportedError, for a tensor of float64, which Metal does not know.
    """
    for call in program.calls:
        if any(value.dtype == "float64" for value in call.args):
            raise UnsupportedError(
                f"step {call.step.name!r} ({' '.join(call.step.ops)}) has a tensor of float64, which Metal does not know; "
                "convert the network to float32"
            )
    device = tvm.target.Target({"kind": "metal"})
    functions, launches = kernels(program, device)
    text = tvm.get_global_func("target.build.metal")(functions, device).inspect_source()
    for func in functions.functions.values():
        if not stores_are_aligned(func):
            text = _with_stores_anywhere(text, str(func.attrs["global_symbol"]))
    return _PREAMBLE + re.sub(r"^// Function: .*\n", "", text.replace(_EACH, ""), flags=re.MULTILINE), launches


def _with_stores_anywhere(text: str, kernel: str) -> str:
    """``text``, where ``kernel`` stores packed vectors."""
    start = text.index(f"{_KERNEL}{kernel}(")
    following = text.find(_KERNEL, start + 1)
    end = following if following >= 0 else len(text)
    return text[:start] + _STORE.sub(r"\1*(device packed_\2*)\3", text[start:end]) + text[end:]
