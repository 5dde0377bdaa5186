"""Device kernels -> one WGSL module, by TVM's code generator, which writes a module for each kernel and leaves the grid open.

Source: W3C, WebGPU and WebGPU Shading Language.
"""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import tvm

from edgevision.errors import UnsupportedError
from edgevision.link.device_source import Launch, kernels
from edgevision.program import Call, Program, Value

MOST_GROUPS = 65535
"""maxComputeWorkgroupsPerDimension, of every device at least."""

DTYPES = {"float32": "f32", "int32": "i32", "uint32": "u32"}
"""What WGSL has in memory; 64 bits, 8 bits and bool it has not."""

_FUNCTION = re.compile(r"^// Function: (\w+)\n//-+\n// Function: \1\n//-+\n", re.MULTILINE)
_BINDING = re.compile(r"^@group\(0\) @binding\(\d+\) var<storage, read(?:_write)?> (\w+) : array<(\w+)>;\n", re.MULTILINE)
_GRID = re.compile(r"^struct PODArgs \{\n(?:  .*\n)*\}\n@group\(0\) @binding\(\d+\) var<uniform> podArgs .*\n", re.MULTILINE)
_GUARD = "if (blockIdx.z * gridDim.x + blockIdx.x > podArgs.packGridDimX) { return; }"
_INFINITE = {"inff": "0x7f800000u", "nanf": "0x7fc00000u"}
"""What TVM writes for infinity and NaN. WGSL has no numbers for them, and refuses constant expressions that give one; the bits
in a variable do."""
_FUNCTIONS = {
    "fmodf": "fn fmodf(x : f32, y : f32) -> f32 { return x % y; }\n",
    "log1pf": "fn log1pf(x : f32) -> f32 { let y = 1.0f + x; if (y == 1.0f) { return x; } return log(y) * (x / (y - 1.0f)); }\n",
}
"""Functions of C that TVM calls and WGSL lacks. log1p: Goldberg, What Every Computer Scientist Should Know, theorem 4."""
_SHARED = re.compile(r"^var<workgroup> (\w+) :", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A storage buffer of a kernel: argument number ``argument`` of the call, from the weights or from the arena."""

    argument: int
    weights: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry point of the module, its grid, and what is bound to it, in the order of the bindings' numbers."""

    kernel: str
    groups: int
    group_size: int
    bindings: tuple[Binding, ...]


def device_source(program: Program) -> tuple[str, tuple[Entry, ...]]:
    """The module's text, and the entry point of each of the program's calls.

    A buffer may not be bound for reading and for writing in one dispatch, nor the same part of it twice where one is written. So
    all of the arena is bound for writing, weights for reading, and tensors of a call that lie in one place are one binding. A
    function that is called with tensors from other places becomes another entry point.

    Raises: UnsupportedError, for a tensor or an intermediate result of a type that WGSL has not.
    """
    _check(program)
    device = tvm.target.Target({"kind": "webgpu"})
    functions, launches = kernels(program, device)
    texts = _by_kernel(_generated(functions, device))
    names: dict[tuple[str, tuple[Binding, ...]], str] = {}
    parts: list[str] = []
    entries = []
    for call in program.calls:
        launch = launches[call.function]
        slots, bindings = _bindings(call, launch)
        key = (launch.kernel, (*bindings, *(Binding(argument=s, weights=False) for s in slots)))
        if key not in names:
            versions = sum(kernel == launch.kernel for kernel, _ in names)
            names[key] = f"{launch.kernel}_{versions}" if versions else launch.kernel
            parts.append(_entry(texts[launch.kernel], replace(launch, kernel=names[key]), launch.kernel, slots, bindings))
        entries.append(Entry(kernel=names[key], groups=launch.groups, group_size=launch.group_size, bindings=bindings))
    text = "\n".join(parts)
    called = "".join(body for name, body in _FUNCTIONS.items() if re.search(rf"\b{name}\(", text))
    return _with_infinities(called + text), tuple(entries)


def _with_infinities(text: str) -> str:
    used = [name for name in _INFINITE if re.search(rf"\b{name}\b", text)]
    for name in used:
        text = re.sub(rf"\b{name}\b", f"bitcast<f32>({name}_bits)", text)
    return "".join(f"var<private> {name}_bits : u32 = {_INFINITE[name]};\n" for name in used) + text


def grid(groups: int) -> tuple[int, int, int]:
    """Work groups on each axis: on z what does not fit on x."""
    rows = -(-groups // MOST_GROUPS)
    return -(-groups // rows), 1, rows


def _check(program: Program) -> None:
    for call in program.calls:
        for value in call.args:
            if value.dtype not in DTYPES:
                raise UnsupportedError(
                    f"step {call.step.name!r} ({' '.join(call.step.ops)}) has a tensor of {value.dtype}, which WGSL does not know: "
                    f"it has {', '.join(DTYPES)}; change the network, or write Metal"
                )


def _generated(functions: tvm.IRModule, device: tvm.target.Target) -> str:
    try:
        text: str = tvm.get_global_func("target.build.webgpu")(functions, device).inspect_source()
    except tvm.error.InternalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UnsupportedError(f"a kernel cannot be said in WGSL: {reason}; change the network, or write Metal") from error
    return text


def _by_kernel(text: str) -> dict[str, str]:
    """What TVM wrote for each kernel."""
    _, *rest = _FUNCTION.split(text)
    return dict(zip(rest[::2], rest[1::2], strict=True))


def _bindings(call: Call, launch: Launch) -> tuple[list[int], tuple[Binding, ...]]:
    """For each of the kernel's parameters which binding it is, and the bindings."""
    places: list[tuple[str, int, str]] = []
    slots, bindings = [], []
    for argument in launch.arguments:
        value: Value = call.args[argument]
        place = (*value.place, value.dtype)
        if place not in places:
            places.append(place)
            bindings.append(Binding(argument=argument, weights=value.kind == "weight"))
        slots.append(places.index(place))
    return slots, tuple(bindings)


def _entry(text: str, launch: Launch, old: str, slots: Sequence[int], bindings: Sequence[Binding]) -> str:
    """The kernel with names of its own, as all kernels share one module, and its grid as numbers."""
    name = launch.kernel
    found = _BINDING.findall(text)
    assert len(found) == len(slots), (name, found)
    declared = [
        f"@group(0) @binding({i}) var<storage, read{'' if each.weights else '_write'}> {name}_b{i} : "
        f"array<{found[slots.index(i)][1]}>;\n"
        for i, each in enumerate(bindings)
    ]
    body = _GRID.sub("", _BINDING.sub("", text)).strip("\n")
    for (parameter, _), slot in zip(found, slots, strict=True):
        body = re.sub(rf"\b{parameter}\b", f"{name}_b{slot}", body)
    for shared in _SHARED.findall(body):
        body = re.sub(rf"\b{shared}\b", f"{name}_{shared}", body)
    assert _GUARD in body, name
    x, _, rows = grid(launch.groups)
    spare = x * rows > launch.groups
    body = body.replace(_GUARD, f"if (blockIdx.z * {x}u + blockIdx.x >= {launch.groups}u) {{ return; }}" if spare else "")
    body = body.replace("blockIdx.z * gridDim.x + blockIdx.x", f"blockIdx.z * {x}u + blockIdx.x" if rows > 1 else "blockIdx.x")
    body = body.replace("  @builtin(num_workgroups) gridDim : vec3<u32>,\n", "").replace(f"fn {old}(", f"fn {name}(")
    return "".join(declared) + body + "\n"
