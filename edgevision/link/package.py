"""Program -> artifact on disk: object code, driver and runtime linked into a .so and a static bench executable."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from edgevision import __version__
from edgevision.artifact import Artifact
from edgevision.link import codegen, cuda, driver, memory_plan, opencl, toolchain
from edgevision.link.toolchain import NATIVE
from edgevision.program import Program
from edgevision.target import Target

RUNTIME = ("session.c", "threads.c", "tvm_calls.c", "cpu.c")
PREPARE = {"opencl": opencl.prepare, "cuda": cuda.prepare}
VERSIONED = ("apache-tvm", "apache-tvm-ffi", "onnx", "ziglang", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """What linking needs, in a scratch folder."""

    objects: tuple[Path, ...]
    sources: tuple[Path, ...]
    arena_bytes: int
    weight_bytes: int
    workspace_bytes: int
    versions: Mapping[str, str] = field(default_factory=dict)


def prepare(program: Program, target: Target, folder: Path, *, name: str, prefix: str = "") -> Pieces:
    """Compile the kernels and write the driver and the weights into ``folder``."""
    if target.is_device:
        made = PREPARE[target.kind](program, target, folder, name=name, prefix=prefix)
        return Pieces(
            objects=(), sources=made.sources, arena_bytes=made.arena_bytes, weight_bytes=made.weight_bytes, workspace_bytes=0,
            versions=made.versions,
        )  # fmt: skip
    code = folder / "kernels.o"
    codegen.compile_object(program, target, code)
    weights = driver.pack_weights(program.weights)
    memory = memory_plan.plan(memory_plan.lifetimes(program))
    workspace = codegen.workspace_bytes(program)
    blob, assembler, source = folder / "weights.bin", folder / "weights.s", folder / "driver.c"
    blob.write_bytes(weights.blob)
    assembler.write_text(driver.embedded_source(ev_weights=blob))
    source.write_text(
        driver.driver_source(program, target, memory, weights, name=name, prefix=prefix, workspace_bytes=workspace)
    )
    return Pieces(
        objects=(code,), sources=(source, assembler, *(NATIVE / f for f in RUNTIME)), arena_bytes=memory.arena_bytes,
        weight_bytes=len(weights.blob), workspace_bytes=workspace,
    )  # fmt: skip


def link(
    program: Program, target: Target, scratch: Path, folder: Path, *, name: str, prefix: str = "", bench: bool = True
) -> Artifact:
    """Write ``name``.so, the header and, unless told not to, ``name``-bench into ``folder``; ``scratch`` keeps the
    pieces.

    The manifest and the rewritten model are named in the artifact and written by the caller.

    Raises:
        ToolchainError: zig is missing or failed.
        GateError: the library needs or exports what it must not.
    """
    pieces = prepare(program, target, scratch, name=name, prefix=prefix)
    library, executable = folder / f"{name}.so", folder / f"{name}-bench"
    exported = ("ev_get_api", *((f"{prefix}_get_api",) if prefix else ()))
    toolchain.link_library(
        target, objects=pieces.objects, sources=pieces.sources, output=library, exported=exported,
        soname=f"{name}.so",
    )  # fmt: skip
    if bench:
        sources = (*pieces.sources, NATIVE / "bench.c")
        toolchain.link_bench(target, objects=pieces.objects, sources=sources, output=executable)
    header = folder / "edgevision.h"
    shutil.copyfile(NATIVE / "edgevision.h", header)
    return Artifact(
        path=library, header=header, bench=executable, model=folder / f"{name}.onnx", manifest=folder / f"{name}.json",
        target=target.name, inputs=program.inputs, outputs=program.outputs, sha256=sha256(library),
        model_sha256=program.model_sha256, weight_bytes=pieces.weight_bytes, arena_bytes=pieces.arena_bytes,
        file_bytes=library.stat().st_size, versions={**versions(), **pieces.versions}, steps=tuple(c.step for c in program.calls),
    )  # fmt: skip


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """What the artifact was made with."""
    return {"edgevision": __version__, **{p: version(p) for p in VERSIONED}}
