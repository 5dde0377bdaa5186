"""Program -> artifact on disk: object code, driver and runtime linked into a .so and a static bench executable."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgevision import __version__
from edgevision.artifact import Artifact, CpuVersion
from edgevision.link import cpu, cuda, driver, launch_plan, memory_plan, opencl, toolchain
from edgevision.link.pieces import Pieces
from edgevision.link.toolchain import NATIVE
from edgevision.link.weights import pack_versions, stored
from edgevision.program import Program
from edgevision.target import Target

DEVICE_CODE = {"opencl": opencl.device_code, "cuda": cuda.device_code}
VERSIONED = ("apache-tvm", "apache-tvm-ffi", "onnx", "ziglang", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A scheduled program and what it was scheduled for."""

    program: Program
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is linked into one library, in a scratch folder; of each version of the network its arena, and the weights that no
    version before it reads."""

    objects: tuple[Path, ...]
    sources: tuple[Path, ...]
    arena_bytes: tuple[int, ...]
    transformed_bytes: tuple[int, ...]
    weight_bytes: tuple[int, ...]
    versions: Mapping[str, str]


def prepare(
    program: Program, target: Target, folder: Path, *, name: str, prefix: str = "", fallback: Version | None = None
) -> Parts:  # fmt: skip
    """Compile the kernels and write the driver and the weights into ``folder``; with ``fallback``, a CPU's version, beside those of
    a device."""
    programs = [program, *([fallback.program] if fallback else [])]
    alignment = launch_plan.ALIGNMENT_BYTES if target.is_device else memory_plan.ALIGNMENT_BYTES
    weights = pack_versions([stored(each) for each in programs], alignment)
    if target.is_device:
        code, steps = DEVICE_CODE[target.kind](program, target, folder), max(len(each.calls) for each in programs)
        made = [launch_plan.prepare(program, target, code, weights[0], folder, name=name, steps=steps)]
    else:
        made = [cpu.prepare(program, target, weights[0], folder, name=name)]
    if fallback:
        made.append(cpu.prepare(fallback.program, fallback.target, weights[1], folder, name=name))
    return Parts(
        objects=tuple(path for each in made for path in each.objects),
        sources=(*_shared(made, weights[0].blob, folder, prefix), *(path for each in made for path in each.sources)),
        arena_bytes=tuple(each.arena_bytes for each in made),
        transformed_bytes=tuple(each.transformed_bytes for each in made),
        weight_bytes=tuple(each.end - start for each, start in zip(weights, (0, weights[0].end), strict=False)),
        versions={name: number for each in made for name, number in each.versions.items()},
    )


def _shared(versions: Sequence[Pieces], blob: bytes, folder: Path, prefix: str) -> tuple[Path, ...]:
    """The weights, what else the versions embed, and the entry: it leads to the only version, or to both."""
    constants, embedded, entry = folder / "weights.bin", folder / "embedded.s", folder / "entry.c"
    constants.write_bytes(blob)
    files = {name: path for each in versions for name, path in each.embedded.items()}
    embedded.write_text(driver.embedded_source(ev_weights=constants, **files))
    both = len(versions) > 1
    entry.write_text(driver.entry_source("ev_fallback_api" if both else versions[0].api, prefix))
    return entry, embedded, NATIVE / "entry.c", *((NATIVE / "fallback.c",) if both else ())


def link(
    program: Program, target: Target, scratch: Path, folder: Path, *, name: str, prefix: str = "", bench: bool = True,
    fallback: Version | None = None,
) -> Artifact:  # fmt: skip
    """Write ``name``.so, the header and, unless told not to, ``name``-bench into ``folder``; ``scratch`` keeps the
    pieces. ``fallback`` as for `prepare`.

    The manifest and the rewritten model are named in the artifact and written by the caller.

    Raises:
        ToolchainError: zig is missing or failed.
        GateError: the library needs or exports what it must not.
    """
    parts = prepare(program, target, scratch, name=name, prefix=prefix, fallback=fallback)
    library, executable = folder / f"{name}.so", folder / f"{name}-bench"
    exported = ("ev_get_api", *((f"{prefix}_get_api",) if prefix else ()))
    toolchain.link_library(
        target, objects=parts.objects, sources=parts.sources, output=library, exported=exported,
        soname=f"{name}.so",
    )  # fmt: skip
    if bench:
        sources = (*parts.sources, NATIVE / "bench.c")
        toolchain.link_bench(target, objects=parts.objects, sources=sources, output=executable)
    header = folder / "edgevision.h"
    shutil.copyfile(NATIVE / "edgevision.h", header)
    return Artifact(
        path=library, header=header, bench=executable, model=folder / f"{name}.onnx", manifest=folder / f"{name}.json",
        target=target.name, inputs=program.inputs, outputs=program.outputs, sha256=sha256(library),
        model_sha256=program.model_sha256, weight_bytes=sum(parts.weight_bytes), arena_bytes=parts.arena_bytes[0],
        transformed_bytes=parts.transformed_bytes[0],
        file_bytes=library.stat().st_size, versions={**versions(), **parts.versions}, steps=tuple(c.step for c in program.calls),
        processor="gpu" if target.is_device else "cpu",
        fallback=_cpu_version(fallback, parts) if fallback else None, dtype=program.dtype,
    )  # fmt: skip


def _cpu_version(version: Version, parts: Parts) -> CpuVersion:
    return CpuVersion(
        target=version.target.name, weight_bytes=parts.weight_bytes[1], arena_bytes=parts.arena_bytes[1],
        transformed_bytes=parts.transformed_bytes[1],
        steps=tuple(call.step for call in version.program.calls),
    )  # fmt: skip


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """What the artifact was made with."""
    return {"edgevision": __version__, **{p: version(p) for p in VERSIONED}}
