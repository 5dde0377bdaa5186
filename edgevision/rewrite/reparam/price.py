"""What a sum of linear forms is made of when it is written as ONNX operators, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgevision.rewrite.reparam.adding import add
from edgevision.rewrite.reparam.cost import CostModel, Work
from edgevision.rewrite.reparam.extents import guess
from edgevision.rewrite.reparam.linear_form import Inexact, LinearForm
from edgevision.rewrite.reparam.network import Affine, Network, Node, Opaque, Term, Wire
from edgevision.rewrite.reparam.shrinking import cropped

ELEMENT_BYTES = 4
ELEMENTWISE = frozenset([
    "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Clip", "Tanh", "Erf", "Gelu", "Elu", "Selu", "Mish",
    "Mul", "Add", "Sub", "Div", "Swish",
])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclinedMerge:
    """Two forms of one tensor that stay apart: no common form, or a dearer one."""

    one: LinearForm
    other: LinearForm
    reason: str
    apart_us: float = 0.0
    merged_us: float = 0.0


def works(terms: tuple[Term, ...], output: str, axis: int, network: Network) -> list[Work]:
    """The kernels of a sum of forms: those of each form, a sum for every form but the first, a bias that none took."""
    written = _bytes(network, output)
    found: list[Work] = []
    free_bias, mapped = False, False
    heavy = False
    for term in terms:
        form = term.form
        mapped |= form.bias_extents is not None
        free_bias |= form.bias is not None and form.bias_extents is None
        if form.identity:
            continue
        heavy |= not form.diagonal
        found.append(_work(term, written, _positions(network, output, axis), network))
    if len(terms) == 1 and terms[0].form.identity:
        return [Work(label="move", activation_bytes=2 * written)]
    sums = len(terms) - 1 + mapped + (free_bias and not heavy and all(t.form.identity for t in terms))
    map_bytes = written if mapped else 0
    found += [Work(label="elementwise", activation_bytes=3 * written)] * (sums - mapped)
    if mapped:
        found.append(Work(label="elementwise", weight_bytes=map_bytes, activation_bytes=2 * written))
    return found


def _work(term: Term, written: int, positions: int, network: Network) -> Work:
    form = term.form
    read = _bytes(network, term.tensor)
    parameters = form.outputs * form.inputs // form.group * form.taps
    if form.diagonal:
        return Work(
            label="elementwise", weight_bytes=ELEMENT_BYTES * 2 * form.outputs, activation_bytes=read + written
        )
    label = "gemm" if form.rank == 0 else "conv"
    if form.output_padding is not None:
        positions = prod(guess(n) for n in network.shapes[term.tensor][2:]) * guess(network.shapes[term.tensor][0])
    return Work(
        label=label,
        macs=positions * parameters,
        weight_bytes=ELEMENT_BYTES * (parameters + form.outputs),
        activation_bytes=read + written,
    )


def _positions(network: Network, tensor: str, axis: int) -> int:
    shape = [guess(n) for n in network.shapes[tensor]]
    del shape[axis]
    return prod(shape)


def _bytes(network: Network, tensor: str) -> int:
    return ELEMENT_BYTES * prod(guess(n) for n in network.shapes[tensor])


def price(node: Node, network: Network, model: CostModel) -> float:
    """Modelled microseconds of a node. What a runtime does in its reader's kernel costs only what else it reads."""
    if isinstance(node, Opaque):
        return 0.0
    if isinstance(node, Wire):
        moved = sum(_bytes(network, t) for t in (*node.reads, *node.writes))
        still = node.kind == "relayout" and node.rank_in != node.rank_out
        return 0.0 if still else model.microseconds(Work(label="move", activation_bytes=moved))
    kernels = works(node.terms, node.output, node.axis, network)
    if kernels and kernels[-1].label == "elementwise" and _ends_in_reader(node, network):
        last = kernels.pop()
        extra = max(0, last.activation_bytes - 2 * _bytes(network, node.output)) + last.weight_bytes
        return sum(map(model.microseconds, kernels)) + extra / model.bytes_per_us
    return sum(map(model.microseconds, kernels))


def _ends_in_reader(node: Affine, network: Network) -> bool:
    """True if one elementwise operator alone reads what ``node`` writes."""
    if not network.is_private(node.output):
        return False
    ((_, reader),) = network.readers(node.output)
    if isinstance(reader, Opaque):
        return reader.proto.op_type in ELEMENTWISE
    if isinstance(reader, Wire):
        return False
    return all(term.form.diagonal for term in reader.terms if term.tensor == node.output)


def combined(
    terms: tuple[Term, ...], output: str, axis: int, network: Network, model: CostModel
) -> tuple[tuple[Term, ...], list[DeclinedMerge]]:
    """Terms of one tensor merged as long as a merge makes the sum cheaper, dead taps cropped; and what stays apart."""
    current = [Term(tensor=t.tensor, form=cropped(t.form, network.space(t.tensor, axis))) for t in terms]
    while True:
        declined: list[DeclinedMerge] = []
        best: tuple[float, int, int, LinearForm] | None = None
        for i, one in enumerate(current):
            for j in range(i + 1, len(current)):
                if current[j].tensor != one.tensor:
                    continue
                outcome = _merged(one, current[j], output, axis, network, model)
                if isinstance(outcome, DeclinedMerge):
                    declined.append(outcome)
                elif best is None or outcome[0] > best[0]:
                    best = (outcome[0], i, j, outcome[1])
        if best is None:
            return tuple(current), declined
        _, i, j, form = best
        current[i] = Term(tensor=current[i].tensor, form=form)
        del current[j]


def _merged(
    one: Term, other: Term, output: str, axis: int, network: Network, model: CostModel
) -> tuple[float, LinearForm] | DeclinedMerge:
    form = add(one.form, other.form, network.space(one.tensor, axis))
    if isinstance(form, Inexact):
        return DeclinedMerge(one=one.form, other=other.form, reason=form.reason)
    form = cropped(form, network.space(one.tensor, axis))
    apart = sum(map(model.microseconds, works((one, other), output, axis, network)))
    joined = (Term(tensor=one.tensor, form=form),)
    merged = sum(map(model.microseconds, works(joined, output, axis, network)))
    if merged >= apart:
        return DeclinedMerge(one=one.form, other=other.form, reason="it costs more", apart_us=apart, merged_us=merged)
    return apart - merged, form
