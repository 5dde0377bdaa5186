"""Kernels that `lower` wrote as loops (running sums, the k greatest, scattered updates): their independent rows become the grid.

What has no such rows runs in one work item, because every step depends on the one before; such steps are named "sequential" in
every report.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

from edgevision.program import GROUP_SIZE, GROUPS
from edgevision.schedule.gpu.scheduled import DeviceSchedule, Kernel
from edgevision.target import Target

NAME = "sequential"
ROWS = "ev.rows"
"""Function attribute that `lower` puts on a kernel whose outermost loop runs over rows that do not depend on one another."""


def schedule(func: tirx.PrimFunc, target: Target) -> DeviceSchedule:
    del target  # every group is one work item: rows are few and long
    body = func.body.block.body if hasattr(func.body, "block") else func.body
    spread = isinstance(body, tirx.For) and func.attrs.get(ROWS) is not None
    groups = int(body.extent) if spread else 1
    group = body.loop_var if spread else tirx.Var("group", "int32")
    bound = _bind(tirx.Var("member", "int32"), "threadIdx.x", 1, body.body if spread else body)
    bound = _bind(group, "blockIdx.x", groups, bound)
    made = tirx.PrimFunc(func.params, bound, func.ret_type, func.attrs).with_attr({GROUPS: groups, GROUP_SIZE: 1})
    return DeviceSchedule(
        kernels=(Kernel(func=made, arguments=tuple(range(len(func.params)))),),
        schedule=f"{'default' if spread else 'sequential'}:loops",
    )


def _bind(variable: tirx.Var, tag: str, extent: int, body: Any) -> Any:
    axis = tirx.IterVar(None, variable, tirx.IterVar.ThreadIndex, tag)
    return tirx.AttrStmt(axis, "thread_extent", tirx.const(extent, "int32"), body)
