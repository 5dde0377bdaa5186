"""What a network would cost on a 64-bit ARM core, by a model: compile -> count under qemu -> price with llvm-mca."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgevision import target as targets
from edgevision.artifact import Step
from edgevision.errors import CpuOnlyError, InputError
from edgevision.link import package, toolchain
from edgevision.lower.phases import lower
from edgevision.measure.modelled.mca import CPUS
from edgevision.measure.modelled.pricing import ENTRY, RUNS, price_steps, steady
from edgevision.measure.modelled.trace import trace
from edgevision.modelled import ModelledCost
from edgevision.pipeline import Options, read, scheduled_for
from edgevision.program import Program
from edgevision.target import Target

INSTRUCTIONS_PER_S = 1e6
"""What even a busy machine emulates and counts; a quiet one does a hundred times as many."""


def cost(
    source: Any,
    target: str = "arm64",
    cpus: Sequence[str] = CPUS,
    options: Options | None = None,
    *,
    caches: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[ModelledCost, ...]:
    """One inference of ``source`` on one thread of each of ``cpus``, per fused operator. The same figures every time.

    ``caches`` simulates the data caches too, which takes longer.

    Raises:
        EdgevisionError: with the exit code of its kind; 2 for a target that is not 64-bit ARM or a core without a model.
    """
    options = options or Options()
    chosen = targets.load(target, cpu=options.cpu, features=options.features, cores=1)
    _check(chosen, cpus)
    progress("reading the model")
    model = read(source, options)
    progress("lowering and compiling")
    program = scheduled_for(lower(model), chosen, model, options, progress)
    steps = tuple(call.step for call in program.calls)
    with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
        executable = _link(program, chosen, Path(folder))
        progress("counting instructions under qemu")
        command = [str(executable), "--runs", str(RUNS - 1), "--warmup", "0", "--threads", "1"]
        phases = trace(
            command, toolchain.link_cost_plugin(), cpu=chosen.emulator_cpu, prefix=ENTRY, caches=caches,
            timeout_s=_patience_s(steps),
        ).phases  # fmt: skip
    one = steady(phases, [call.function for call in program.calls])
    progress("pricing them with llvm-mca")
    return tuple(
        ModelledCost(name=model.name, target=target, cpu=cpu, steps=price_steps(one, steps, cpu, caches=caches)) for cpu in cpus
    )


def _check(target: Target, cpus: Sequence[str]) -> None:
    if target.is_device:
        raise CpuOnlyError("`edgevision cost`", target.name, target.kind)
    if target.arch != "aarch64":
        raise InputError(f"only code for 64-bit ARM has a modelled cost; target {target.name} is {target.arch}: try arm64")
    unknown = [cpu for cpu in cpus if cpu not in CPUS]
    if unknown or not cpus:
        raise InputError(f"no model of {', '.join(unknown) or 'no core'}; there is one of {' and '.join(CPUS)}")


def _link(program: Program, target: Target, folder: Path) -> Path:
    """The bench executable with its symbols."""
    parts, executable = package.prepare(program, target, folder, name="network"), folder / "network-bench"
    sources = (*parts.sources, toolchain.NATIVE / "bench.c")
    toolchain.link_bench(target, objects=parts.objects, sources=sources, output=executable, symbols=True)
    return executable


def _patience_s(steps: Sequence[Step]) -> float:
    return 300.0 + RUNS * sum(step.macs for step in steps) / INSTRUCTIONS_PER_S
