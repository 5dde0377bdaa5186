"""Artifact: what a compile leaves on disk, described by its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgevision.tensor import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fused operator as the artifact runs it: ``ops`` went into it, ``macs`` are counted as in `counting`."""

    name: str
    ops: tuple[str, ...]
    macs: int
    schedule: str  # "template:<name>", "default:<name>", "tuned", "fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuVersion:
    """The CPU's version of the network in the artifact of a GPU. ``weight_bytes`` are those that only it reads."""

    target: str
    weight_bytes: int
    arena_bytes: int
    steps: tuple[Step, ...]
    transformed_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A linked artifact. Sizes in bytes; ``path`` is the .so, the other files lie beside it. ``processor``, "cpu" or "gpu", runs
    ``steps``; ``weight_bytes`` are those of ``fallback`` too; ``transformed_bytes`` are made of some of them when the
    library is loaded, once a process. ``dtype`` is what the network's float32 weights and activations are stored in."""

    path: Path
    header: Path
    bench: Path
    model: Path
    manifest: Path
    target: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sha256: str
    model_sha256: str
    weight_bytes: int
    arena_bytes: int
    file_bytes: int
    versions: Mapping[str, str]
    steps: tuple[Step, ...]
    dtype: str = "float32"
    processor: str = "cpu"
    fallback: CpuVersion | None = None
    transformed_bytes: int = 0

    def steps_on(self, processor: str) -> tuple[Step, ...]:
        """What runs on "cpu" or "gpu"."""
        return self.fallback.steps if self.fallback and processor == "cpu" else self.steps
