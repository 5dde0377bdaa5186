"""reparameterize: a ModelProto in, a smaller one of the same function out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx

from edgevision.model import Change
from edgevision.rewrite.reparam.cost import CostModel
from edgevision.rewrite.reparam.emit import emit, is_unchanged
from edgevision.rewrite.reparam.network import Affine
from edgevision.rewrite.reparam.reading import read
from edgevision.rewrite.reparam.search import Declined, Search, refused, stand_apart

OLDEST_OPSET, NEWEST_OPSET = 9, 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What was rewritten into one tensor: the original nodes that went in."""

    output: str
    sources: tuple[str, ...]
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reparameterized:
    """``proto`` is the very object that was given where nothing changed."""

    proto: onnx.ModelProto
    regions: tuple[Region, ...]
    declined: tuple[Declined, ...]
    refusals: tuple[tuple[str, str], ...]
    before_us: float
    after_us: float

    @property
    def changed(self) -> bool:
        return bool(self.regions)

    @property
    def changes(self) -> tuple[Change, ...]:
        """For `Model.changes`."""
        said = [f"{name}: {reason}" for name, reason in self.refusals]
        said += [f"{', '.join(each.nodes)}: {each.reason}" for each in self.declined]
        return (Change(rule="reparameterize", count=len(self.regions), refusals=tuple(said)),)


def reparameterize(
    proto: onnx.ModelProto, *, cost: CostModel | None = None, excluded: Collection[str] = (), exact: bool = False
) -> Reparameterized:
    """Rewrite every region of linear operators in ``proto`` as the cheapest exact form that is found."""
    model = cost or CostModel()
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        reason = f"opset {opset} is none of {OLDEST_OPSET} to {NEWEST_OPSET}"
        return Reparameterized(proto=proto, regions=(), declined=(), refusals=(("the model", reason),), before_us=0.0,
                               after_us=0.0)  # fmt: skip
    reading = read(proto, opset, model)
    network = reading.network
    before = network.total_us()
    search = Search(network=network, model=model, excluded=excluded)
    search.run()
    declined = (*refused(network, search.declined), *stand_apart(network, model))
    regions = tuple(
        Region(output=node.output, sources=node.sources, reads=node.reads)
        for _, node in network.in_order()
        if isinstance(node, Affine) and not node.protos
    )
    unchanged = is_unchanged(network)
    return Reparameterized(
        proto=proto if unchanged else emit(proto, reading, opset, exact=exact).proto,
        regions=() if unchanged else regions,
        declined=declined,
        refusals=tuple(reading.refusals),
        before_us=before,
        after_us=network.total_us(),
    )
