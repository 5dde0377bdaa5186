"""Elementwise operators: one output element from one element of each operand, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from tvm import te, tirx

from edgevision.lower.compute import scalar
from edgevision.lower.compute.elementwise import BINARY, UNARY
from edgevision.lower.compute.indexing import broadcast
from edgevision.lower.emitter import INJECTIVE, Emitter
from edgevision.lower.node import Node
from edgevision.lower.placed import Placed, broadcast_constant, last_shape


def unary(e: Emitter, node: Node) -> None:
    function = UNARY[node.op]
    _each(e, node, label(node), lambda v: function(v, node.attributes))


def binary(e: Emitter, node: Node) -> None:
    function = BINARY[node.op]
    _broadcast(e, node, node.inputs, lambda a, b: scalar.let(a, lambda v: scalar.let(b, lambda w: function(v, w, node.attributes))))


def where(e: Emitter, node: Node) -> None:
    _broadcast(e, node, node.inputs, tirx.Select)


def cast(e: Emitter, node: Node) -> None:
    to = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node["to"])))
    _each(e, node, "cast", lambda v: scalar.cast(v, to))


def identity(e: Emitter, node: Node) -> None:
    """Remains only where a tensor leaves under two names or straight from an input: `Emitter.separate` copies it there."""
    e.values[node.outputs[0]] = e.value(node.inputs[0])


def label(node: Node) -> str:
    """The operator's name in reports and kernel names."""
    return node.op.rpartition(":")[2].lower()


def _each(e: Emitter, node: Node, name: str, function: Callable[[Any], Any]) -> None:
    """Whatever order the elements are stored in, the result is stored alike."""
    x = e.value(node.inputs[0])
    var = e.compute(name, lambda t: te.compute(t.shape, lambda *i: scalar.let(t[i], function), name=name), x.var)
    e.result(node, var, channels_last=x.channels_last, flat=x.flat)


def _broadcast(e: Emitter, node: Node, names: Sequence[str], function: Callable[..., Any]) -> None:
    shape = e.shape(node.outputs[0])
    for name in names:
        if not _fits(e.shape(name), shape):
            raise e.unsupported(node, f"{name!r} of shape {e.shape(name)} does not broadcast to {shape}")
    flat = _common_flat(e, names, shape)
    last = _wants_channels_last(e, names, shape)
    operands = [e.value(n).var for n in names] if flat else [_operand(e, n, len(shape), last=last) for n in names]
    stored = last_shape(shape) if last else shape
    var = e.compute(
        label(node),
        lambda *tensors: te.compute(stored, lambda *at: function(*(broadcast(t, at, stored) for t in tensors)), name=label(node)),
        *operands,
        pattern=_pattern(e, names, shape),
    )
    e.result(node, var, channels_last=last, flat=flat)


def _fits(shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether an operand broadcasts: ONNX's shape inference takes PRelu's slope unseen."""
    aligned = zip(reversed(shape), reversed(result), strict=False)
    return len(shape) <= len(result) and all(n in (1, wide) for n, wide in aligned)


def _pattern(e: Emitter, names: Sequence[str], shape: tuple[int, ...]) -> int | None:
    """A computed operand smaller than the result must not pull its own producer into the larger loop."""
    smaller = any(e.constant(n) is None and e.shape(n) != shape for n in names)
    return INJECTIVE if smaller else None


def _common_flat(e: Emitter, names: Sequence[str], shape: tuple[int, ...]) -> tuple[int, ...]:
    """How the rows of every operand are reordered, if they all are in the same way and constants are scalars; else ()."""
    computed = [e.value(n) for n in names if e.constant(n) is None]
    scalars = all(a.size == 1 for n in names if (a := e.constant(n)) is not None)
    orders = {v.flat for v in computed}
    return orders.pop() if scalars and len(orders) == 1 and all(v.shape == shape for v in computed) else ()


def _wants_channels_last(e: Emitter, names: Sequence[str], shape: tuple[int, ...]) -> bool:
    full = [e.value(n) for n in names if e.constant(n) is None and len(e.shape(n)) == len(shape)]
    return len(shape) >= 3 and any(v.channels_last for v in full)


def _operand(e: Emitter, name: str, rank: int, *, last: bool) -> Any:
    array = e.constant(name)
    if array is not None:
        return e.array(broadcast_constant(array, rank, channels_last=last))
    value = e.value(name)
    if not last:
        return e.in_order(value).var
    if value.rank < rank:
        value = e.in_order(value)
        shape = (1,) * (rank - value.rank) + value.shape
        value = Placed(var=e.reshape(value.var, shape), shape=shape, dtype=value.dtype)
    return e.in_last_order(value).var
