"""What Winograd's products read: B^T d B of each tile d of an image, channel vector by channel vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.linear_map import times
from edgevision.schedule.register_tile import Buffer, Expr, lanes, load, loop, split_index, store, zero
from edgevision.schedule.winograd_plan import Plan, Strip


def transform_data(plan: Plan, strip: Strip, part: Expr, source: Buffer, transformed: Buffer) -> None:
    """Tiles that reach beyond the image, and channels that do not fill their vectors, by way of a copy with zeros."""
    g, size, step, width = plan.geometry, plan.size, plan.stride * plan.outputs, plan.width
    vectors = plan.part // width

    def tile(number: Expr) -> None:
        image, line, tx = split_index(number, (strip.images, strip.rows, plan.columns))
        corner = _Corner(
            image=strip.image + image, y=T.Bind((strip.row + line) * step - g.pads[0]), x=T.Bind(tx * step - g.pads[1])
        )  # fmt: skip

        def transform(of_group: Callable[[Expr, Expr, Expr, Expr], Expr]) -> None:
            """``of_group``: the vector at a pixel of the tile, of a group, from a channel of the part on."""

            def vector(block: Expr) -> None:
                group, own = split_index(block, (g.groups, vectors))
                values = _transformed(plan, lambda y, x: of_group(y, x, group, own * width))
                for point, value in enumerate(values):
                    at = point * plan.plane + number * plan.pitch + block * width
                    store(transformed, [at], value, width)

            loop(g.groups * vectors, vector)

        def copied() -> None:
            near = T.alloc_buffer((size, size, g.groups, plan.part), "float32", layout=None)
            _copy(plan, corner, part, source, near)
            transform(lambda y, x, group, ch: load(near, [y, x, group, ch], width))

        if g.ci % width or g.h < size or g.w < size:
            copied()
            return
        first = part * plan.part
        with T.If(corner.inside(g.h - size, g.w - size)):
            with T.Then():
                transform(lambda y, x, group, ch: load(source, corner.at(y, x, group * g.ci + first + ch), width))
            with T.Else():
                copied()

    loop(strip.images * strip.rows * plan.columns, tile, threads=not plan.apart)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Corner:
    """Where in the source a tile starts, perhaps before it."""

    image: Expr
    y: Expr
    x: Expr

    def at(self, y: Expr, x: Expr, channel: Expr) -> list[Expr]:
        return [self.image, self.y + y, self.x + x, channel]

    def inside(self, last_y: Expr, last_x: Expr, y: Expr = 0, x: Expr = 0) -> Expr:
        """Whether the pixel (y, x) of the tile is one of the source, up to its pixel (last_y, last_x)."""
        row = T.And(self.y + y >= 0, self.y + y <= last_y)
        return T.And(row, T.And(self.x + x >= 0, self.x + x <= last_x))


def _copy(plan: Plan, corner: _Corner, part: Expr, source: Buffer, near: Buffer) -> None:
    """A tile's data of one part of the channels, with zeros where there are none: near[y, x, group, channel]."""
    g, width = plan.geometry, plan.width
    whole, rest = divmod(plan.part if plan.parts > 1 else g.ci, width)

    def channels(y: Expr, x: Expr, group: Expr) -> None:
        def copy(ch: Expr, v: int) -> None:
            value = load(source, corner.at(y, x, group * g.ci + part * plan.part + ch), v)
            store(near, [y, x, group, ch], value, v)

        loop(whole, lambda i: copy(i * width, width))
        for v in lanes(rest, width):
            copy(T.int64(whole * width + v.offset), v.width)
        for v in lanes(plan.part - whole * width - rest, width):
            store(near, [y, x, group, T.int64(whole * width + rest + v.offset)], zero(v.width), v.width)

    def pixel(y: Expr, x: Expr) -> None:
        with T.If(corner.inside(g.h - 1, g.w - 1, y, x)):
            with T.Then():
                loop(g.groups, lambda group: channels(y, x, group))
            with T.Else():
                loop(
                    g.groups * (plan.part // width),
                    lambda i: store(near, [y, x, *split_index(i * width, (g.groups, plan.part))], zero(width), width),
                )

    loop(plan.size, lambda y: loop(plan.size, lambda x: pixel(y, x)))


def _transformed(plan: Plan, element: Callable[[Expr, Expr], Expr]) -> list[Expr]:
    """B^T d B of the vectors d at a tile's pixels: a value a point."""
    matrix, size, half = plan.matrices.data, plan.size, []
    for x in plan.order:
        column = [T.Bind(element(y, x)) for y in plan.order]
        half.append(times(matrix, column, plan.width))
    return [value for a in range(size) for value in times(matrix, [half[x][a] for x in range(size)], plan.width)]
