"""Times networks on this machine, each as a ratio to one that stays: a `Timer` for latency pruning."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from hashlib import sha256
from math import prod
from pathlib import Path
from types import TracebackType

import onnx

from edgevision import cache, host, ingest
from edgevision import target as targets
from edgevision.artifact import Artifact
from edgevision.errors import InputError
from edgevision.link import package
from edgevision.lower.phases import lower
from edgevision.measure.cpuinfo import cpu_name
from edgevision.measure.interleaved import TURNS, Turns, duel
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import inputs_for
from edgevision.model import Model
from edgevision.pipeline import Options, read, scheduled_for
from edgevision.program import Call, Program
from edgevision.rewrite.prune.workloads import Timing, Workload
from edgevision.target import Target

SEED = 0
ANCHORS = ("conv", "depthwise", "matmul")
Steps = Sequence[tuple[str, float]]


class NoFigureError(InputError):
    """A target whose speed in milliseconds nothing here can tell."""

    def __init__(self, target: str, *, modelled: bool) -> None:
        self.target, self.modelled = target, modelled
        instead = (
            "There is a model of its cycles: give a share of the network's, --latency 60%"
            if modelled
            else "Only 64-bit ARM has a model of its cycles; prune by --macs"
        )
        super().__init__(
            f"target {target} has no latency in milliseconds here: this machine can only emulate it. {instead}, or run this "
            "command on such a device with --target native"
        )


class InterleavedTimer:
    """Compiles each network for a target that this machine is, and runs it in turn with the first one.

    milliseconds = the first one's, by its own run, times the median ratio of candidate and first one. Libraries live in
    a temporary folder until the timer is closed; times of workloads stay in the cache (`edgevision.cache`) for the next
    search on this machine with these versions. ``threads`` compute a run; 0 takes one a core.
    """

    how, unit = "measured", "ms"

    def __init__(
        self, model: Model, target: str, progress: Callable[[str], None] = lambda _: None, turns: Turns = TURNS,
        threads: int = 0,
    ) -> None:  # fmt: skip
        self._target = targets.load(target)
        if self._target.emulator:
            raise NoFigureError(target, modelled=self._target.arch == "aarch64")
        self._progress, self._turns, self._threads = progress, turns, threads
        self._inputs = inputs_for(model.inputs, SEED, 1)[0]
        self._folder = tempfile.TemporaryDirectory(prefix="edgevision-prune-")
        self._device = LocalDevice(threads=threads) if threads else LocalDevice()
        self._file = _cache_file(self._target, self._device.threads)
        self._first: tuple[bytes, Artifact, Timing] | None = None
        self._compiled = 0

    @property
    def known(self) -> Mapping[Workload, float]:
        return _load(self._file)

    def __enter__(self) -> InterleavedTimer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._folder.cleanup()

    def __call__(self, proto: onnx.ModelProto) -> Timing:
        digest = sha256(proto.SerializeToString(deterministic=True)).digest()
        if self._first is not None and self._first[0] == digest:
            return self._first[2]
        program, artifact = self._compile(proto)
        found = duel(self._first[1] if self._first else artifact, artifact, self._inputs, self._turns, self._device)
        ms = self._first[2].ms * found.ratio if self._first else (found.first_ms + found.second_ms) / 2
        self._progress(f"{self._target.name}: {ms:.3g} ms ({found.quiet} of {found.rounds} rounds without disturbance)")
        timing = _timing(ms, program, found.steps_ms[1])
        self._first = self._first or (digest, artifact, timing)
        _save(self._file, {**self.known, **timing.workloads})
        return timing

    def _compile(self, proto: onnx.ModelProto) -> tuple[Program, Artifact]:
        """The library that `edgevision compile` makes of the same network, to the byte: another name alone shifts
        sections, and with them times by one or two per cent."""
        self._compiled += 1
        self._progress(f"{self._target.name}: compiling network {self._compiled}")
        folder = Path(self._folder.name) / str(self._compiled)
        pieces, finished = folder / "pieces", folder / "artifact"
        for each in (pieces, finished):
            each.mkdir(parents=True)
        options = Options(threads=self._threads)
        model = read(ingest.to_onnx(proto), options)
        program = lower(model)
        scheduled = scheduled_for(program, self._target, model, options, self._progress)
        return program, package.link(scheduled, self._target, pieces, finished, name=model.name, bench=False)


def _timing(ms: float, program: Program, steps: Steps) -> Timing:
    """The steps scaled so that together they take ``ms``: their own clock readings cost time too."""
    workloads = {call.step.name: _workload(call) for call in program.calls}
    scale = ms / sum(each for _, each in steps)
    found: dict[Workload, list[float]] = {}
    for name, each in steps:
        workload = workloads.get(name)
        if workload is not None:
            found.setdefault(workload, []).append(each * scale)
    means = {workload: sum(times) / len(times) for workload, times in found.items()}
    return Timing(ms=ms, workloads=means, rest_ms=ms - sum(sum(times) for times in found.values()))


def _workload(call: Call) -> Workload | None:
    """What the call computes, channels last; None where it multiplies nothing."""
    anchors = [op for op in call.step.ops if op in ANCHORS]
    weights = [arg for arg in call.args if arg.kind == "weight"]
    if not anchors or not weights or not call.step.macs:
        return None
    x, y = call.args[0].shape, call.args[-1].shape
    pixels_out, taps = prod(y[:-1]), prod(weights[0].shape[:2]) if anchors[0] != "matmul" else 1
    alone = anchors[0] == "depthwise"
    into = 1 if alone else call.step.macs // (pixels_out * taps * y[-1])
    return Workload(pixels_in=prod(x[:-1]), pixels_out=pixels_out, taps=taps, into=into, out=y[-1], depthwise=alone)


def _cache_file(target: Target, threads: int) -> Path:
    """One file a CPU, target, number of threads and set of versions: workloads of other ones say nothing here."""
    key = json.dumps([cpu_name(host.cpuinfo()), repr(replace(target, name="", description="")), threads, package.versions()])
    return cache.directory() / "workloads" / f"{sha256(key.encode()).hexdigest()[:16]}.json"


def _load(path: Path) -> dict[Workload, float]:
    if not path.exists():
        return {}
    fields = Workload.__dataclass_fields__
    return {Workload(**dict(zip(fields, row, strict=True))): ms for *row, ms in json.loads(path.read_text())}


def _save(path: Path, known: Mapping[Workload, float]) -> None:
    """Written beside and renamed: two searches at once lose figures, not the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sorted([*astuple(workload), round(ms, 6)] for workload, ms in known.items())
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        json.dump(rows, file)
    Path(file.name).replace(path)
