"""Program -> the pieces of an artifact for a CPU: object code and the driver."""

from __future__ import annotations

from pathlib import Path

from edgevision.link import codegen, driver, memory_plan
from edgevision.link.pieces import Pieces
from edgevision.link.toolchain import NATIVE
from edgevision.link.weights import Weights, unpacked
from edgevision.program import Program
from edgevision.target import Target

RUNTIME = ("session.c", "filters.c", "threads.c", "tvm_calls.c", "cpu.c")


def prepare(program: Program, target: Target, weights: Weights, folder: Path, *, name: str) -> Pieces:
    """Compile the kernels and write the driver into ``folder``."""
    code, source = folder / "kernels.o", folder / "driver.c"
    codegen.compile_object(program, target, code)
    memory = memory_plan.plan(memory_plan.lifetimes(program))
    workspace = codegen.workspace_bytes(program)
    source.write_text(driver.driver_source(program, target, memory, weights, name=name, workspace_bytes=workspace))
    return Pieces(
        objects=(code,), sources=(source, *(NATIVE / f for f in RUNTIME)), api="ev_cpu_api", arena_bytes=memory.arena_bytes,
        transformed_bytes=unpacked(program).nbytes,
    )  # fmt: skip
