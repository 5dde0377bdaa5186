"""A sum of linear forms in ONNX operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgevision.rewrite.reparam.linear_form import Array, LinearForm, regrouped
from edgevision.rewrite.reparam.network import Affine, Network, Term

DILATED_POOLS = 19  # first opset whose AveragePool has dilations
AMOUNTS_AS_INPUT = 11  # first opset whose Pad takes its amounts as an input


@dataclass(slots=True)
class Writer:
    """Nodes and initializers of one tensor; ``stem`` begins their names, ``kernels`` names the weights of windows."""

    opset: int
    element: int
    taken: set[str]
    stem: str
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    kernels: list[str] = field(default_factory=list)

    def constant(self, value: Array, hint: str) -> str:
        """An initializer of the model's own type."""
        name = self._fresh(f"{self.stem}/{hint}")
        typed = value.astype(helper.tensor_dtype_to_np_dtype(self.element))
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(typed), name))
        return name

    def integers(self, values: Sequence[int], hint: str) -> str:
        name = self._fresh(f"{self.stem}/{hint}")
        self.initializers.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def node(self, op: str, inputs: Sequence[str], attributes: dict[str, Any] | None = None) -> str:
        """A node; returns the tensor that it writes."""
        output = self._fresh(f"{self.stem}/{op}")
        name = self._fresh(f"{self.stem}/{op}/node")
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **(attributes or {})))
        return output

    def _fresh(self, hint: str) -> str:
        name, serial = hint, 0
        while name in self.taken:
            serial += 1
            name = f"{hint}_{serial}"
        self.taken.add(name)
        return name


def write_affine(node: Affine, writer: Writer, network: Network) -> None:
    """Nodes that compute ``node.output``: windows first, the bias in one of them where it fits, then the sums."""
    terms = sorted(node.terms, key=lambda term: (term.form.diagonal, _is_minus(term.form)))
    bias = total_bias([term.form for term in terms])
    takes_bias = not terms[0].form.diagonal and node.axis != -1 and bias is not None and bias.ndim == 1
    result = ""
    for at, term in enumerate(terms):
        own = bias if takes_bias and at == 0 else None
        if result and _is_minus(term.form):
            result = writer.node("Sub", [result, term.tensor])
            continue
        written = _write_term(term, own, node, writer, network)
        result = writer.node("Add", [result, written]) if result else written
    if bias is not None and not takes_bias:
        result = writer.node("Add", [result, writer.constant(_column(bias, node, network), "shift")])
    if not writer.nodes:
        writer.node("Identity", [result])
    writer.nodes[-1].output[0] = node.output


def total_bias(forms: Sequence[LinearForm]) -> Array | None:
    """Sum of the forms' biases: [O], or a map [O, ...]; None where there is none."""
    total: Array | None = None
    for form in forms:
        if form.bias is None:
            continue
        bias = form.bias()
        if total is None:
            total = bias
        elif total.ndim == bias.ndim:
            total = total + bias
        else:
            vector, field_ = sorted((total, bias), key=lambda each: each.ndim)
            total = field_ + vector.reshape(-1, *[1] * (field_.ndim - 1))
    return total


def _is_minus(form: LinearForm) -> bool:
    return form.diagonal and not form.identity and form.bias is None and bool((form.weight() == -1).all())


def _write_term(term: Term, bias: Array | None, node: Affine, writer: Writer, network: Network) -> str:
    form, tensor = term.form, term.tensor
    weight = form.weight()
    if form.diagonal:
        if (weight == 1).all():
            return tensor
        return writer.node("Mul", [tensor, writer.constant(_column(weight.reshape(-1), node, network), "scale")])
    if form.rank == 0:
        return _write_matrix(tensor, form, weight, bias, node, writer)
    if bias is None and _is_pad(form, weight):
        return _write_pad(tensor, form, writer)
    if bias is None and _is_pool(form, weight, writer.opset):
        return _write_pool(tensor, form, writer)
    return _write_window(tensor, form, weight, bias, writer)


def _column(value: Array, node: Affine, network: Network) -> Array:
    """[C] so that it broadcasts along the channels; a map [C, ...] with a batch axis."""
    if value.ndim > 1:
        return value[np.newaxis]
    return value if node.axis == -1 else value.reshape(1, -1, *[1] * (len(network.shapes[node.output]) - 2))


def _write_matrix(
    tensor: str, form: LinearForm, weight: Array, bias: Array | None, node: Affine, writer: Writer
) -> str:
    if form.group > 1:
        weight = _dense(form, weight)
    if node.axis == -1:
        name = writer.constant(weight.T, "weight")
        writer.kernels.append(name)
        return writer.node("MatMul", [tensor, name])
    name = writer.constant(weight, "weight")
    writer.kernels.append(name)
    shift = writer.constant(np.zeros(form.outputs) if bias is None else bias, "bias")
    return writer.node("Gemm", [tensor, name, shift], {"transB": 1})


def _dense(form: LinearForm, weight: Array) -> Array:
    return regrouped(weight, form.group, 1)


def _is_pad(form: LinearForm, weight: Array) -> bool:
    plain = form.depthwise and form.taps == 1 and set(form.stride) == {1} and form.output_padding is None
    return plain and bool((weight == 1).all())


def _write_pad(tensor: str, form: LinearForm, writer: Writer) -> str:
    amounts = [0, 0, *form.begin, 0, 0, *form.end]
    if writer.opset < AMOUNTS_AS_INPUT:
        return writer.node("Pad", [tensor], {"mode": "constant", "pads": amounts})
    return writer.node("Pad", [tensor, writer.integers(amounts, "pads")])


def _is_pool(form: LinearForm, weight: Array, opset: int) -> bool:
    if not form.depthwise or form.taps == 1 or form.output_padding is not None:
        return False
    dilated = any(d > 1 for d in form.dilation)
    return (not dilated or opset >= DILATED_POOLS) and bool((weight == 1.0 / form.taps).all())


def _write_pool(tensor: str, form: LinearForm, writer: Writer) -> str:
    attributes: dict[str, Any] = {"kernel_shape": form.kernel, "strides": form.stride}
    if any((*form.begin, *form.end)):
        attributes |= {"pads": [*form.begin, *form.end], "count_include_pad": 1}
    if any(d > 1 for d in form.dilation):
        attributes["dilations"] = form.dilation
    return writer.node("AveragePool", [tensor], attributes)


def _write_window(tensor: str, form: LinearForm, weight: Array, bias: Array | None, writer: Writer) -> str:
    name = writer.constant(weight, "weight")
    writer.kernels.append(name)
    inputs = [tensor, name] + ([] if bias is None else [writer.constant(bias, "bias")])
    attributes: dict[str, Any] = {
        "kernel_shape": form.kernel,
        "strides": form.stride,
        "pads": [*form.begin, *form.end],
        "dilations": form.dilation,
        "group": form.group,
    }
    if form.output_padding is None:
        return writer.node("Conv", inputs, attributes)
    return writer.node("ConvTranspose", inputs, attributes | {"output_padding": form.output_padding})
