"""The geometry of a convolution-like anchor, read from its annotations and buffers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from edgevision.schedule.workload import Buffer, Stage, Workload, shape_of

STRIDES, DILATIONS, PADS, GROUPS = "ev.strides", "ev.dilations", "ev.pads", "ev.groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Channels-last convolution: data [n, h, w, groups * ci], weights [kh, kw, ci, co], output [n, ho, wo, co].

    A matrix product [*prefix, ci] x [ci, co] is one with n = h = kh = kw = 1 and w = the product of ``prefix``, which
    are the output's axes but the last in either case.
    ``pads`` is (top, left, bottom, right) around ``source``, the parameter that holds the unpadded data; ``padded``
    is the stage that pads it, None where nothing is padded.
    """

    source: Buffer
    padded: Stage | None
    weights: Buffer
    prefix: tuple[int, ...]
    n: int
    h: int
    w: int
    ci: int
    co: int
    ho: int
    wo: int
    kh: int
    kw: int
    groups: int
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def depthwise(self) -> bool:
        """One output channel for each input channel."""
        return self.co == self.groups and self.ci == 1

    @property
    def steps_by_one(self) -> bool:
        """Neither strided nor dilated."""
        return self.strides == self.dilations == (1, 1)

    @property
    def macs(self) -> int:
        return self.n * self.ho * self.wo * self.co * self.kh * self.kw * self.ci


def geometry(workload: Workload, anchor: Stage, *, any_padding: bool = False) -> Geometry | None:
    """None where the anchor does not multiply a tensor by a constant-shaped weight as `lower` writes it.
    Also where the stage in front does not surround the data with as many zeros as ``pads`` says (a transposed convolution spreads
    them too), unless ``any_padding``: a template that copies what the stage computes takes it as it is."""
    product: Any = getattr(anchor.value, "b", None)
    if type(product).__name__ != "Mul" or {type(product.a).__name__, type(product.b).__name__} != {"TensorLoad"}:
        return None
    source, weights = product.a.source, product.b.source
    padded = workload.producer(source)
    if padded is not None:
        if not padded.name.startswith("pad") or padded.reduction:
            return None
        source = _only_parameter(padded.value)
    *prefix, co = shape_of(anchor.buffer)
    if len(shape_of(weights)) == 2:
        k, _ = shape_of(weights)
        m = prod(prefix)
        return Geometry(
            source=source, padded=None, weights=weights, prefix=tuple(prefix), n=1, h=1, w=m, ci=k, co=co, ho=1, wo=m,
            kh=1, kw=1, groups=1, strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0),
        )  # fmt: skip
    n, h, w, c = shape_of(source)
    _, ho, wo = prefix
    kh, kw, _ = shape_of(weights)[:3]
    groups = int(anchor.annotations[GROUPS])
    ints: dict[str, Any] = {k: tuple(int(v) for v in anchor.annotations[k]) for k in (STRIDES, DILATIONS, PADS)}
    if padded is not None and not any_padding and not _surrounds(padded, (h, w), ints[PADS]):
        return None
    return Geometry(
        source=source, padded=padded, weights=weights, prefix=tuple(prefix), n=n, h=h, w=w, ci=c // groups, co=co,
        ho=ho, wo=wo, kh=kh, kw=kw, groups=groups, strides=ints[STRIDES], dilations=ints[DILATIONS], pads=ints[PADS],
    )  # fmt: skip


def _only_parameter(value: Any) -> Buffer:
    """The buffer that a pad stage's ``if_then_else(inside, source[...], fill)`` reads."""
    return value.args[1].source


def _surrounds(padded: Stage, extents: tuple[int, int], pads: tuple[int, int, int, int]) -> bool:
    """Whether ``padded`` is the data with zeros around, as many as ``pads`` says."""
    _, rows, columns, _ = shape_of(padded.buffer)
    if (rows, columns) != (extents[0] + pads[0] + pads[2], extents[1] + pads[1] + pads[3]):
        return False
    _, data, fill = padded.value.args
    moved = [_distance(index, axis) for index, axis in zip(data.indices, padded.axes, strict=True)]
    return moved == [0, pads[0], pads[1], 0] and float(getattr(fill, "value", 1)) == 0


def _distance(index: Any, axis: Any) -> int | None:
    """d of ``axis - d``; None for any other index."""
    if index.same_as(axis):
        return 0
    if type(index).__name__ == "Sub" and index.a.same_as(axis) and type(index.b).__name__ == "IntImm":
        return int(index.b.value)
    return None
