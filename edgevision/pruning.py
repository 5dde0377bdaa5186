"""Prune a model from its file to a file: read -> prune -> write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from edgevision import ingest
from edgevision.counting import Counts, count
from edgevision.errors import InputError
from edgevision.ingest import onnx_file
from edgevision.model import Model
from edgevision.rewrite.prune import Importance, Pruned
from edgevision.rewrite.prune import prune as prune_proto
from edgevision.rewrite.prune.importance import randomly
from edgevision.rewrite.prune.ladder import LEAST_KEPT
from edgevision.rewrite.prune.lossless import DeadChannels, Ranges, prune_lossless
from edgevision.rewrite.prune.pruning import ROUND_TO, check_share
from edgevision.rewrite.prune.select import Scope
from edgevision.zoo.saving import check_output, save


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What `prune` made of ``model``. ``before`` and ``after`` are counted on the two graphs, not predicted.

    ``dead`` is None unless channels were removed without loss.
    """

    model: Model
    pruned: Pruned
    before: Counts
    after: Counts
    dead: DeadChannels | None = None

    def to_onnx(self) -> onnx.ModelProto:
        """The pruned network as plain ONNX, opset 23, static shapes."""
        return ingest.to_onnx(self.pruned.proto)


def prune(
    source: Any, output: Path | str | None = None, *, keep: float | None = None, macs: float | None = None,
    params: float | None = None, lossless: bool = False, importance: Importance | str = "l1",
    scope: Scope = "global", round_to: int = ROUND_TO, least_kept: float = LEAST_KEPT, freeze: Sequence[str] = (),
    input_shapes: Mapping[str, tuple[int, ...]] | None = None, input_range: tuple[float, float] | None = None,
    seed: int = 0,
) -> Pruning:  # fmt: skip
    """Remove channels of ``source`` (.onnx, .pt2, zoo:NAME, ModelProto), and write ``output`` where one is named.

    Give one of ``keep`` (share of the channels that may go), ``macs``, ``params`` (shares of the network's) and
    ``lossless`` (only channels that are constant for every input: the same function). ``input_range``: the least and
    the largest value of any input, which tells ``lossless`` more. ``seed`` is that of importance "random".

    Raises: EdgevisionError, exit code 2 for what was asked, 3 for what the file holds. Nothing is written then.
    """
    asked = {name: share for name, share in (("keep", keep), ("macs", macs), ("params", params)) if share is not None}
    if len(asked) + lossless != 1:
        raise ConflictError(tuple(asked), lossless=lossless)
    for name, share in asked.items():
        check_share(share, f"--{name}")
    if output is not None:
        check_output(Path(output))
    model = ingest.read(source, input_shapes=input_shapes)
    dead: DeadChannels | None = None
    if lossless:
        ranges: Ranges = {} if input_range is None else dict.fromkeys((spec.name for spec in model.inputs), input_range)
        pruned, dead = prune_lossless(model.proto, ranges, round_to=round_to, frozen=freeze)
    else:
        ((measure, share),) = asked.items()
        pruned = prune_proto(
            model.proto, share, measure=measure, importance=_seeded(importance, seed), scope=scope, round_to=round_to,
            frozen=freeze, least_kept=least_kept, scales=_scales(model),
        )  # fmt: skip
    result = Pruning(model=model, pruned=pruned, before=count(model.proto), after=count(pruned.proto), dead=dead)
    if output is not None:
        save(result.to_onnx(), Path(output))
    return result


def _seeded(importance: Importance | str, seed: int) -> Importance | str:
    return randomly(seed) if importance == "random" else importance


def _scales(model: Model) -> dict[str, Any]:
    """gamma of every BatchNormalization of the original file, by the tensor that it writes; names survive folding."""
    original = model.original
    proto = onnx_file.load(original).proto if isinstance(original, Path) else onnx.load_model_from_string(original)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    return {
        node.output[0]: numpy_helper.to_array(constants[node.input[1]])
        for node in proto.graph.node
        if node.op_type == "BatchNormalization" and node.input[1] in constants
    }


class ConflictError(InputError):
    """None or several of the ways to say how much to prune."""

    def __init__(self, given: Sequence[str], *, lossless: bool) -> None:
        self.given, self.lossless = tuple(given), lossless
        said = " and ".join([*(f"--{each}" for each in given), *(["--lossless"] if lossless else [])]) or "none"
        super().__init__(f"give one of --keep, --macs, --params and --lossless; {said} was given")
