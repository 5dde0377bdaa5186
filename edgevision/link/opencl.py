"""Program -> the pieces of an artifact for an OpenCL device: kernels as text, launches and buffers as constants in C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgevision.link import driver, memory_plan
from edgevision.link.memory_plan import MemoryPlan
from edgevision.link.opencl_source import Launch, device_source
from edgevision.link.toolchain import NATIVE
from edgevision.program import Program, Value
from edgevision.target import Target
from edgevision.tensor import ITEMSIZE_BYTES

RUNTIME = ("opencl_session.c", "opencl_program.c", "opencl_cache.c", "opencl.c")

ALIGNMENT_BYTES = 512
"""Of every part of a buffer. CL_DEVICE_MEM_BASE_ADDR_ALIGN is 1024 bits on Adreno, Mali and PoCL, 2048 on AMD, 4096 on NVIDIA."""

BUILD_OPTIONS = "-cl-std=CL1.2 -cl-mad-enable"
"""Multiplications and additions may be fused, which rounds once instead of twice; nothing else is loosened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePieces:
    """What linking needs, in a scratch folder."""

    sources: tuple[Path, ...]
    arena_bytes: int
    weight_bytes: int


def prepare(program: Program, target: Target, folder: Path, *, name: str, prefix: str = "") -> DevicePieces:
    """Write the kernels, the weights and the driver into ``folder``."""
    text, launches = device_source(program)
    weights = driver.pack_weights(program.weights, ALIGNMENT_BYTES)
    memory = memory_plan.plan(memory_plan.lifetimes(program), ALIGNMENT_BYTES)
    kernels, blob = folder / "kernels.cl", folder / "weights.bin"
    kernels.write_text(text)
    blob.write_bytes(weights.blob)
    assembler, source = folder / "embedded.s", folder / "driver.c"
    assembler.write_text(driver.embedded_source(ev_weights=blob, ev_kernels=kernels))
    source.write_text(_driver(program, target, memory, weights, launches, text, name=name, prefix=prefix))
    return DevicePieces(
        sources=(source, assembler, *(NATIVE / file for file in RUNTIME)), arena_bytes=memory.arena_bytes,
        weight_bytes=len(weights.blob),
    )  # fmt: skip


class _Regions:
    """Parts of the two buffers, each distinct one once."""

    def __init__(self, memory: MemoryPlan, weights: driver.Weights) -> None:
        self.lines: list[str] = []
        self._memory, self._weights = memory, weights
        self._numbers: dict[str, int] = {}

    def number(self, value: Value) -> int:
        if value.kind == "weight":
            place, offset = "EV_CL_WEIGHTS", self._weights.offsets[value.index]
        else:
            place, offset = "EV_CL_ARENA", self._memory.offsets[value.kind, value.index]
        nbytes = ITEMSIZE_BYTES[value.dtype]
        for extent in value.shape:
            nbytes *= extent
        line = f"    {{{place}, {offset}u, {nbytes}u}},"
        if line not in self._numbers:
            self._numbers[line] = len(self.lines)
            self.lines.append(line)
        return self._numbers[line]


def _driver(
    program: Program, target: Target, memory: MemoryPlan, weights: driver.Weights, launches: Mapping[str, Launch], text: str,
    *, name: str, prefix: str,
) -> str:  # fmt: skip
    regions = _Regions(memory, weights)
    steps: list[str] = []
    arguments: list[str] = []
    for call in program.calls:
        launch = launches[call.function]
        steps.append(
            f"    {{{driver.literal(call.step.name)}, {driver.literal(launch.kernel)}, {len(arguments)}, "
            f"{len(launch.arguments)}, {launch.groups}u, {launch.group_size}u}},"
        )
        arguments += [f"    {regions.number(call.args[i])}," for i in launch.arguments]
    most = max((launch.group_size for launch in launches.values()), default=1)
    fields = (
        "&model", "ev_weights", "ev_kernels", f"{len(text.encode())}u", driver.literal(BUILD_OPTIONS), "regions",
        str(len(regions.lines)), "arguments", "steps", str(len(steps)), "input_offsets", "output_offsets", f"{ALIGNMENT_BYTES}u",
        f"{most}u",
    )  # fmt: skip
    parts = [
        '#include "opencl_plan.h"\n',
        *(f'extern const unsigned char {s}[] __attribute__((visibility("hidden")));' for s in ("ev_weights", "ev_kernels")),
        driver.array("ev_cl_region", "regions", regions.lines),
        driver.array("int32_t", "arguments", arguments),
        driver.array("ev_cl_step", "steps", steps),
        *driver.interface(program, memory),
        driver.model(program, target, memory, weights, name),
        f"const ev_cl_plan ev_the_cl_plan = {{{', '.join(fields)}}};",
        *([driver.prefixed(prefix)] if prefix else []),
    ]
    return "\n".join(parts) + "\n"


