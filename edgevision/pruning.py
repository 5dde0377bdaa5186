"""Prune a model from its file to a file: read -> prune -> write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx

from edgevision import ingest
from edgevision.counting import Counts, count
from edgevision.errors import InputError, ToolchainError
from edgevision.measure.evaluate import Preprocessing
from edgevision.measure.labelled import open_splits
from edgevision.model import Model
from edgevision.pruned_model import scales_of
from edgevision.rewrite.prune import Importance, Pruned
from edgevision.rewrite.prune import prune as prune_proto
from edgevision.rewrite.prune.importance import randomly
from edgevision.rewrite.prune.ladder import LEAST_KEPT
from edgevision.rewrite.prune.latency import Timed, prune_to_latency
from edgevision.rewrite.prune.lossless import DeadChannels, Ranges, prune_lossless
from edgevision.rewrite.prune.pruning import ROUND_TO, Plan, check_share, planned
from edgevision.rewrite.prune.select import Scope
from edgevision.zoo.saving import check_output, save

LATENCIES = ("latency", "latency %")
TAYLOR = "taylor"
TAYLOR_IMAGES, TAYLOR_BATCH = 512, 32
"""A few batches, of all classes in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What `prune` made of ``model``. ``before`` and ``after`` are counted on the two graphs, not predicted.

    ``dead`` is None unless channels were removed without loss, ``timed`` unless to a latency. ``skipped``: images that
    importance "taylor" could not read, "path: reason".
    """

    model: Model
    pruned: Pruned
    before: Counts
    after: Counts
    dead: DeadChannels | None = None
    timed: Timed | None = None
    skipped: tuple[str, ...] = ()

    def to_onnx(self) -> onnx.ModelProto:
        """The pruned network as plain ONNX, opset 23, static shapes."""
        return ingest.to_onnx(self.pruned.proto)


def prune(
    source: Any, output: Path | str | None = None, *, keep: float | None = None, macs: float | None = None,
    params: float | None = None, latency_ms: float | None = None, latency_share: float | None = None,
    target: str = "native", lossless: bool = False,
    importance: Importance | str = "l1", scope: Scope = "global", round_to: int = ROUND_TO,
    least_kept: float = LEAST_KEPT, freeze: Sequence[str] = (),
    input_shapes: Mapping[str, tuple[int, ...]] | None = None, input_range: tuple[float, float] | None = None,
    seed: int = 0, data: Path | str | None = None, preprocessing: Preprocessing | None = None,
    progress: Callable[[str], None] = lambda _: None, threads: int = 0, priority: int = 0,
) -> Pruning:  # fmt: skip
    """Remove channels of ``source`` (.onnx, .pt2, zoo:NAME, ModelProto), and write ``output`` where one is named.

    Give one of ``keep`` (share of the channels that may go), ``macs``, ``params`` (shares of the network's),
    ``latency_ms`` (measured on ``target``, which this machine must be), ``latency_share`` (of the network's own time there;
    on other 64-bit ARM targets of its modelled cycles) and ``lossless`` (only channels that are constant for every input:
    the same function). ``input_range``: the least and
    the largest value of any input, which tells ``lossless`` more. ``seed`` is that of importance "random".
    ``data``: labelled images for importance "taylor", ``preprocessing``: what the network takes of them.
    ``threads`` compute a run of what ``latency_ms`` times (0: one a core), with ``priority`` -20 to 19; below 0 needs root.

    Raises: EdgevisionError, exit code 2 for what was asked, 3 for what the file holds. Nothing is written then.
    """
    what, much = _asked(
        {"keep": keep, "macs": macs, "params": params, "latency": latency_ms, "latency %": latency_share,
         "lossless": 1.0 if lossless else None}
    )  # fmt: skip
    if output is not None:
        check_output(Path(output))
    model = ingest.read(source, input_shapes=input_shapes)
    scorer, skipped = _scorer(model, importance, seed, data, preprocessing)
    how: dict[str, Any] = {"importance": scorer, "scope": scope, "round_to": round_to, "frozen": freeze,
                           "least_kept": least_kept, "scales": scales_of(model)}  # fmt: skip
    dead: DeadChannels | None = None
    timed: Timed | None = None
    if what == "lossless":
        ranges: Ranges = {} if input_range is None else dict.fromkeys((spec.name for spec in model.inputs), input_range)
        pruned, dead = prune_lossless(model.proto, ranges, round_to=round_to, frozen=freeze)
    elif what in LATENCIES:
        budget = (latency_ms, latency_share)
        timed = _to_latency(model, planned(model.proto, **how), budget, target, progress, threads, priority)
        pruned = timed.pruned
    else:
        pruned = prune_proto(model.proto, much, measure=what, **how)
    counts = {"before": count(model.proto), "after": count(pruned.proto)}
    result = Pruning(model=model, pruned=pruned, dead=dead, timed=timed, skipped=skipped, **counts)
    if output is not None:
        save(result.to_onnx(), Path(output))
    return result


def _asked(ways: Mapping[str, float | None]) -> tuple[str, float]:
    """The one way to say how much that was given. Raises: ConflictError; InputError, for a share outside (0, 1)."""
    given = {name: value for name, value in ways.items() if value is not None}
    if len(given) != 1:
        raise ConflictError(list(given))
    ((what, much),) = given.items()
    if what == "latency" and much <= 0:
        raise InputError(f"--latency {much:g}ms: give a positive time, for instance 12ms, or a share: 60%")
    if what not in ("latency", "lossless"):
        check_share(much, f"--{what}")
    return what, much


def _scorer(
    model: Model, importance: Importance | str, seed: int, data: Path | str | None, preprocessing: Preprocessing | None
) -> tuple[Importance | str, tuple[str, ...]]:
    """The importance, and the images that it could not read."""
    if (importance == TAYLOR) != (data is not None):
        raise InputError(
            "importance taylor is what the loss does on images: give them with --data DIR, in a folder a class"
            if data is None
            else f"--data is for --importance {TAYLOR}; no other importance reads images"
        )
    if importance == "random":
        return randomly(seed), ()
    return (importance, ()) if data is None else _taylor(model, Path(data), preprocessing)


def _taylor(model: Model, data: Path, preprocessing: Preprocessing | None) -> tuple[Importance, tuple[str, ...]]:
    """torch is imported here: other importances need none."""
    if find_spec("torch") is None:
        raise MissingTorchError
    from edgevision.rewrite.prune.finetune.taylor import taylor
    from edgevision.rewrite.prune.finetune.torch_network import TorchNetwork

    network = TorchNetwork(model.proto)
    splits = open_splits(data, model.inputs[0], preprocessing, TAYLOR_IMAGES)
    splits.check_scores(network.classes)
    return taylor(network, splits.train.batches(TAYLOR_BATCH)), splits.skipped


class MissingTorchError(ToolchainError):
    """Gradients need torch."""

    def __init__(self) -> None:
        super().__init__(
            "importance taylor needs torch, which is not installed; pip install 'edgevision[torch]', or choose l1"
        )


class ConflictError(InputError):
    """None or several of the ways to say how much to prune."""

    def __init__(self, given: Sequence[str]) -> None:
        self.given = tuple(given)
        said = " and ".join(f"--{each}" for each in given) or "none"
        super().__init__(f"give one of --keep, --macs, --params, --latency and --lossless; {said} was given")


def _to_latency(
    model: Model, plan: Plan, budget: tuple[float | None, float | None], target: str, progress: Callable[[str], None],
    threads: int, priority: int,
) -> Timed:  # fmt: skip
    """``budget``: milliseconds, or a share. The compiler is imported here: other ways to prune need none."""
    from edgevision import target as targets
    from edgevision.cycles import CycleTimer
    from edgevision.measure.interleaved import Turns
    from edgevision.timing import InterleavedTimer

    budget_ms, share = budget
    there = targets.load(target)
    if share is not None and there.emulator and there.arch == "aarch64":
        timer = CycleTimer(target, progress)
        return prune_to_latency(plan, share * timer(plan.network.proto).ms, timer)
    with InterleavedTimer(model, target, progress, Turns(nice=priority), threads) as clock:
        return prune_to_latency(plan, budget_ms or (share or 1) * clock(plan.network.proto).ms, clock)
