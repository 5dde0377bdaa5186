"""Launches and buffers of a device's artifact as constants in C (native/launch_plan.h)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgevision.link import driver, memory_plan
from edgevision.link.device_source import Launch
from edgevision.link.memory_plan import MemoryPlan
from edgevision.link.pieces import Pieces
from edgevision.link.toolchain import NATIVE
from edgevision.link.weights import Weights
from edgevision.program import Program, Value
from edgevision.target import Target
from edgevision.tensor import ITEMSIZE_BYTES

ALIGNMENT_BYTES = 512
"""Of every part of a buffer. CL_DEVICE_MEM_BASE_ADDR_ALIGN is 1024 bits on Adreno, Mali and PoCL, 2048 on AMD, 4096 on NVIDIA; CUDA
allocates in 256 bytes and wants vectors of four floats at multiples of 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """The kernels of one kind of device: ``embedded`` are files that the library holds under these names, ``definitions`` the C
    that tells the runtime about them, ``runtime`` the sources of native/ that run them, ``versions`` what they were made with."""

    launches: Mapping[str, Launch]
    embedded: Mapping[str, Path]
    definitions: Sequence[str]
    runtime: Sequence[str]
    versions: Mapping[str, str] = field(default_factory=dict)


def prepare(
    program: Program, target: Target, code: DeviceCode, weights: Weights, folder: Path, *, name: str, steps: int = 0
) -> Pieces:  # fmt: skip
    """Write the driver into ``folder``, where the kernels are; ``steps`` as for `driver.model`."""
    memory = memory_plan.plan(memory_plan.lifetimes(program), ALIGNMENT_BYTES)
    source = folder / "launches.c"
    source.write_text(_driver(program, target, code, memory, weights, name=name, most_steps=steps))
    return Pieces(
        sources=(source, *(NATIVE / file for file in code.runtime)), api="ev_device_api", arena_bytes=memory.arena_bytes,
        embedded=code.embedded, versions=code.versions,
    )  # fmt: skip


class _Regions:
    """Parts of the two buffers, each distinct one once."""

    def __init__(self, memory: MemoryPlan, weights: Weights) -> None:
        self.lines: list[str] = []
        self._memory, self._weights = memory, weights
        self._numbers: dict[str, int] = {}

    def number(self, value: Value) -> int:
        if value.kind == "weight":
            place, offset = "EV_ON_WEIGHTS", self._weights.offsets[value.index]
        else:
            place, offset = "EV_ON_ARENA", self._memory.offsets[value.kind, value.index]
        nbytes = ITEMSIZE_BYTES[value.dtype]
        for extent in value.shape:
            nbytes *= extent
        line = f"    {{{place}, {offset}u, {nbytes}u}},"
        if line not in self._numbers:
            self._numbers[line] = len(self.lines)
            self.lines.append(line)
        return self._numbers[line]


def _driver(
    program: Program, target: Target, code: DeviceCode, memory: MemoryPlan, weights: Weights, *, name: str, most_steps: int
) -> str:  # fmt: skip
    regions = _Regions(memory, weights)
    steps: list[str] = []
    arguments: list[str] = []
    for call in program.calls:
        launch = code.launches[call.function]
        steps.append(
            f"    {{{driver.literal(call.step.name)}, {driver.literal(launch.kernel)}, {len(arguments)}, "
            f"{len(launch.arguments)}, {launch.groups}u, {launch.group_size}u}},"
        )
        arguments += [f"    {regions.number(call.args[i])}," for i in launch.arguments]
    most = max((launch.group_size for launch in code.launches.values()), default=1)
    fields = (
        "&model", "ev_weights", f"{weights.end}u", "regions", str(len(regions.lines)), "arguments", "steps", str(len(steps)),
        "input_offsets", "output_offsets", f"{ALIGNMENT_BYTES}u", f"{most}u",
    )  # fmt: skip
    parts = [
        '#include "launch_plan.h"\n',
        *(f'extern const unsigned char {s}[] __attribute__((visibility("hidden")));' for s in ("ev_weights", *code.embedded)),
        driver.array("ev_region", "regions", regions.lines),
        driver.array("int32_t", "arguments", arguments),
        driver.array("ev_launch", "steps", steps),
        *driver.interface(program, memory),
        driver.model(program, target, memory, weights, name, most_steps),
        f"const ev_launch_plan ev_the_launch_plan = {{{', '.join(fields)}}};",
        *code.definitions,
    ]
    return "\n".join(parts) + "\n"
