"""What every runtime is given: one network with its input and the outputs it should have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Run = Callable[[Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A folder with the network as ONNX and as a torch.export program, one float32 input and onnxruntime's output."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def onnx(self) -> Path:
        return self.folder / "network.onnx"

    @property
    def program(self) -> Path:
        return self.folder / "network.pt2"

    def input(self) -> Array:
        return np.asarray(np.load(self.folder / "input.npy"))

    def reference(self) -> Array:
        return np.asarray(np.load(self.folder / "reference.npy"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A way to run a network, with the settings of its file.

    ``source``: "module:NAME" of this record, for the process that loads it.
    ``packages``: distributions to install in the peers' environment; none where the caller's own environment is used.
    ``convert`` writes to an empty folder what the runtime loads and a user must ship. ``load`` opens it for a number of
    threads and returns what computes one output from one input; it imports the runtime, so that a cold start shows it.
    ``per_threads``: the conversion is for the number of cores that it runs on, so each number has its own.
    """

    name: str
    source: str
    packages: tuple[str, ...]
    convert: Callable[[Case, Path], None]
    load: Callable[[Case, Path, int], Run]
    per_threads: bool = False

    @property
    def ours(self) -> bool:
        return not self.packages


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A runtime with the Python that it is installed for and the folder of its converted network."""

    runtime: Runtime
    python: Path
    folder: Path


def exported_program(case: Case) -> Any:
    """The torch.export program of ``case``."""
    import torch

    return torch.export.load(case.program)
