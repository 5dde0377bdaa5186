"""GridSample, an image read at positions that another tensor gives, and AffineGrid, which computes such positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.compute.scalar import const
from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node

Expr = Any

CUBIC_A = -0.75  # ONNX GridSample, as torch.nn.functional.grid_sample


def grid_sample(e: Emitter, node: Node) -> None:
    """Image [n, c, spatial...], grid [n, out..., spatial rank] with the last spatial axis first and -1 to 1 across the image."""
    x, grid = e.last(node.inputs[0]), e.plain(node.inputs[1])
    mode, border, corners = node["mode"], node["padding_mode"], bool(node["align_corners"])
    extents = x.shape[2:]
    rank = len(extents)

    def function(image: Expr, where: Expr) -> Expr:
        def coordinate(axis: int) -> Callable[..., Expr]:
            number = tirx.const(rank - 1 - axis, "int64")
            return lambda *at: _pixel(where[(*at, number)], extents[axis], border, corners=corners, exact=mode != "cubic")

        # Positions once a pixel, not once a channel.
        points = [te.compute(grid.shape[:-1], coordinate(i), name=f"at{'dhw'[3 - rank + i]}") for i in range(rank)]

        def element(*at: Expr) -> Expr:
            here, channel = at[:-1], at[-1]
            taps = [_taps(p[here], mode) for p in points]
            total = None
            for choice in product(*taps):
                weight = None
                for _, w in choice:
                    weight = w if weight is None else weight * w
                value = _read(image, at[0], [i for i, _ in choice], channel, extents, border, corners=corners)
                term = value if mode == "nearest" else value * weight
                total = term if total is None else total + term
            return total

        return te.compute((*grid.shape[:-1], x.shape[1]), element, name="gridsample")

    e.result(node, e.compute("gridsample", function, x.var, grid.var, pattern=ANCHOR), channels_last=True)


def affine_grid(e: Emitter, node: Node) -> None:
    """grid[n, p..., i] = sum over j of theta[n, i, j] * (x, y, (z), 1)[j] at pixel p, coordinates from -1 to 1.

    ``align_corners``: -1 and 1 are the first and last pixel's centres, else their outer edges.
    """
    theta, extents = e.plain(node.inputs[0]), e.shape(node.outputs[0])[1:-1]
    axes = [np.arange(n) for n in extents]
    lines = [2 * i / max(len(i) - 1, 1) - 1 for i in axes] if node["align_corners"] else [(2 * i + 1) / len(i) - 1 for i in axes]
    mesh = np.meshgrid(*lines, indexing="ij")
    points = np.stack([*mesh[::-1], np.ones(extents)], axis=-1).astype(theta.dtype)

    def function(matrix: Expr, point: Expr) -> Expr:
        j = te.reduce_axis((0, len(extents) + 1), "j")
        shape = e.shape(node.outputs[0])
        return te.compute(shape, lambda n, *at: te.sum(matrix[n, at[-1], j] * point[(*at[:-1], j)], axis=j), name="affinegrid")

    e.result(node, e.compute("affinegrid", function, theta.var, e.array(points), pattern=ANCHOR))


def _pixel(g: Expr, extent: int, border: str, *, corners: bool, exact: bool) -> Expr:
    """-1 .. 1 -> pixels: the centres (``corners``) or the outer edges of the first and last pixel lie at -1 and 1."""
    one, half = const(1.0, g), const(0.5, g)
    at = (g + one) * half * const(float(extent - 1), g) if corners else ((g + one) * const(float(extent), g) - one) * half
    if not exact or border == "zeros":
        return at
    if border == "border":
        return _bounded(at, 0.0, float(extent - 1))
    return _reflected(at, extent, corners=corners)


def _bounded(at: Expr, low: float, high: float) -> Expr:
    return tirx.min(tirx.max(at, const(low, at)), const(high, at))


def _reflected(at: Expr, extent: int, *, corners: bool) -> Expr:
    """Mirrored at the first and last pixel's centres (``corners``) or edges, as often as needed, then kept inside."""
    low, high = (0.0, float(extent - 1)) if corners else (-0.5, extent - 0.5)
    span = high - low
    if span == 0.0:
        return const(0.0, at)
    distance = tirx.abs(at - const(low, at))
    turns = tirx.floor(distance / const(span, at))
    rest = distance - turns * const(span, at)
    odd = turns - const(2.0, at) * tirx.floor(turns * const(0.5, at)) > const(0.5, at)
    return _bounded(tirx.Select(odd, const(high, at) - rest, const(low, at) + rest), 0.0, float(extent - 1))


def _taps(at: Expr, mode: str) -> list[tuple[Expr, Expr]]:
    """(position, weight) of each pixel read along one axis; positions are whole floats and may lie outside."""
    if mode == "nearest":
        return [(tirx.nearbyint(at), const(1.0, at))]
    base = tirx.floor(at)
    t = at - base
    one = const(1.0, at)
    if mode == "linear":
        return [(base, one - t), (base + one, t)]
    steps = [t + one, t, one - t, const(2.0, at) - t]
    return [(base + const(float(i - 1), at), _cubic(s, near=i in (1, 2))) for i, s in enumerate(steps)]


def _cubic(s: Expr, *, near: bool) -> Expr:
    a, one = const(CUBIC_A, s), const(1.0, s)
    if near:
        return ((a + const(2.0, s)) * s - (a + const(3.0, s))) * s * s + one
    return ((a * s - const(5.0, s) * a) * s + const(8.0, s) * a) * s - const(4.0, s) * a


def _read(
    image: Expr, n: Expr, position: Sequence[Expr], channel: Expr, extents: Sequence[int], border: str, *, corners: bool
) -> Expr:
    """The pixel at whole ``position``; outside the image zero, the border's pixel or the mirrored one."""
    inside, index = [], []
    for p, extent in zip(position, extents, strict=True):
        if border == "zeros":
            inside += [p >= const(0.0, p), p <= const(float(extent - 1), p)]
        kept = _reflected(p, extent, corners=corners) if border == "reflection" else p
        index.append(tirx.Cast("int64", _bounded(kept, 0.0, float(extent - 1))))
    value = image[(n, *index, channel)]
    return tirx.Select(tirx.all(*inside), value, tirx.const(0, image.dtype)) if inside else value
