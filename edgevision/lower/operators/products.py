"""Gemm, MatMul and Einsum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.compute import convolution as compute
from edgevision.lower.compute.indexing import broadcast
from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node
from edgevision.lower.placed import Placed


def gemm(e: Emitter, node: Node) -> None:
    """Y = alpha * A' B' + beta * C."""
    a_name, b_name = node.inputs[:2]
    weight = e.constant(b_name)
    a = e.value(a_name)
    if weight is not None and not node["transA"]:
        matrix = weight.T if node["transB"] else weight
        if a.flat:
            c, *spatial = a.flat
            rows = np.moveaxis(matrix.reshape(c, *spatial, -1), 0, len(spatial))
            matrix = rows.reshape(matrix.shape)
        else:
            a = e.in_order(a)
        var = e.compute("matmul", compute.matmul, a.var, e.array(matrix * np.asarray(node["alpha"], matrix.dtype)),
                        pattern=ANCHOR)  # fmt: skip
    else:
        var = _product(e, e.plain(a_name), e.plain(b_name), bool(node["transA"]), bool(node["transB"]), node["alpha"])
    if node.has(2):
        var = add_scaled(e, var, node.inputs[2], node["beta"])
    e.result(node, var)


def matmul(e: Emitter, node: Node) -> None:
    """numpy.matmul."""
    a, b = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    if e.constant(node.inputs[1]) is not None and b.rank == 2 and a.rank >= 2:
        e.result(node, e.compute("matmul", compute.matmul, a.var, b.var, pattern=ANCHOR))
        return
    left = a.shape if a.rank > 1 else (1, *a.shape)
    right = b.shape if b.rank > 1 else (*b.shape, 1)
    wide = np.broadcast_shapes(left[:-2], right[:-2]) + (left[-2], right[-1])
    depth = left[-1]

    def function(x: Any, y: Any) -> Any:
        k = te.reduce_axis((0, depth), "k")
        return te.compute(
            wide,
            lambda *at: te.sum(x[(*_batch(at[:-2], left[:-2]), at[-2], k)] * y[(*_batch(at[:-2], right[:-2]), k, at[-1])], axis=k),
            name="matmul",
        )

    var = e.compute("matmul", function, e.reshape(a.var, left), e.reshape(b.var, right), pattern=ANCHOR)
    e.result(node, e.reshape(var, e.shape(node.outputs[0])))


def _batch(at: Sequence[Any], shape: Sequence[int]) -> tuple[Any, ...]:
    own = at[len(at) - len(shape) :]
    return tuple(tirx.const(0, "int64") if n == 1 else i for n, i in zip(shape, own, strict=True))


def _product(e: Emitter, a: Placed, b: Placed, turn_a: bool, turn_b: bool, alpha: float) -> Any:
    rows, depth = (a.shape[1], a.shape[0]) if turn_a else a.shape
    columns = b.shape[0] if turn_b else b.shape[1]

    def function(x: Any, y: Any) -> Any:
        k = te.reduce_axis((0, depth), "k")
        return te.compute(
            (rows, columns),
            lambda i, j: te.sum((x[k, i] if turn_a else x[i, k]) * (y[j, k] if turn_b else y[k, j]), axis=k),
            name="matmul",
        )

    var = e.compute("matmul", function, a.var, b.var, pattern=ANCHOR)
    if alpha == 1.0:
        return var
    return e.compute("mul", lambda t: te.compute(t.shape, lambda *i: t[i] * tirx.const(alpha, t.dtype), name="mul"), var)


def add_scaled(e: Emitter, var: Any, name: str, beta: float) -> Any:
    """var + beta * C, C broadcast to var's shape from the right."""
    array = e.constant(name)
    term = e.array(array) if array is not None else e.plain(name).var

    def function(t: Any, c: Any) -> Any:
        shape = [int(d) for d in t.shape]

        def element(*at: Any) -> Any:
            value = broadcast(c, at, shape)
            return t[at] + (value if beta == 1.0 else value * tirx.const(beta, t.dtype))

        return te.compute(t.shape, element, name="add")

    return e.compute("add", function, var, term)


def einsum(e: Emitter, node: Node) -> None:
    """Any number of operands: out[free...] = sum over the other letters of the product of the operands' elements."""
    operands = [e.plain(name) for name in node.inputs]
    terms, result = _letters(node["equation"], [o.rank for o in operands])
    extents: dict[str, int] = {}
    for letters, operand in zip(terms, operands, strict=True):
        for letter, n in zip(letters, operand.shape, strict=True):
            extents[letter] = max(extents.get(letter, 1), n)
    summed = [letter for letter in extents if letter not in result]

    def function(*tensors: Any) -> Any:
        loops = {letter: te.reduce_axis((0, extents[letter]), f"r{i}") for i, letter in enumerate(summed)}

        def element(*at: Any) -> Any:
            where = dict(zip(result, at, strict=False)) | loops
            value = None
            for letters, operand, tensor in zip(terms, operands, tensors, strict=True):
                index = tuple(
                    tirx.const(0, "int64") if n == 1 else where[letter] for letter, n in zip(letters, operand.shape, strict=True)
                )
                factor = tensor[index] if index else tensor()
                value = factor if value is None else value * factor
            return te.sum(value, axis=list(loops.values())) if loops else value

        shape = [extents[letter] for letter in result]
        return te.compute(shape or (1,), element, name="einsum")

    var = e.compute("einsum", function, *(o.var for o in operands), pattern=ANCHOR)
    e.result(node, e.reshape(var, e.shape(node.outputs[0])))


def _letters(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The axes of each operand and of the result by name; those that an ellipsis stands for are digits, aligned from the right."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    hidden = max((rank - len(part) + 3 for part, rank in zip(parts, ranks, strict=True) if "..." in part), default=0)
    names = "0123456789"[:hidden]
    terms = []
    for part, rank in zip(parts, ranks, strict=True):
        own = rank - len(part) + 3
        terms.append(part.replace("...", names[hidden - own :] if own else ""))
    if not arrow:
        once = sorted(c for c in set(left) - set(".,") if left.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    return terms, right.replace("...", names)
