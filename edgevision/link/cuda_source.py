"""Device kernels -> CUDA C, by TVM's code generator, for a compiler without CUDA's header files."""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

import re

import tvm

from edgevision.errors import UnsupportedError
from edgevision.link.device_source import Launch, kernels
from edgevision.program import Program

_PREAMBLE = """\
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)
#define CUDART_INF __longlong_as_double(0x7ff0000000000000LL)
#define CUDART_NAN __longlong_as_double(0xfff8000000000000LL)

"""
"""What TVM's own preamble takes from header files that NVRTC's package lacks."""

_KERNEL = 'extern "C" __global__ void '
_IMPRECISE = ("expf", "exp10f", "logf", "log2f", "log10f", "sinf", "cosf", "tanf", "powf")
"""TVM calls CUDA's fast versions, whose error grows with the argument: __sinf(1000) has no right digit."""


def device_source(program: Program, compute_capability: str) -> tuple[str, dict[str, Launch]]:
    """The CUDA C text of all functions, and the launch of each.

    Raises: UnsupportedError for half precision.
    """
    device = tvm.target.Target({"kind": "cuda", "arch": f"sm_{compute_capability.replace('.', '')}"})
    functions, launches = kernels(program, device)
    made = tvm.get_global_func("target.build.cuda")(functions, device).inspect_source()
    return _PREAMBLE + _tidied(made), launches


def _tidied(text: str) -> str:
    """Without TVM's preamble and prototypes, with functions as precise as on every other target."""
    start = text.find(_KERNEL)
    if start < 0:
        return ""
    text = re.sub(r'^extern "C" __global__ void [^{]*;\n', "", text[start:], flags=re.MULTILINE)
    if found := re.search(r"\b(half|half2|__half|nv_bfloat16)\b", text):
        raise UnsupportedError(f"a kernel for CUDA computes with {found[0]}; compile in float32")
    return re.sub(rf"\b__({'|'.join(_IMPRECISE)})\(", r"\1(", text)
