"""Device kernels -> CUDA C, by TVM's code generator, for a compiler without CUDA's header files."""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

import re

import tvm

from edgevision.errors import UnsupportedError
from edgevision.link.device_source import Launch, kernels, stores_are_aligned
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

HALF = """\
struct half {
  unsigned short bits;
  half() = default;
  __device__ __forceinline__ half(float value) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value)); }
  __device__ __forceinline__ operator float() const {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
  }
};
struct alignas(4) half2 { half x, y; };
struct alignas(8) half4 { half x, y, z, w; };
__device__ __forceinline__ half2 make_half2(half x, half y) { return {x, y}; }
__device__ __forceinline__ half4 make_half4(half x, half y, half z, half w) { return {x, y, z, w}; }

"""
"""What NVIDIA's header file has of half precision as far as it is used: a type in memory that is computed with as float."""

_ANY_ALIGNMENT = """\
template <typename T, typename V> __device__ __forceinline__ void store_2(T *to, V value) {
  if ((uint64_t)to % sizeof(V) == 0) { *(V *)to = value; return; }
  to[0] = value.x; to[1] = value.y;
}
template <typename T, typename V> __device__ __forceinline__ void store_4(T *to, V value) {
  if ((uint64_t)to % sizeof(V) == 0) { *(V *)to = value; return; }
  to[0] = value.x; to[1] = value.y; to[2] = value.z; to[3] = value.w;
}

"""
"""For `stores_are_aligned`: a vector stored elsewhere is a fault on a GPU."""
_STORE = re.compile(r"^( *)\*\(\w+([24])\*\)\((p\d+_ptr \+ .*?)\) = (.*);$", re.MULTILINE)

_KERNEL = 'extern "C" __global__ void '
_IMPRECISE = ("expf", "exp10f", "logf", "log2f", "log10f", "sinf", "cosf", "tanf", "powf")
"""TVM calls CUDA's fast versions, whose error grows with the argument: __sinf(1000) has no right digit."""


def device_source(program: Program, compute_capability: str) -> tuple[str, dict[str, Launch]]:
    """The CUDA C text of all functions, and the launch of each.

    Raises: UnsupportedError for types that only NVIDIA's header files know.
    """
    device = tvm.target.Target({"kind": "cuda", "arch": f"sm_{compute_capability.replace('.', '')}"})
    functions, launches = kernels(program, device)
    made = tvm.get_global_func("target.build.cuda")(functions, device).inspect_source()
    text = _tidied(made)
    for func in functions.functions.values():
        if not stores_are_aligned(func):
            text = _with_stores_anywhere(text, str(func.attrs["global_symbol"]))
    types = HALF if re.search(r"\bhalf[24]?\b", text) else ""
    return _PREAMBLE + types + (_ANY_ALIGNMENT if "store_" in text else "") + text, launches


def _with_stores_anywhere(text: str, kernel: str) -> str:
    """``text``, where ``kernel`` looks at an address before it stores a vector there."""
    start = text.index(f" {kernel}(")
    following = text.find(_KERNEL, start)
    end = following if following >= 0 else len(text)
    return text[:start] + _STORE.sub(r"\1store_\2(\3, \4);", text[start:end]) + text[end:]


def _tidied(text: str) -> str:
    """Without TVM's preamble and prototypes, with functions as precise as on every other target."""
    start = text.find(_KERNEL)
    if start < 0:
        return ""
    text = re.sub(r'^extern "C" __global__ void [^{]*;\n', "", text[start:], flags=re.MULTILINE)
    if found := re.search(r"\b(half\d*[135-9]|__half\w*|nv_bfloat16\w*)\b", text):
        raise UnsupportedError(f"a kernel for CUDA computes with {found[0]}; compile in float32")
    return re.sub(rf"\b__({'|'.join(_IMPRECISE)})\(", r"\1(", text)
