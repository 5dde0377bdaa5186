"""What one version of a network brings to its library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """``sources`` are C, ``embedded`` files that the library holds under these names, in a scratch folder; ``api`` is the C
    interface that the sources implement (native/runtime.h), ``versions`` are those of tools that only these pieces needed.
    ``transformed_bytes`` are weights that are made on loading."""

    sources: tuple[Path, ...]
    api: str
    arena_bytes: int
    transformed_bytes: int = 0
    objects: tuple[Path, ...] = ()
    embedded: Mapping[str, Path] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
