"""A scheduled program as source for devices that nothing here runs: kernels as text, weights, and the plan of all launches.

The plan says what a host program does: upload the weights, make an arena, write the inputs into it, dispatch every launch in order,
read the outputs from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.errors import UnsupportedError
from edgevision.link import launch_plan, memory_plan, metal, wgsl
from edgevision.link.memory_plan import MemoryPlan
from edgevision.link.weights import Weights, pack_weights
from edgevision.program import Program, Value
from edgevision.target import Target
from edgevision.tensor import ITEMSIZE_BYTES, TensorSpec

Json = dict[str, Any]

WIDEST_BITS = 128
"""Metal and WGSL have vectors of four numbers at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """``suffix`` of its files; ``entries`` gives the text and what each call dispatches."""

    name: str
    suffix: str
    entries: Callable[[Program], tuple[str, Sequence[Dispatch]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Work groups on three axes, work items in one, and the call's arguments that are bound, in order."""

    kernel: str
    groups: tuple[int, int, int]
    group_size: int
    arguments: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """The kernels' text, the weights and the plan (`docs/json.md`, launch_plan), without the names of files."""

    text: str
    weights: bytes
    plan: Json


def emit(program: Program, target: Target, language: Language) -> Emitted:
    """Raises: UnsupportedError, for wider vectors or other types than the language has."""
    if target.vector_bits > WIDEST_BITS:
        raise UnsupportedError(
            f"--emit-source {language.name}: kernels of target {target.name} compute with vectors of {target.vector_bits // 32}, "
            "the language has none of more than 4; choose a target shaped for GPUs, such as opencl-mali-linux"
        )
    if program.dtype != "float32":
        raise UnsupportedError(f"--emit-source {language.name} is for tensors in float32; leave --dtype {program.dtype} out")
    text, dispatches = language.entries(program)
    weights = pack_weights(program.weights, launch_plan.ALIGNMENT_BYTES)
    memory = memory_plan.plan(memory_plan.lifetimes(program), launch_plan.ALIGNMENT_BYTES)
    return Emitted(text=text, weights=weights.blob, plan=_plan(program, memory, weights, dispatches))


def _plan(program: Program, memory: MemoryPlan, weights: Weights, dispatches: Sequence[Dispatch]) -> Json:
    launches = [
        {
            "step": call.step.name,
            "kernel": each.kernel,
            "groups": list(each.groups),
            "group_size": [each.group_size, 1, 1],
            "buffers": [_buffer(call.args[i], memory, weights) for i in each.arguments],
        }
        for call, each in zip(program.calls, dispatches, strict=True)
    ]
    return {
        "model_sha256": program.model_sha256,
        "weight_bytes": len(weights.blob),
        "arena_bytes": memory.arena_bytes,
        "inputs": [_tensor(spec, memory.offsets["input", i]) for i, spec in enumerate(program.inputs)],
        "outputs": [_tensor(spec, memory.offsets["output", i]) for i, spec in enumerate(program.outputs)],
        "most_buffers": max((len(each.arguments) for each in dispatches), default=0),
        "most_items": max((each.group_size for each in dispatches), default=0),
        "launches": launches,
    }


def _buffer(value: Value, memory: MemoryPlan, weights: Weights) -> Json:
    nbytes = ITEMSIZE_BYTES[value.dtype]
    for extent in value.shape:
        nbytes *= extent
    if value.kind == "weight":
        return {"of": "weights", "offset": weights.offsets[value.index], "bytes": nbytes}
    return {"of": "arena", "offset": memory.offsets[value.kind, value.index], "bytes": nbytes}


def _tensor(spec: TensorSpec, offset: int) -> Json:
    return {
        "name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape), "layout": spec.layout, "offset": offset,
        "bytes": spec.nbytes,
    }  # fmt: skip


def _metal(program: Program) -> tuple[str, list[Dispatch]]:
    text, launches = metal.device_source(program)
    used = (launches[call.function] for call in program.calls)
    return text, [Dispatch(kernel=u.kernel, groups=(u.groups, 1, 1), group_size=u.group_size, arguments=u.arguments) for u in used]


def _webgpu(program: Program) -> tuple[str, list[Dispatch]]:
    text, entries = wgsl.device_source(program)
    return text, [
        Dispatch(
            kernel=each.kernel, groups=wgsl.grid(each.groups), group_size=each.group_size,
            arguments=tuple(binding.argument for binding in each.bindings),
        )
        for each in entries
    ]  # fmt: skip


LANGUAGES = {
    "metal": Language(name="metal", suffix="metal", entries=_metal),
    "webgpu": Language(name="webgpu", suffix="wgsl", entries=_webgpu),
}
