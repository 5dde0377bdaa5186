"""Model: a network between two stages of the flow, and what each rewriting did to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgevision.tensor import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one rule did: how often it fired, and where it declined, with reasons ("node: reason")."""

    rule: str
    count: int
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Preprocessing that was folded into the network: y = (x - mean) / std per channel.

    ``mean`` and ``std`` hold one value a channel, in units of the pixel as it arrives (0 to 255 for uint8).
    ``input`` is the graph input's name, ``layout`` ("NCHW" or "NHWC") and ``dtype`` what the artifact takes there,
    ``original_layout`` what the original network takes.
    """

    input: str
    layout: str
    dtype: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    original_layout: str = "NCHW"

    def to_original(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """What the original network takes for these pixels, in float32.

        One subtraction and one division an element, exactly as the folded network does them.
        """
        image = pixels.astype(np.float32)
        if self.layout != self.original_layout:
            image = image.transpose((0, 3, 1, 2) if self.layout == "NHWC" else (0, 2, 3, 1))
        column = (-1, 1, 1) if self.original_layout == "NCHW" else (-1,)
        mean, std = (np.asarray(values, np.float32).reshape(column) for values in (self.mean, self.std))
        return np.ascontiguousarray((image - mean) / std)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An ONNX graph with static shapes.

    ``proto`` is in the normal form that `edgevision.ingest` documents: every initializer inside, every shape static and
    inferred into value_info. A stage that rewrites clones it first. ``opset`` and ``sha256`` are the original file's
    (the hash covers its external data). ``original`` is what verification runs in onnxruntime: the path of the file as
    it was given, or a serialised ModelProto when there was no file; ``original_inputs`` is what to feed it, which
    differs from ``inputs`` when a ``camera`` was folded in.
    """

    name: str
    proto: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    sha256: str
    original: Path | bytes
    original_inputs: tuple[TensorSpec, ...] = ()
    camera: Camera | None = None
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
