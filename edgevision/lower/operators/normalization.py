"""Normalisations: batch (a scale and a shift), and those that compute statistics at run time."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.compute.indexing import broadcast
from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node


def batch_normalization(e: Emitter, node: Node) -> None:
    """y = x * s + t with s = scale / sqrt(var + epsilon), t = B - mean * s, both in float64 until stored."""
    x = e.value(node.inputs[0])
    arrays = [e.constant(n) for n in node.inputs[1:5]]
    if any(a is None for a in arrays):
        raise e.unsupported(node, "parameters that are computed")
    scale, shift, mean, variance = (np.asarray(a, np.float64) for a in arrays)
    factor = scale / np.sqrt(variance + node["epsilon"])
    if x.rank >= 3:
        x = e.in_last_order(x)
    s, t = e.array(factor.astype(x.dtype)), e.array((shift - mean * factor).astype(x.dtype))

    def function(data: Any, a: Any, b: Any) -> Any:
        return te.compute(data.shape, lambda *at: data[at] * a[at[-1]] + b[at[-1]], name="batchnorm")

    e.result(node, e.compute("batchnorm", function, x.var, s, t), channels_last=x.channels_last)


def instance_normalization(e: Emitter, node: Node) -> None:
    """Statistics per image and channel over all pixels."""
    x = e.last(node.inputs[0])
    scale, shift = (e.plain(n).var for n in node.inputs[1:3])

    def function(data: Any, a: Any, b: Any) -> Any:
        axes = list(range(1, x.rank - 1))
        normal = normalised(data, axes, node["epsilon"])
        return te.compute(data.shape, lambda *at: normal(at) * a[at[-1]] + b[at[-1]], name="instancenorm")

    e.result(node, e.compute("instancenorm", function, x.var, scale, shift, pattern=ANCHOR), channels_last=True)


def group_normalization(e: Emitter, node: Node) -> None:
    """Statistics per image and group of consecutive channels over all pixels; scale and shift per channel."""
    x = e.last(node.inputs[0])
    groups, channels = node["num_groups"], x.shape[1]
    pixels, size = prod(x.shape[2:]), channels // groups
    scale, shift = (e.plain(n).var for n in node.inputs[1:3])
    grouped = e.reshape(x.var, (x.shape[0], pixels, groups, size))

    def function(data: Any, a: Any, b: Any) -> Any:
        normal = normalised(data, [1, 3], node["epsilon"])
        return te.compute(
            data.shape,
            lambda n, p, g, c: normal((n, p, g, c)) * a[g * size + c] + b[g * size + c],
            name="groupnorm",
        )

    var = e.compute("groupnorm", function, grouped, scale, shift, pattern=ANCHOR)
    e.result(node, e.reshape(var, x.stored_shape), channels_last=True)


def layer_normalization(e: Emitter, node: Node) -> None:
    """Statistics over all axes from ``axis`` on."""
    if len([o for o in node.outputs if o]) > 1:
        raise e.unsupported(node, "the Mean or InvStdDev output")
    x = e.plain(node.inputs[0])
    first = node["axis"] % x.rank
    inner = x.shape[first:]
    terms = [e.plain(n) for n in node.inputs[1:] if n]

    def function(data: Any, a: Any, *b: Any) -> Any:
        normal = normalised(data, list(range(first, x.rank)), node["epsilon"])
        return te.compute(
            data.shape,
            lambda *at: normal(at) * broadcast(a, at, x.shape) + (broadcast(b[0], at, x.shape) if b else tirx.const(0, data.dtype)),
            name="layernorm",
        )

    assert inner
    e.result(node, e.compute("layernorm", function, x.var, *(t.var for t in terms), pattern=ANCHOR))


def channel_layer_normalization(e: Emitter, node: Node) -> None:
    """LayerNormalization over the channels of every pixel."""
    x = e.last(node.inputs[0])
    terms = [e.plain(n).var for n in node.inputs[1:] if n]

    def function(data: Any, a: Any, *b: Any) -> Any:
        normal = normalised(data, [x.rank - 1], node["epsilon"])
        shift = (lambda c: b[0][c]) if b else (lambda _: tirx.const(0, data.dtype))
        return te.compute(data.shape, lambda *at: normal(at) * a[at[-1]] + shift(at[-1]), name="layernorm")

    e.result(node, e.compute("layernorm", function, x.var, *terms, pattern=ANCHOR), channels_last=True)


def local_response_normalization(e: Emitter, node: Node) -> None:
    """y = x / (bias + alpha / size * sum of squares over ``size`` neighbouring channels) ** beta."""
    x, size = e.last(node.inputs[0]), node["size"]
    channels = x.shape[1]
    before = (size - 1) // 2

    def function(data: Any) -> Any:
        k = te.reduce_axis((0, size), "k")

        def neighbour(at: Sequence[Any]) -> Any:
            c = at[-1] + k - before
            value = data[(*at[:-1], c)]
            return tirx.if_then_else(tirx.all(c >= 0, c < channels), value * value, tirx.const(0, data.dtype))

        squares = te.compute(data.shape, lambda *at: te.sum(neighbour(at), axis=k), name="squares")
        alpha, beta, bias = (tirx.const(v, data.dtype) for v in (node["alpha"] / size, node["beta"], node["bias"]))
        return te.compute(
            data.shape, lambda *at: data[at] / tirx.power(bias + alpha * squares[at], beta), name="lrn"
        )  # fmt: skip

    e.result(node, e.compute("lrn", function, x.var, pattern=ANCHOR), channels_last=True)


def lp_normalization(e: Emitter, node: Node) -> None:
    """x divided by its p-norm along ``axis``."""
    x = e.plain(node.inputs[0])
    axis, p = node["axis"] % x.rank, node.get("p", 2)

    def function(data: Any) -> Any:
        k = te.reduce_axis((0, x.shape[axis]), "k")

        def term(at: Sequence[Any]) -> Any:
            value = data[(*at[:axis], k, *at[axis + 1 :])]
            return tirx.abs(value) if p == 1 else value * value

        reduced = [1 if i == axis else n for i, n in enumerate(x.shape)]
        total = te.compute(reduced, lambda *at: te.sum(term(at), axis=k), name="total")

        def element(*at: Any) -> Any:
            size = total[tuple(0 if i == axis else a for i, a in enumerate(at))]
            norm = size if p == 1 else tirx.sqrt(size)
            return tirx.if_then_else(norm == tirx.const(0, data.dtype), tirx.const(0, data.dtype), data[at] / norm)

        return te.compute(x.shape, element, name="lpnorm")

    e.result(node, e.compute("lpnorm", function, x.var, pattern=ANCHOR))


def normalised(data: Any, axes: Sequence[int], epsilon: float) -> Any:
    """at -> (x - mean) / sqrt(variance + epsilon) with biased statistics over ``axes``, in two passes."""
    shape = [int(d) for d in data.shape]
    kept = [i for i in range(len(shape)) if i not in axes]
    size = tirx.const(float(prod(shape[i] for i in axes)), data.dtype)

    def reduced(name: str, term: Any) -> Any:
        loops = {i: te.reduce_axis((0, shape[i]), f"r{i}") for i in axes}

        def element(*at: Any) -> Any:
            index = [loops[i] if i in loops else at[kept.index(i)] for i in range(len(shape))]
            return te.sum(term(tuple(index), at), axis=list(loops.values()))

        return te.compute([shape[i] for i in kept] or [1], element if kept else lambda _: element(), name=name)

    def at_kept(tensor: Any, at: Sequence[Any]) -> Any:
        return tensor[tuple(at[i] for i in kept)] if kept else tensor[0]

    total = reduced("total", lambda index, _: data[index])

    def deviation(index: tuple[Any, ...], _: Any) -> Any:
        difference = data[index] - at_kept(total, index) / size
        return difference * difference

    squares = reduced("squares", deviation)
    root = te.compute(
        squares.shape,
        lambda *at: tirx.const(1.0, data.dtype) / tirx.sqrt(squares[at] / size + tirx.const(epsilon, data.dtype)),
        name="root",
    )
    return lambda at: (data[tuple(at)] - at_kept(total, at) / size) * at_kept(root, at)
