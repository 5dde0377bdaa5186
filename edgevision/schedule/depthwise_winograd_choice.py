"""Whether a large depthwise kernel is worth transforming, in pieces of which size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from edgevision.schedule.depthwise import UNROLLED_COLUMNS
from edgevision.schedule.geometry import Geometry, geometry
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.toom_cook import SQUARE_POINTS
from edgevision.schedule.workload import Workload, dtype_of
from edgevision.target import Target

WIDEST_TILE = 14
MULTIPLY, TRANSFORM, WEIGHT = 0.67, 2.2, 4.0
"""Cycles of a channel vector: for a product, for a point of a one-dimensional transform (loaded, combined, stored), for a
weight, which comes from behind the L2. Fitted to 150 cuts of 14 layers of 7x7 to 56x56 pixels and kernels of 5x5 to 51x5, Zen 5,
one thread; the cut that they choose takes at most 1.07 times as long as the fastest."""
DIRECT = 0.65
"""Cycles of a product of a kernel wider than `UNROLLED_COLUMNS` without transforms, the least of those layers. Smaller kernels stay
as they are: 7x7 takes 0.89 to 1.11 times as long with transforms, 5x5 1.2 and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis of a convolution cut into pieces: of ``m`` taps for the kernel, of ``m`` pixels for the output, of 2m - 1 for
    the data, where piece s begins at pixel ``s * m - pad``. Output piece t is the sum over g of F(m, m) of kernel piece g and
    data piece t + g. Pieces [``low``, ``high``) touch the image, the others are zeros."""

    m: int
    size: int
    out: int
    kernel: int
    pad: int

    @property
    def points(self) -> int:
        return 2 * self.m - 1

    @property
    def groups(self) -> int:
        return -(-self.kernel // self.m)

    @property
    def tiles(self) -> int:
        return -(-self.out // self.m)

    @property
    def low(self) -> int:
        return max(0, -(-(self.pad - self.points + 1) // self.m))

    @property
    def high(self) -> int:
        return max(self.low, min(self.tiles + self.groups - 1, (self.size + self.pad - 1) // self.m + 1))

    @property
    def pieces(self) -> int:
        return self.high - self.low

    def inside(self, piece: int) -> tuple[int, int]:
        """[first, last) of the pixels of a data piece that lie in the image, counted from its beginning."""
        start = piece * self.m - self.pad
        return max(0, -start), min(self.points, self.size - start)

    @property
    def products(self) -> int:
        """Pairs of an output piece and a kernel piece whose data piece touches the image."""
        return sum(self.low <= t + g < self.high for t in range(self.tiles) for g in range(self.groups))


def axes(g: Geometry, rows: int, columns: int) -> tuple[Axis, Axis]:
    return (
        Axis(m=rows, size=g.h, out=g.ho, kernel=g.kh, pad=g.pads[0]),
        Axis(m=columns, size=g.w, out=g.wo, kernel=g.kw, pad=g.pads[1]),
    )


def cycles(y: Axis, x: Axis) -> float:
    """Of one channel vector."""
    across = x.points * (y.pieces * x.pieces + y.tiles * x.tiles) if x.m > 1 else 0
    along = y.pieces * x.size + y.tiles * x.out
    weights = y.points * x.points * y.groups * x.groups
    return (
        MULTIPLY * y.points * x.points * y.products * x.products + TRANSFORM * y.points * (across + along) + WEIGHT * weights
    )


def takes(workload: Workload) -> Geometry | None:
    """The geometry of a float32 depthwise convolution, stride 1, with a kernel wider or higher than 3."""
    found = elementwise_tail(workload)
    g = geometry(workload, found[0]) if found else None
    if g is None or dtype_of(g.source) != "float32":
        return None
    return g if g.depthwise and g.steps_by_one and max(g.kh, g.kw) >= max(SQUARE_POINTS) else None


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: pieces of ``rows`` x ``columns`` taps; a register tile of ``tile`` pieces of columns."""
    g = takes(workload)
    if g is None:
        return ()
    found = []
    for rows, columns in _cuts(g):
        x = axes(g, rows, columns)[1]
        found += [
            {"rows": rows, "columns": columns, "tile": tile, "chunk": chunk}
            for tile in sorted({-(-x.tiles // n) for n in range(1, x.tiles + 1)})
            for chunk in range(1, min(x.groups, 12) + 1)
            if tile + chunk + 2 <= target.vector_registers and tile * chunk >= min(target.vector_registers, x.tiles * x.groups)
        ]
    own = default(g, target)
    return (*found, *(() if own in found else (own,)))


def _cuts(g: Geometry) -> tuple[tuple[int, int], ...]:
    """A long axis is always cut; short ones may stay."""
    rows, columns = (
        tuple(m for m in SQUARE_POINTS if (m > 1 or k <= UNROLLED_COLUMNS) and m <= k) for k in (g.kh, g.kw)
    )
    return tuple(c for c in product(rows, columns) if c != (1, 1))


def default(g: Geometry, target: Target) -> dict[str, int]:
    """The cheapest cut; a chunk of the kernel that leaves most registers to the tile, and equal tiles."""
    rows, columns = min(_cuts(g), key=lambda cut: cycles(*axes(g, *cut)))
    x = axes(g, rows, columns)[1]
    chunk = min(x.groups, 8 if target.vector_registers >= 32 else 5)
    widest = min(WIDEST_TILE, target.vector_registers - chunk - 2)
    return {"rows": rows, "columns": columns, "tile": -(-x.tiles // -(-x.tiles // widest)), "chunk": chunk}


def pays(g: Geometry) -> bool:
    """Whether the cheapest cut takes less time than the kernel as it is."""
    y, x = axes(g, 1, 1)
    direct = DIRECT * y.products * x.products + WEIGHT * g.kh * g.kw
    return max(g.kh, g.kw) > UNROLLED_COLUMNS and min(cycles(*axes(g, *cut)) for cut in _cuts(g)) < direct
