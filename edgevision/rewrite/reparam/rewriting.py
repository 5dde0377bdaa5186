"""reparameterize: a ModelProto in, a cheaper one of the same function out, with the proof."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from edgevision.model import Change
from edgevision.rewrite.reparam.certificate import Certificate, certify
from edgevision.rewrite.reparam.cost import CostModel
from edgevision.rewrite.reparam.emit import Emitted, emit, is_unchanged, kernel_range
from edgevision.rewrite.reparam.feeds import check_feed, random_feeds
from edgevision.rewrite.reparam.interpreter import Array
from edgevision.rewrite.reparam.network import Affine, Network, Wire
from edgevision.rewrite.reparam.reading import Reading, label, read
from edgevision.rewrite.reparam.search import Declined, Search, refused

OLDEST_OPSET, NEWEST_OPSET = 9, 23
ATTEMPTS = 8  # times that regions which do not agree are taken back before all are

Feeds = Sequence[Mapping[str, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What was rewritten into one tensor of the original graph: the nodes that went in, and what it reads now."""

    output: str
    sources: tuple[str, ...]
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reparameterized:
    """``proto`` is the very object that was given where nothing changed.

    ``certificate`` is None then, and where none was asked for. ``declined`` are merges that do not pay or have no exact
    form; ``refusals`` are operators that were not read as linear ones, (node, reason). Times are modelled microseconds.
    """

    proto: onnx.ModelProto
    changed: bool = False
    regions: tuple[Region, ...] = ()
    declined: tuple[Declined, ...] = ()
    refusals: tuple[tuple[str, str], ...] = ()
    before_us: float = 0.0
    after_us: float = 0.0
    certificate: Certificate | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """For `Model.changes`."""
        said = [f"{name}: {reason}" for name, reason in self.refusals]
        said += [f"{', '.join(each.nodes)}: {each.reason}" for each in self.declined]
        return (Change(rule="reparameterize", count=len(self.regions), refusals=tuple(said)),)


def reparameterize(
    proto: onnx.ModelProto,
    *,
    cost: CostModel | None = None,
    prove: bool = True,
    feeds: Feeds = (),
    random_inputs: int = 1,
    seed: int = 0,
) -> Reparameterized:
    """Rewrite every maximal region of linear, shift-invariant operators as the cheapest exact form that is found.

    Names of inputs and outputs, open axes, opset and metadata stay; ``proto`` is not modified. With ``prove`` the
    result is evaluated beside the original in float64 and float32, on ``feeds`` and on ``random_inputs`` others from
    ``seed``, as large as the first of those; a region that does not agree is taken back. Opsets 9 to 23; any other
    model comes back as it is, with the reason.

    Raises:
        InputError: one of ``feeds`` does not fit, or the original itself cannot be evaluated.
    """
    model = cost or CostModel()
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        reason = f"opset {opset} is none of {OLDEST_OPSET} to {NEWEST_OPSET}"
        return Reparameterized(proto=proto, refusals=(("the model", reason),))
    if not prove:
        return _rewrite(proto, opset, model, ())[0]
    for feed in feeds:
        check_feed(proto, feed)
    tried = [*feeds, *random_feeds(proto, seed, random_inputs, feeds[0] if feeds else None)]
    return _prove(proto, opset, model, tried, given=len(feeds), seed=seed)


def _rewrite(
    proto: onnx.ModelProto, opset: int, model: CostModel, excluded: Collection[str]
) -> tuple[Reparameterized, Reading]:
    reading = read(proto, opset, model)
    network = reading.network
    before = network.total_us()
    search = Search(network=network, model=model, excluded=frozenset(excluded))
    search.run()
    unchanged = is_unchanged(network)
    result = Reparameterized(
        proto=proto if unchanged else emit(proto, reading, opset).proto,
        changed=not unchanged,
        regions=() if unchanged else _regions(proto, network),
        declined=tuple(refused(search)),
        refusals=tuple(reading.refusals),
        before_us=before,
        after_us=network.total_us(),
    )
    return result, reading


def _regions(proto: onnx.ModelProto, network: Network) -> tuple[Region, ...]:
    originals = {name for node in proto.graph.node for name in node.output}
    found = []
    for _, node in network.in_order():
        sources: tuple[str, ...] = ()
        if isinstance(node, Affine) and not node.protos:
            sources = node.sources
        elif isinstance(node, Wire) and node.moved:
            sources = tuple(label(each) for each in node.protos)
        if sources and node.writes[0] in originals:
            found.append(Region(output=node.writes[0], sources=sources, reads=node.reads))
    return tuple(found)


# --- the proof -------------------------------------------------------------------------------------------------------


def _prove(
    proto: onnx.ModelProto, opset: int, model: CostModel, feeds: Feeds, *, given: int, seed: int
) -> Reparameterized:
    """Rewrite and compare, without the regions that turned out not to agree, until all that is left does."""
    undone: list[str] = []
    for _ in range(ATTEMPTS):
        result, certificate = _compared(proto, opset, model, undone, feeds)
        if certificate is None or (certificate.holds and not certificate.offending):
            break
        undone += certificate.offending or _bisected(proto, opset, model, undone, feeds, result)
    else:
        everything = [name for node in proto.graph.node for name in node.output]
        result, certificate = _compared(proto, opset, model, everything, feeds)
    if certificate is not None:
        certificate = replace(certificate, given=given, seed=seed, undone=tuple(undone))
    elif undone:
        certificate = Certificate(regions=(), error64=0.0, error32=0.0, original_error32=0.0, inputs=len(feeds),
                                  given=given, seed=seed, undone=tuple(undone))  # fmt: skip
    return replace(result, certificate=certificate)


def _compared(
    proto: onnx.ModelProto, opset: int, model: CostModel, excluded: Collection[str], feeds: Feeds
) -> tuple[Reparameterized, Certificate | None]:
    result, reading = _rewrite(proto, opset, model, excluded)
    if not result.changed:
        return result, None
    exact = emit(proto, reading, opset, exact=True)
    return result, certify(proto, exact.proto, result.proto, _growths(proto, exact, result.regions), feeds)


def _bisected(
    proto: onnx.ModelProto, opset: int, model: CostModel, undone: Sequence[str], feeds: Feeds, result: Reparameterized
) -> list[str]:
    """A region without which the whole agrees, though each agrees on its own; all of them where there is none."""
    suspects = [region.output for region in result.regions]
    while len(suspects) > 1:
        half = suspects[: len(suspects) // 2]
        _, certificate = _compared(proto, opset, model, [*undone, *half], feeds)
        agrees = certificate is None or certificate.holds
        suspects = half if agrees else suspects[len(suspects) // 2 :]
    return suspects


def _growths(proto: onnx.ModelProto, emitted: Emitted, regions: Iterable[Region]) -> dict[str, float]:
    tensors = {tensor.name: tensor for tensor in (*proto.graph.initializer, *emitted.proto.graph.initializer)}
    kernels = {label(node): node.input[1] for node in proto.graph.node
               if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and node.input[1] in tensors}  # fmt: skip
    growths = {}
    for region in regions:
        after = kernel_range(tensors[name] for name in emitted.kernels.get(region.output, ()))
        before = kernel_range(tensors[kernels[name]] for name in region.sources if name in kernels)
        growths[region.output] = after / before if before else 0.0
    return growths
