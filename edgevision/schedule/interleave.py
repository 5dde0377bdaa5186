"""Template for an image of few channels that comes plane by plane: [n, c, h, w] -> [n, h, w, c], c up to 4.

Vectors of one row of every plane are loaded and shuffled into the pixels' order, so that loads and stores are contiguous.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.register_tile import Buffer, Expr, lanes, load, loop, split_index, store
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Stage, Workload, dtype_of, shape_of
from edgevision.target import Target
from edgevision.tuning_log import Choice

NAME = "interleave"

CHANNELS = range(2, 5)
PARALLEL_ELEMENTS = 16_384
"""Below, waking a second thread costs as much as it saves: generic.PARALLEL_ELEMENTS."""


def schedule(workload: Workload, target: Target, parameters: Mapping[str, int] | None = None) -> Scheduled | None:
    """None where the workload is anything else than such a transposition of 32-bit elements.

    ``parameters``: one of `space`; without, the default, which is the widest vector.
    """
    points = space(workload, target)
    if not points:
        return None
    parameters = parameters or points[0]
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            _emit(*parameters_of(workload, {}), width=parameters["width"])
        func = builder.get()
    return Scheduled(
        func=func, schedule=f"template:{NAME} {parameters['width']}", choice=Choice.of(NAME, parameters)
    )  # fmt: skip


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: the ``width`` of the vectors."""
    if len(workload.stages) != 1 or len(workload.params) != 2 or not _interleaves(workload.stages[0], workload.params[0]):
        return ()
    widest = target.vector_bits // 32
    return tuple({"width": width} for width in (widest, widest // 2) if width >= 4)


def _interleaves(stage: Stage, source: Buffer) -> bool:
    value = stage.value
    if len(stage.axes) != 4 or stage.reduction or type(value).__name__ != "TensorLoad" or not value.source.same_as(source):
        return False
    n, h, w, c = stage.axes
    wanted: Sequence[Expr] = (n, c, h, w)
    ones = [extent == 1 for extent in shape_of(source)]
    moved = all(one or at.same_as(axis) for at, axis, one in zip(value.indices, wanted, ones, strict=True))
    return moved and shape_of(source)[1] in CHANNELS and dtype_of(source) in ("float32", "int32")


def _emit(source: Buffer, target: Buffer, *, width: int) -> None:
    n, c, h, w = shape_of(source)

    def pixels(image: Expr, y: Expr, x: Expr, count: int) -> None:
        planes = [T.Bind(load(source, [image, T.int64(plane), y, x], count)) for plane in range(c)]
        for part in range(c):
            if count == 1:
                store(target, [image, y, x, T.int64(part)], planes[part], 1)
                continue
            order = [divmod(part * count + lane, c) for lane in range(count)]
            mixed = T.Shuffle(planes, [channel * count + pixel for pixel, channel in order])
            store(target, [image, y, x, T.int64(part * count)], mixed, count)

    def row(r: Expr) -> None:
        image, y = split_index(r, (n, h))
        loop(w // width, lambda i: pixels(image, y, i * width, width))
        for v in lanes(w % width, width):
            pixels(image, y, T.int64(w // width * width + v.offset), v.width)

    loop(n * h, row, threads=n * c * h * w >= PARALLEL_ELEMENTS)
