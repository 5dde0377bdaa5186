"""Normalisations: batch (a scale and a shift), and those that compute statistics at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.compute import scalar
from edgevision.lower.compute.indexing import broadcast
from edgevision.lower.compute.reducing import at_one, over_axes
from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node

Expr = Any


def batch_normalization(e: Emitter, node: Node) -> None:
    """y = x * s + t with s = scale / sqrt(var + epsilon), t = B - mean * s, both in float64 until stored."""
    x = e.stored(node.inputs[0])
    arrays = [e.constant(n) for n in node.inputs[1:5]]
    if any(a is None for a in arrays):
        raise e.unsupported(node, "parameters that are computed")
    scale, shift, mean, variance = (np.asarray(a, np.float64) for a in arrays)
    factor = scale / np.sqrt(variance + node["epsilon"])
    if x.rank >= 3:
        x = e.in_last_order(x)
    s, t = e.array(factor.astype(x.dtype)), e.array((shift - mean * factor).astype(x.dtype))

    def function(data: Expr, a: Expr, b: Expr) -> Expr:
        return te.compute(data.shape, lambda *at: data[at] * a[at[-1]] + b[at[-1]], name="batchnorm")

    e.result(node, e.compute("batchnorm", function, x.var, s, t), channels_last=x.channels_last)


def instance_normalization(e: Emitter, node: Node) -> None:
    """Statistics per image and channel over all pixels."""
    x = e.last(node.inputs[0])
    scale, shift = (e.plain(n).var for n in node.inputs[1:3])

    def function(data: Expr, a: Expr, b: Expr) -> Expr:
        normal = normalised(data, list(range(1, x.rank - 1)), node["epsilon"])
        return te.compute(data.shape, lambda *at: normal(at) * a[at[-1]] + b[at[-1]], name="instancenorm")

    e.result(node, e.compute("instancenorm", function, x.var, scale, shift, pattern=ANCHOR), channels_last=True)


def group_normalization(e: Emitter, node: Node) -> None:
    """Statistics per image and group of consecutive channels over all pixels; scale and shift per channel."""
    x = e.last(node.inputs[0])
    groups, channels = node["num_groups"], x.shape[1]
    pixels, size = prod(x.shape[2:]), channels // groups
    scale, shift = (e.reshape(e.plain(n).var, (groups, size)) for n in node.inputs[1:3])
    grouped = e.reshape(x.var, (x.shape[0], pixels, groups, size))

    def function(data: Expr, a: Expr, b: Expr) -> Expr:
        normal = normalised(data, [1, 3], node["epsilon"])
        return te.compute(data.shape, lambda *at: normal(at) * a[at[-2:]] + b[at[-2:]], name="groupnorm")

    var = e.compute("groupnorm", function, grouped, scale, shift, pattern=ANCHOR)
    e.result(node, e.reshape(var, x.stored_shape), channels_last=True)


def layer_normalization(e: Emitter, node: Node) -> None:
    """Statistics over all axes from ``axis`` on; Mean and InvStdDev are computed anew where they are asked for."""
    x = e.plain(node.inputs[0])
    axes = list(range(node["axis"] % x.rank, x.rank))
    terms = [e.plain(n).var for n in node.inputs[1:] if n]

    def function(data: Expr, a: Expr, *b: Expr) -> Expr:
        normal = normalised(data, axes, node["epsilon"])

        def element(*at: Expr) -> Expr:
            scaled = normal(at) * broadcast(a, at, x.shape)
            return scaled + broadcast(b[0], at, x.shape) if b else scaled

        return te.compute(data.shape, element, name="layernorm")

    e.result(node, e.compute("layernorm", function, x.var, *terms, pattern=ANCHOR))
    for output, name in enumerate(node.outputs[1:], start=1):
        if name:
            which = ("mean", "invstddev")[output - 1]
            var = e.compute(which, lambda data, i=output - 1: statistics(data, axes, node["epsilon"])[i], x.var, pattern=ANCHOR)
            e.result(node, var, output=output)


def channel_layer_normalization(e: Emitter, node: Node) -> None:
    """LayerNormalization over the channels of every pixel."""
    x = e.last(node.inputs[0])
    terms = [e.plain(n).var for n in node.inputs[1:] if n]

    def function(data: Expr, a: Expr, *b: Expr) -> Expr:
        normal = normalised(data, [x.rank - 1], node["epsilon"])

        def element(*at: Expr) -> Expr:
            scaled = normal(at) * a[at[-1]]
            return scaled + b[0][at[-1]] if b else scaled

        return te.compute(data.shape, element, name="layernorm")

    e.result(node, e.compute("layernorm", function, x.var, *terms, pattern=ANCHOR), channels_last=True)


def rms_normalization(e: Emitter, node: Node) -> None:
    """y = x / sqrt(mean of x * x over all axes from ``axis`` on + epsilon) * scale."""
    x, scale = e.plain(node.inputs[0]), e.plain(node.inputs[1])
    axes = list(range(node["axis"] % x.rank, x.rank))

    def function(data: Expr, a: Expr) -> Expr:
        squares = over_axes(data, axes, te.sum, lambda v, _: v * v, name="squares")
        factor = _inverse_root(squares, _count(data, axes), node["epsilon"])
        return te.compute(data.shape, lambda *at: data[at] * factor[at_one(at, axes)] * broadcast(a, at, x.shape), name="rmsnorm")

    e.result(node, e.compute("rmsnorm", function, x.var, scale.var, pattern=ANCHOR))


def local_response_normalization(e: Emitter, node: Node) -> None:
    """y = x / (bias + alpha / size * sum of squares over ``size`` neighbouring channels) ** beta."""
    x, size = e.last(node.inputs[0]), node["size"]
    channels = x.shape[1]
    before = (size - 1) // 2

    def function(data: Expr) -> Expr:
        k = te.reduce_axis((0, size), "k")

        def neighbour(at: Sequence[Expr]) -> Expr:
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
    """x divided by its p-norm along ``axis``; 0 where the norm is."""
    x = e.stored(node.inputs[0])
    axes, p = [x.axis(node["axis"] % x.rank)], node["p"]

    def function(data: Expr) -> Expr:
        total = over_axes(data, axes, te.sum, lambda v, _: scalar.absolute(v) if p == 1 else v * v, name="total")
        zero = tirx.const(0, data.dtype)
        norm = te.compute(total.shape, lambda *at: total[at] if p == 1 else tirx.sqrt(total[at]), name="norm")

        def element(*at: Expr) -> Expr:
            size = norm[at_one(at, axes)]
            return tirx.Select(size == zero, zero, data[at] / size)

        return te.compute(data.shape, element, name="lpnorm")

    e.result(node, e.compute("lpnorm", function, x.var, pattern=ANCHOR), channels_last=x.channels_last)


def normalised(data: Expr, axes: Sequence[int], epsilon: float) -> Callable[[Sequence[Expr]], Expr]:
    """at -> (x - mean) / sqrt(variance + epsilon) with biased statistics over ``axes``."""
    mean, factor = statistics(data, axes, epsilon)
    return lambda at: (data[tuple(at)] - mean[at_one(at, axes)]) * factor[at_one(at, axes)]


def statistics(data: Expr, axes: Sequence[int], epsilon: float) -> tuple[Expr, Expr]:
    """(mean, 1 / sqrt(variance + epsilon)) over ``axes``, which stay with extent 1; two passes over the data."""
    count = _count(data, axes)
    total = over_axes(data, axes, te.sum, lambda v, _: v, name="total")
    mean = te.compute(total.shape, lambda *at: total[at] / count, name="mean")

    def squared(v: Expr, at: Sequence[Expr]) -> Expr:
        centred = v - mean[at_one(at, axes)]
        return centred * centred

    squares = over_axes(data, axes, te.sum, squared, name="squares")
    return mean, _inverse_root(squares, count, epsilon)


def _count(data: Expr, axes: Sequence[int]) -> Expr:
    return tirx.const(float(prod(int(data.shape[a]) for a in axes)), data.dtype)


def _inverse_root(squares: Expr, count: Expr, epsilon: float) -> Expr:
    one, least = tirx.const(1.0, squares.dtype), tirx.const(epsilon, squares.dtype)
    return te.compute(squares.shape, lambda *at: one / tirx.sqrt(squares[at] / count + least), name="factor")
