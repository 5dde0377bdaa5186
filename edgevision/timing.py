"""Times networks on this machine, each as a ratio to one that stays: a `Timer` for latency pruning."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import TracebackType

import onnx

from edgevision import ingest
from edgevision import target as targets
from edgevision.artifact import Artifact
from edgevision.errors import InputError
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import inputs_for
from edgevision.model import Model
from edgevision.pipeline import Options, compile_model

ROUNDS = 3
"""Pairs of runs of the first network and a candidate: what else the machine does falls on both."""
SEED = 0


class NoFigureError(InputError):
    """A target whose speed nothing here can tell."""

    def __init__(self, target: str) -> None:
        self.target = target
        super().__init__(
            f"target {target} has no latency here: this machine can only emulate it, which says nothing about time. "
            "Prune with --target native, or by --macs"
        )


class InterleavedTimer:
    """Compiles each network for a target that this machine is, and runs it in turn with the first one.

    milliseconds = the first one's median * median over rounds of (candidate's median / first one's median). Artifacts
    live in a temporary folder until the timer is closed.
    """

    def __init__(self, model: Model, target: str, progress: Callable[[str], None] = lambda _: None) -> None:
        if targets.load(target).emulator:
            raise NoFigureError(target)
        self._target, self._progress = target, progress
        self._inputs = inputs_for(model.inputs, SEED, 1)[0]
        self._folder = tempfile.TemporaryDirectory(prefix="edgevision-prune-")
        self._device = LocalDevice()
        self._first: Artifact | None = None
        self._first_ms = 0.0
        self._compiled = 0

    def __enter__(self) -> InterleavedTimer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._folder.cleanup()

    def __call__(self, proto: onnx.ModelProto) -> float:
        artifact = self._compile(proto)
        if self._first is None:
            self._first = artifact
            self._first_ms = self._median_ms(artifact)
            return self._first_ms
        ratios = []
        for _ in range(ROUNDS):
            first_ms = self._median_ms(self._first)
            ratios.append(self._median_ms(artifact) / first_ms)
        return self._first_ms * median(ratios)

    def _compile(self, proto: onnx.ModelProto) -> Artifact:
        self._compiled += 1
        self._progress(f"{self._target}: timing network {self._compiled}")
        folder = Path(self._folder.name) / str(self._compiled)
        folder.mkdir()
        options = Options(output=folder, verify=False, measure=False)
        return compile_model(ingest.to_onnx(proto), [self._target], options).outcomes[0].artifact

    def _median_ms(self, artifact: Artifact) -> float:
        return self._device.time(artifact, self._inputs).median_ms
