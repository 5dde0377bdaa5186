"""Schedule for every workload that has no template: inline, order the loops for contiguous access, give rows to
threads.

Vector code is left to LLVM, which sees restrict pointers and constant extents.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.schedule import ScheduleError

from edgevision.schedule.scheduled import Scheduled
from edgevision.schedule.workload import rebuild

PARALLEL_ELEMENTS = 16_384
"""Results x reduction steps below which a stage stays on one thread (about 5 us of work, the cost of waking a second
one)."""


def schedule(func: tirx.PrimFunc) -> Scheduled:
    """Always succeeds: what cannot be reordered stays as it is."""
    sch = s_tir.Schedule(tvm.IRModule({"main": func}))
    root = sch.get_sblock("root")
    for block in sch.get_child_blocks(root):
        _inline(sch, block)
    for block in sch.get_child_blocks(root):
        _order(sch, block)
    return Scheduled(func=sch.mod["main"], schedule="default:loops")


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
