"""Model: a network between two stages of the flow, and what each rewriting did to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from edgevision.tensor import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one rule did: how often it fired, and where it declined, with reasons ("node: reason")."""

    rule: str
    count: int
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An ONNX graph with static shapes.

    ``proto`` is a complete ModelProto (opset ``opset``, every initializer inside, every shape static and inferred into
    value_info). A stage that rewrites clones it first. ``original`` is what verification runs in onnxruntime: the bytes
    of the file as it was given, or its path when it has external data; ``original_inputs`` are the shapes to feed it.
    """

    name: str
    proto: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    sha256: str
    original: Path
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
