"""Template for the product of two tensors that are both computed, as in attention: a[..., i, k] x b[..., k, j].

An outer product in registers as in `conv2d`; but b comes as it is, so that a tile reads a row of it in pieces of ``vectors``
vectors, a whole row apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule import tile_choice
from edgevision.schedule.conv2d import PARALLEL_MACS
from edgevision.schedule.conv2d_choice import full_blocks
from edgevision.schedule.register_tile import Buffer, Expr, Lanes, accumulate, cleared, lanes, load, loop, split_index
from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.tail import Tail, elementwise_tail
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Stage, Workload, dtype_of, shape_of
from edgevision.target import Target
from edgevision.tuning_log import Choice

NAME = "product"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """``a`` and ``b`` are parameters; ``stage`` their product, summed over ``depth`` steps."""

    stage: Stage
    a: Expr
    b: Expr
    depth: int

    @property
    def rows(self) -> int:
        return shape_of(self.stage.buffer)[-2]

    @property
    def columns(self) -> int:
        return shape_of(self.stage.buffer)[-1]

    @property
    def batch(self) -> tuple[int, ...]:
        return shape_of(self.stage.buffer)[:-2]


def schedule(workload: Workload, target: Target, parameters: Mapping[str, int] | None = None) -> Scheduled | None:
    """None where the workload is anything else than such a product of float32 with an elementwise tail. ``parameters``: one of
    `space`; without, the modelled best tile."""
    found = _operands(workload)
    points = space(workload, target)
    tail = elementwise_tail(workload, found.stage) if found else None
    if found is None or tail is None or not points:
        return None
    parameters = parameters or _default(found, target)
    numbers = [workload.number_of(each.source) for each in (found.a, found.b)]
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            places = parameters_of(workload, {numbers[1]: (prod(shape_of(found.b.source)),)})
            _emit(found, places[numbers[0]], places[numbers[1]], Tail(workload, *tail, places), target, parameters)
        func = builder.get()
    name = f"template:{NAME} {parameters['pixels']}x{parameters['vectors']}"
    return Scheduled(func=func, schedule=name, choice=Choice.of(NAME, parameters))


def space(workload: Workload, target: Target) -> tuple[dict[str, int], ...]:
    """What can be chosen: ``pixels`` (rows of a) x ``vectors`` of the register tile."""
    found = _operands(workload)
    if found is None or workload.views or elementwise_tail(workload, found.stage) is None:
        return ()
    tiles = tile_choice.contenders(
        found.rows, found.columns, found.depth, target.vector_bits // 32, target.vector_registers,
        lane_form=_step(found, target) > 1,
    )  # fmt: skip
    return tuple({"pixels": tile.pixels, "vectors": tile.vectors} for tile in tiles)


def _default(found: Operands, target: Target) -> dict[str, int]:
    tile = tile_choice.choose(
        found.rows, found.columns, found.depth, target.vector_bits // 32, target.vector_registers,
        lane_form=_step(found, target) > 1,
    )  # fmt: skip
    return {"pixels": tile.pixels, "vectors": tile.vectors}


def _step(found: Operands, target: Target) -> int:
    return 4 if target.neon and found.depth % 4 == 0 else 1


def _operands(workload: Workload) -> Operands | None:
    sums = [stage for stage in workload.stages if stage.reduction]
    if len(sums) != 1 or len(sums[0].steps) != 1 or len(sums[0].axes) < 2:
        return None
    stage, (k,) = sums[0], sums[0].reduction
    *batch, i, j = stage.axes
    if type(stage.value).__name__ != "Add" or type(stage.value.b).__name__ != "Mul":
        return None
    a, b = stage.value.b.a, stage.value.b.b
    if not all(type(e).__name__ == "TensorLoad" and _is_given(workload, e.source) for e in (a, b)):
        return None
    ends = [*zip(a.indices[-2:], (i, k), strict=True), *zip(b.indices[-2:], (k, j), strict=True)] if _deep(a) and _deep(b) else []
    straight = bool(ends) and all(at.same_as(axis) for at, axis in ends)
    own = all(_is_zero(at) or any(at.same_as(axis) for axis in batch) for e in (a, b) for at in e.indices[:-2])
    return Operands(stage=stage, a=a, b=b, depth=stage.steps[0]) if straight and own else None


def _deep(operand: Expr) -> bool:
    return len(operand.indices) >= 2


def _is_given(workload: Workload, buffer: Buffer) -> bool:
    return dtype_of(buffer) == "float32" and any(p.same_as(buffer) for p in workload.params[:-1])


def _is_zero(index: Expr) -> bool:
    return type(index).__name__ == "IntImm" and int(index) == 0


def _emit(found: Operands, a: Buffer, b: Buffer, tail: Tail, target: Target, parameters: Mapping[str, int]) -> None:
    """Batches and blocks of columns over threads; in each, the tiles of rows."""
    cover, vectors, tile = lanes(found.columns, target.vector_bits // 32), parameters["vectors"], parameters["pixels"]
    whole = full_blocks(cover, vectors)
    size = sum(v.width for v in cover[:vectors])
    rest = tuple(Lanes(v.offset - whole * size, v.width) for v in cover[whole * vectors :])
    batches, step = prod(found.batch), _step(found, target)
    threads = batches * found.rows * found.columns * found.depth > PARALLEL_MACS

    def block(at: tuple[Expr, ...], column: Expr, own: tuple[Lanes, ...]) -> None:
        count, left = divmod(found.rows, tile)
        loop(count, lambda t: _tile(found, a, b, tail, step, at, t * tile, tile, column, own))
        if left:
            _tile(found, a, b, tail, step, at, T.int64(count * tile), left, column, own)

    def one(number: Expr) -> None:
        *at, which = split_index(number, (*found.batch, whole))
        block(tuple(at), which * size, cover[:vectors])

    loop(batches * whole, one, threads=threads)
    if rest:
        loop(batches, lambda n: block(split_index(n, found.batch), T.int64(whole * size), rest), threads=threads)


def _tile(
    found: Operands, a: Buffer, b: Buffer, tail: Tail, step: int,
    at: tuple[Expr, ...], row: Expr, rows: int, column: Expr, vectors: tuple[Lanes, ...],
) -> None:  # fmt: skip
    batch = dict(zip(found.stage.axes[:-2], at, strict=True))
    of_a, of_b = ([batch.get(index, index) for index in each.indices[:-2]] for each in (found.a, found.b))
    start: Expr = T.int64(0)
    for extent, index in zip(shape_of(found.b.source)[:-2], of_b, strict=True):
        start = start * extent + index
    first = start * (found.depth * found.columns) + column
    acc = cleared(rows, vectors)

    def steps(k: Expr) -> None:
        elements = [T.Bind(load(a, [*of_a, row + r, k * step], step)) for r in range(rows)]
        accumulate(acc, vectors, elements, step, b, first + k * (step * found.columns), found.columns)

    loop(found.depth // step, steps)
    for r, line in enumerate(acc):
        for each, v in zip(line, vectors, strict=True):
            tail.store((*at, row + r), column + v.offset, each, v.width)
