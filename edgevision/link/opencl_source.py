"""Device kernels -> OpenCL C, by TVM's code generator, and how each is launched."""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

import re
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx

from edgevision.link.codegen import BUILD_OPTIONS
from edgevision.program import GROUP_SIZE, GROUPS, Program

DEVICE_LAUNCH = 2  # CallingConv::kDeviceKernelLaunch


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A kernel's name in the source, its grid, and which arguments of the call it takes, in its own order."""

    kernel: str
    groups: int
    group_size: int
    arguments: tuple[int, ...]


def device_source(program: Program) -> tuple[str, dict[str, Launch]]:
    """The OpenCL C text of all functions, and the launch of each."""
    device = tvm.target.Target({"kind": "opencl"})
    target = device.with_host(tvm.target.Target("llvm"))
    with tvm.transform.PassContext(config=dict(BUILD_OPTIONS)), target:
        lowered = _lowered(program.module, target)
    launches, functions = {}, {}
    for variable, func in lowered.functions.items():
        if int(func.attrs.get("calling_conv", 0)) != DEVICE_LAUNCH:
            continue
        kernel = str(func.attrs["global_symbol"])
        name = kernel.removesuffix("_kernel")
        made = program.module[name]
        known = [p.name for p in made.params]
        arguments = tuple(known.index(p.name.removesuffix("_ptr")) for p in func.params)
        launches[name] = Launch(
            kernel=kernel, groups=int(made.attrs[GROUPS]), group_size=int(made.attrs[GROUP_SIZE]), arguments=arguments
        )  # fmt: skip
        functions[variable] = func
    text = tvm.get_global_func("target.build.opencl")(tvm.IRModule(functions), device).inspect_source()
    return _tidied(text, launches), launches


def _lowered(module: tvm.IRModule, target: Any) -> tvm.IRModule:
    pipeline, _, finish_device = tirx.get_tir_pipeline("default")
    narrow = tirx.transform.ForceNarrowIndexToInt32()
    functions = {}
    for variable, func in tirx.transform.BindTarget(target)(module).functions.items():
        # The pass refuses functions with tensors of int64; their indices stay wide where TVM cannot prove that they fit.
        one = tvm.IRModule({variable: func})
        functions[variable] = (one if any(str(p.dtype) == "int64" for p in func.params) else narrow(one))[variable.name_hint]
    lowered = pipeline(tvm.IRModule(functions))
    device = tirx.transform.Filter(lambda f: int(f.attrs.get("calling_conv", 0)) == DEVICE_LAUNCH)(lowered)
    return finish_device()(device)


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
    for name in sorted(set(re.findall(r"\b([a-z]+\d*f?)\(", text))):
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
    text = "".join(_whole_loads(part) for part in re.split(r"(?m)^(?=// Function)", text))
    text = text.replace("__global bool* restrict", "__global uchar* restrict")  # OpenCL 1.2, 6.9.a: no pointer to bool
    text = _REPEATED.sub(r"((\g<kind>)(\g<one>))", text)
    text = re.sub(r"^__kernel void [^{]*;\n", "", text, flags=re.MULTILINE)
    sizes = {launch.kernel: launch.group_size for launch in launches.values()}

    def attribute(found: re.Match[str]) -> str:
        return f"__kernel __attribute__((reqd_work_group_size({sizes[found[1]]}, 1, 1))) void {found[1]}("

    return _definitions(text) + _LINE.sub(attribute, text)
