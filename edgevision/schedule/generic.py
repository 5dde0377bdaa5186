"""Schedule for every workload that has no template: inline, order the loops for contiguous access, give rows to
threads.

Elementwise stages are written as vectors: LLVM does not know that the buffers of a parallel loop are apart, and left an
addition of two 112x112x16 tensors scalar (159 us instead of 23). Other vector code is left to LLVM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.schedule import ScheduleError

from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.workload import nodes, rebuild
from edgevision.tuning_log import Choice

PARALLEL_ELEMENTS = 16_384
"""Results x reduction steps below which a stage stays on one thread (about 5 us of work, the cost of waking a second
one)."""
PARALLEL_IN_VECTORS = 4 * PARALLEL_ELEMENTS
"""Likewise of elementwise vectors: a product of 16,384 pairs takes 3.3 us on one thread and 5.5 us on two (Zen 5)."""

NAME = "loops"

WIDEST_VECTOR = 16
"""Elements. LLVM cuts them to registers."""

NARROWEST_VECTOR = 4


def schedule(func: tirx.PrimFunc, parameters: Mapping[str, int] | None = None) -> Scheduled:
    """Always succeeds: what cannot be reordered stays as it is. ``parameters``: one of `space`; without, the default."""
    sch = s_tir.Schedule(tvm.IRModule({"main": func}))
    root = sch.get_sblock("root")
    for block in sch.get_child_blocks(root):
        _inline(sch, block)
    vectors = parameters is None or parameters["vectors"]
    for block in sch.get_child_blocks(root):
        width = _vector(sch, block) if vectors else 1
        if width > 1:
            _vectorize(sch, block, width)
        else:
            _order(sch, block)
    choice = Choice.of(NAME, parameters or default(func))
    return Scheduled(func=sch.mod["main"], schedule=f"default:{NAME}", choice=choice)


def space(func: tirx.PrimFunc) -> tuple[dict[str, int], ...]:
    """Elementwise stages as explicit vectors or not; one point where that is the same."""
    sch = s_tir.Schedule(tvm.IRModule({"main": func}))
    root = sch.get_sblock("root")
    for block in sch.get_child_blocks(root):
        _inline(sch, block)
    either = any(_vector(sch, block) > 1 for block in sch.get_child_blocks(root))
    return ({"vectors": 0}, {"vectors": 1}) if either else ({"vectors": 0},)


def default(func: tirx.PrimFunc) -> dict[str, int]:
    return space(func)[-1]


def _vector(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> int:
    """How many elements along the last axis one vector may hold: they must lie side by side in every tensor that is
    read, or be one element of it. 1 where there is no such vector."""
    body, loops = sch.get(block).body, sch.get_loops(block)
    axes = [v.var for v in sch.get(block).iter_vars]
    if _reduces(sch, block) or not isinstance(body, tirx.BufferStore) or not axes or len(axes) != len(loops):
        return 1
    last, plain = axes[-1], body.indices[-1].same_as(axes[-1])

    def load(source: tirx.Buffer, indices: Sequence[tirx.PrimExpr]) -> tirx.PrimExpr:
        nonlocal plain
        apart = any(_uses(i, last) for i in indices[:-1])
        plain = plain and not apart and all(i.same_as(last) or not _uses(i, last) for i in indices[-1:])
        return source[tuple(indices)]

    rebuild(body.value, {}, load)
    if not plain or _calls(body.value):
        return 1
    extent, width = int(sch.get(loops[-1]).extent), WIDEST_VECTOR
    while extent % width:
        width //= 2
    return width if width >= NARROWEST_VECTOR else 1


def _uses(expr: tirx.PrimExpr, variable: tirx.Var) -> bool:
    return any(variable.same_as(node) for node in nodes(expr))


def _calls(expr: tirx.PrimExpr) -> bool:
    """Functions of vectors may become calls for each element; branches cannot be vectors."""
    return any(isinstance(node, tvm.ir.Call) for node in nodes(expr))


def _vectorize(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV, width: int) -> None:
    loops = sch.get_loops(block)
    work = 1
    for each in loops:
        work *= int(sch.get(each).extent)
    outer, inner = sch.split(loops[-1], [None, width])
    sch.vectorize(inner)
    if work >= PARALLEL_IN_VECTORS:
        # Vectors of a row stay one loop: taking their number apart again took as long as the work.
        rows = any(int(sch.get(each).extent) > 1 for each in loops[:-1])
        _give_to_threads(sch, list(loops[:-1]) if rows else [outer])


def _inline(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> None:
    """Compute an elementwise stage inside its consumer when that is the only one and reads it in one place."""
    consumers = sch.get_consumers(block)
    if len(consumers) != 1 or _reduces(sch, block) or _reduces(sch, consumers[0]):
        return
    if _reads(sch.get(consumers[0]).body, sch.get(block).writes[0].source) != 1:
        return
    try:
        sch.compute_inline(block)
    except ScheduleError:
        return


def _reads(body: tirx.Stmt, buffer: tirx.Buffer) -> int:
    """In how many places ``body`` reads ``buffer``: each would become a copy of what computes it."""
    places = 0

    def load(source: tirx.Buffer, indices: Sequence[tirx.PrimExpr]) -> tirx.PrimExpr:
        nonlocal places
        places += int(source.same_as(buffer))
        return source[tuple(indices)]

    if not isinstance(body, tirx.BufferStore):
        return 0
    rebuild(body.value, {}, load)
    return places


def _reduces(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> bool:
    return any(v.iter_type != tirx.IterVar.DataPar for v in sch.get(block).iter_vars)


def _order(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> None:
    loops = sch.get_loops(block)
    kinds = [v.iter_type for v in sch.get(block).iter_vars]
    if len(kinds) != len(loops) or not loops:
        return
    extents = [int(sch.get(loop).extent) for loop in loops]
    work = 1
    for extent in extents:
        work *= extent
    spatial = [loop for loop, k in zip(loops, kinds, strict=True) if k == tirx.IterVar.DataPar]
    reduction = [loop for loop, k in zip(loops, kinds, strict=True) if k != tirx.IterVar.DataPar]
    if len(reduction) + len(spatial) != len(loops):
        return
    last_is_long = bool(spatial) and int(sch.get(spatial[-1]).extent) >= 4
    outer = spatial
    if reduction and last_is_long:
        sch.reorder(*spatial[:-1], *reduction, spatial[-1])
        outer = spatial[:-1]
    elif not reduction:
        outer = spatial[:-1] if last_is_long else spatial
    if work >= PARALLEL_ELEMENTS and outer:
        _give_to_threads(sch, outer)
    if reduction:
        sch.decompose_reduction(block, reduction[0])


def _give_to_threads(sch: s_tir.Schedule, outer: list[s_tir.schedule.LoopRV]) -> None:
    fused = sch.fuse(*outer) if len(outer) > 1 else outer[0]
    if int(sch.get(fused).extent) > 1:
        sch.parallel(fused)
