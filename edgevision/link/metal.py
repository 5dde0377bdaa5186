"""Device kernels -> Metal Shading Language, by TVM's code generator."""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

import re

import tvm

from edgevision.errors import UnsupportedError
from edgevision.link.device_source import Launch, kernels
from edgevision.program import Program

_PREAMBLE = "#include <metal_stdlib>\nusing namespace metal;\n"
_EACH = f"{_PREAMBLE}\nunion __TVMArgUnion {{\n int v_int[2];\n}};\n"
"""What TVM writes in front of each kernel; without numbers among the arguments, nothing uses the union."""


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
    return _PREAMBLE + re.sub(r"^// Function: .*\n", "", text.replace(_EACH, ""), flags=re.MULTILINE), launches
