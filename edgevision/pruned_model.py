"""`compile --prune`: the network that is compiled is a pruned one, and so is what verification runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgevision import ingest
from edgevision.ingest import onnx_file
from edgevision.ingest.source import Rewrite
from edgevision.measure.reference import Reference
from edgevision.model import Change, Model
from edgevision.rewrite.prune import Pruned, prune
from edgevision.rewrite.prune.importance import Importance
from edgevision.rewrite.prune.pruning import ROUND_TO
from edgevision.rewrite.prune.select import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOptions:
    """``share`` of the ``measure`` ("keep", "macs", "params") stays; the rest as in `edgevision.prune`."""

    measure: str
    share: float
    importance: Importance | str = "l1"
    scope: Scope = "global"
    round_to: int = ROUND_TO


def pruned_model(model: Model, options: PruneOptions, rewrite: Rewrite | None) -> Model:
    """``model`` (as read, not rewritten) with fewer channels, then rewritten.

    Its ``original``, which verification runs, is the pruned network; its hash stays that of the given file, and its notes
    say what went and how far the outputs are from the given network's. Raises: what `prune` raises.
    """
    made = prune(
        model.proto, options.share, measure=options.measure, importance=options.importance, scope=options.scope,
        round_to=options.round_to, scales=scales_of(model),
    )  # fmt: skip
    plain = ingest.to_onnx(made.proto)
    again = ingest.read(plain, simplify=False, rewrite=rewrite)
    named = options.importance if isinstance(options.importance, str) else options.importance.__name__
    wanted = f"{options.measure}={options.share:g} by {named}"
    reasons = tuple(f"{each.count} channels stay: {each.reason}" for each in made.held)
    change = Change(rule=f"prune {wanted}", count=len(made.changed), refusals=reasons)
    return replace(
        again, name=model.name, opset=model.opset, sha256=model.sha256, changes=(*model.changes, change, *again.changes),
        notes=(*model.notes, *_notes(model, again, made, wanted)), provenance={**model.provenance, "pruned": wanted},
    )  # fmt: skip


def _notes(model: Model, narrow: Model, made: Pruned, wanted: str) -> tuple[str, str]:
    whole, cut = Reference.of(model), Reference.of(narrow)
    case = whole.cases(1)[0]
    distances = [
        float(np.abs(np.subtract(a, b, dtype=np.float64)).max() / max(np.abs(b).max(), 1e-300))
        for a, b in zip(cut.run(case.inputs), case.expected, strict=True)
        if np.issubdtype(b.dtype, np.floating)
    ]
    far = f"; on a random input its outputs differ from the given network's by {max(distances):.1%}" if distances else ""
    return (
        f"pruned ({wanted}): {len(made.changed)} of {len(made.widths)} layers are narrower, {made.achieved:.1%} of the "
        f"{made.unit} stay",
        f"verified against the pruned network{far} of their largest value" if far else "verified against the pruned network",
    )


def scales_of(model: Model) -> Mapping[str, Any]:
    """gamma of every BatchNormalization of the original file, by the tensor that it writes; names survive folding."""
    original = model.original
    proto = onnx_file.load(original).proto if isinstance(original, Path) else onnx.load_model_from_string(original)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    return {
        node.output[0]: numpy_helper.to_array(constants[node.input[1]])
        for node in proto.graph.node
        if node.op_type == "BatchNormalization" and node.input[1] in constants
    }
