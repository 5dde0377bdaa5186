"""The moves of the search. Each changes the network or says why not; whether it paid is for the search to see."""

from __future__ import annotations

from dataclasses import replace

from edgevision.rewrite.reparam import wires
from edgevision.rewrite.reparam.composing import compose
from edgevision.rewrite.reparam.cost import CostModel
from edgevision.rewrite.reparam.linear_form import Inexact, LinearForm, identity
from edgevision.rewrite.reparam.network import Affine, Network, Position, Term, Wire, rewired
from edgevision.rewrite.reparam.price import combined
from edgevision.rewrite.reparam.shrinking import trimmed

Key = int


def inline(network: Network, key: Key, producer: Key, model: CostModel) -> Inexact | None:
    """Replace what ``producer`` writes, in the sum ``key``, by the sum that it is: compose its forms, then add."""
    node, source = network.nodes[key], network.nodes[producer]
    assert isinstance(node, Affine)
    assert isinstance(source, Affine)
    if node.axis != source.axis:
        return Inexact(reason="their channels are on different axes")
    terms: list[Term] = []
    for term in node.terms:
        if term.tensor != source.output:
            terms.append(term)
            continue
        once = replace(term.form, bias=None, bias_extents=None)
        for at, inner in enumerate(source.terms):
            outer = once if at else term.form
            form = compose(outer, inner.form, network.space(inner.tensor, source.axis))
            if isinstance(form, Inexact):
                return form
            terms.append(Term(tensor=inner.tensor, form=form))
    merged, _ = combined(tuple(terms), node.output, node.axis, network, model)
    sources = tuple(dict.fromkeys((*source.sources, *node.sources)))
    network.replace(key, replace(node, terms=merged, protos=(), sources=sources))
    return None


def simplify(network: Network, key: Key, model: CostModel) -> None:
    """Merge the sum's own terms of one tensor, and crop and trim its kernels."""
    node = network.nodes[key]
    assert isinstance(node, Affine)
    terms = node.terms
    if node.protos:
        terms = tuple(Term(tensor=term.tensor, form=trimmed(term.form)) for term in terms)
    merged, _ = combined(terms, node.output, node.axis, network, model)
    if [(t.tensor, t.form.kernel) for t in merged] != [(t.tensor, t.form.kernel) for t in node.terms]:
        network.replace(key, replace(node, terms=merged, protos=()))


def swap_pool(network: Network, key: Key, model: CostModel) -> bool:
    """pool(pointwise(x)) -> pointwise(pool(x)): exact if the pool pads nothing and treats all channels alike."""
    node = network.nodes[key]
    if not isinstance(node, Affine) or len(node.terms) != 1 or not _is_uniform_pool(node.terms[0].form):
        return False
    pool = node.terms[0].form
    found = network.writer(node.terms[0].tensor)
    if found is None or not isinstance(found[1], Affine) or len(found[1].terms) != 1:
        return False
    inner = found[1]
    first = inner.terms[0]
    if not first.form.pointwise or first.form.diagonal or first.form.bias_extents is not None or inner.axis != 1:
        return False
    channels = first.form.inputs
    shape = wires.narrowed(network.shapes[node.output], 1, channels)
    tensor = network.fresh(f"{node.output}/pooled", shape, network.shapes.types[node.output])
    narrow = replace(pool, inputs=channels, outputs=channels, group=channels,
                     weight=lambda: pool.weight()[:1].repeat(channels, 0))  # fmt: skip
    network.add(Affine(position=_just_before(node.position), output=tensor, axis=1, sources=node.sources,
                       terms=(Term(tensor=first.tensor, form=narrow),)))  # fmt: skip
    sources = tuple(dict.fromkeys((*inner.sources, *node.sources)))
    network.replace(key, replace(node, terms=(Term(tensor=tensor, form=first.form),), protos=(), sources=sources))
    return True


def _is_uniform_pool(form: LinearForm) -> bool:
    if form.pointwise or not form.depthwise or form.bias is not None or any((*form.begin, *form.end)):
        return False
    weight = form.weight()
    return bool((weight == 1.0 / form.taps).all())


def _just_before(position: Position) -> Position:
    return position[0], position[1] - 1


def push_down(network: Network, key: Key, model: CostModel) -> bool:
    """Let what ``key`` does pointwise happen behind its readers instead: inlined where they are sums, behind the wire
    where they are wires, and so on from there. True if anything moved."""
    node = network.nodes.get(key)
    if not isinstance(node, Affine):
        return False
    moved = False
    for reader_key, reader in network.readers(node.output):
        if key not in network.nodes or reader_key not in network.nodes:
            continue
        if isinstance(reader, Affine):
            moved |= inline(network, reader_key, key, model) is None
        elif isinstance(reader, Wire):
            moved |= _behind_wire(network, reader_key, reader, model)
    return moved


def _behind_wire(network: Network, key: Key, wire: Wire, model: CostModel) -> bool:
    tensors, forms, sources = [], [], list[str]()
    for tensor in wire.reads:
        found = network.writer(tensor)
        source = found[1] if found is not None else None
        if isinstance(source, Affine) and len(source.terms) == 1 and source.axis == wire.axis_in and _passes(source):
            tensors.append(source.terms[0].tensor)
            forms.append(source.terms[0].form)
            sources += source.sources
        else:
            tensors.append(tensor)
            forms.append(_identity_like(network, tensor, wire))
    if all(form.identity for form in forms):
        return False
    after = wires.behind(wire, forms)
    if after is None:
        return False
    fresh = []
    for output, form in zip(wire.writes, after, strict=True):
        shape = wires.narrowed(network.shapes[output], wire.axis_out, form.inputs)
        fresh.append(network.fresh(f"{output}/before", shape, network.shapes.types[output]))
    network.replace(key, rewired(wire, tuple(tensors), tuple(fresh), wire.position))
    added = [
        network.add(Affine(position=(wire.position[0], wire.position[1] + 1), output=output, axis=wire.axis_out,
                           terms=(Term(tensor=tensor, form=form),), sources=tuple(sources)))
        for output, tensor, form in zip(wire.writes, fresh, after, strict=True)
    ]  # fmt: skip
    for each in added:
        push_down(network, each, model)
    return True


def _passes(node: Affine) -> bool:
    form = node.terms[0].form
    return form.pointwise and form.bias_extents is None


def _identity_like(network: Network, tensor: str, wire: Wire) -> LinearForm:
    channels = network.shapes[tensor][wire.axis_in]
    assert isinstance(channels, int)
    return identity(channels, wire.rank_in)


def lift(network: Network, key: Key) -> list[Key]:
    """wire(x), then a diagonal form -> the form before each input of the wire, then the wire. The keys of the forms."""
    node = network.nodes[key]
    if not isinstance(node, Affine) or len(node.terms) != 1 or node.terms[0].form.identity:
        return []
    found = network.writer(node.terms[0].tensor)
    if found is None or not isinstance(found[1], Wire) or not network.is_private(node.terms[0].tensor):
        return []
    wire = found[1]
    forms = wires.before(wire, node.terms[0].form)
    if forms is None or node.axis != wire.axis_out:
        return []
    position = node.position
    tensors = [network.fresh(f"{t}/scaled", network.shapes[t], network.shapes.types[t]) for t in wire.reads]
    added = [
        network.add(Affine(position=_just_before(position), output=tensor, axis=wire.axis_in, sources=node.sources,
                           terms=(Term(tensor=source, form=form),)))
        for tensor, source, form in zip(tensors, wire.reads, forms, strict=True)
    ]  # fmt: skip
    network.replace(key, rewired(wire, tuple(tensors), (node.output,), position))
    return added
