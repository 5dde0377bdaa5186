"""Device kernels -> OpenCL C, by TVM's code generator."""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

import re
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

from edgevision.link import opencl_half
from edgevision.link.device_source import Launch, kernels
from edgevision.program import Program


def device_source(program: Program) -> tuple[str, dict[str, Launch]]:
    """The OpenCL C text of all functions, and the launch of each."""
    device = tvm.target.Target({"kind": "opencl"})
    lowered, launches = kernels(program, device)
    chosen = tvm.IRModule({name: _with_narrow_choices(func) for name, func in lowered.functions.items()})
    functions = opencl_half.through_conversions(chosen)
    text = tvm.get_global_func("target.build.opencl")(functions, device).inspect_source()
    return _tidied(text, launches), launches


def _with_narrow_choices(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Choices between integers of 8 and 16 bits as ``?:``. What is computed from such numbers is an int in C, and then no overload
    of `select`, which TVM would write, takes both operands."""

    def choice(select: tirx.Select) -> Any:
        narrow = str(select.ty.dtype) in ("int8", "uint8", "int16", "uint16")
        return tirx.if_then_else(select.condition, select.true_value, select.false_value) if narrow else select

    return func.with_body(tvm_ffi.structural_map(func.body, [(tirx.Select, choice)], order="post"))


_MATHEMATICS = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign", "cos", "cosh", "erf", "exp", "exp10", "exp2",
    "fabs", "floor", "fma", "fmax", "fmin", "fmod", "hypot", "ldexp", "log", "log10", "log1p", "log2", "nextafter", "pow",
    "round", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
})  # fmt: skip
_ELSEWHERE = {"nearbyint": "rint"}
"""Functions that TVM calls by their names in C; OpenCL's are overloaded, and one is called otherwise."""


def _definitions(text: str) -> str:
    """Macros from C's names of functions to OpenCL's, for those that the kernels call."""
    lines = []
    for name in sorted(set(re.findall(r"\b([a-z][a-z0-9]*)\(", text))):
        if name in _ELSEWHERE:
            lines.append(f"#define {name} {_ELSEWHERE[name]}\n")
        plain = name.removesuffix("f")
        if name.endswith("f") and (plain in _MATHEMATICS or plain in _ELSEWHERE):
            lines.append(f"#define {name} {_ELSEWHERE.get(plain, plain)}\n")
    return "".join(lines)


_REPEATED = re.compile(r"\(\((?P<kind>[a-z]+(?:2|4|8|16))\)\((?P<one>[\w.+-]+)(?:, (?P=one))+\)\)")
_LINE = re.compile(r"__kernel void (\w+)\(")


_PLACES = re.compile(r"^ *int(\d+) (v\w*) = \(int\1\)\((.+?)\+\(1\*0\), .*\);\n", re.MULTILINE)


def _whole_loads(text: str) -> str:
    """Loads of consecutive elements as loads of vectors: TVM gathers them one by one unless it can prove an alignment, which
    vload does not want."""
    for width, name, base in _PLACES.findall(text):
        lanes = r",".join(rf"(?P=buffer)\[{name}\.s{lane:x}\]" for lane in range(1, int(width)))
        gather = re.compile(rf"\(\([a-z]+{width}\)\((?P<buffer>\w+)\[{name}\.s0\],{lanes}\)\)")
        text = gather.sub(f"vload{width}(0, \\g<buffer> + ({base}))", text)
    return _PLACES.sub("", text)


def _tidied(text: str, launches: dict[str, Launch]) -> str:
    """Broadcasts written once (TVM spells out every lane), no prototypes, and the work group that each kernel is launched with."""
    parts = re.split(r"(?m)^(?=// Function)", text)
    text = "".join(opencl_half.without_needless_extension(_whole_loads(part)) for part in parts)
    text = text.replace("__global bool* restrict", "__global uchar* restrict")  # OpenCL 1.2, 6.9.a: no pointer to bool
    text = _REPEATED.sub(r"((\g<kind>)(\g<one>))", text)
    text = re.sub(r"^__kernel void [^{]*;\n", "", text, flags=re.MULTILINE)
    sizes = {launch.kernel: launch.group_size for launch in launches.values()}

    def attribute(found: re.Match[str]) -> str:
        return f"__kernel __attribute__((reqd_work_group_size({sizes[found[1]]}, 1, 1))) void {found[1]}("

    return _definitions(text) + _LINE.sub(attribute, text)
