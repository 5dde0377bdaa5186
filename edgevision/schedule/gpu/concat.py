"""Concatenation as one kernel: each work item finds the operand that its vector comes from."""

from __future__ import annotations

from math import gcd

from tvm import tirx
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.gpu import kernel as k
from edgevision.schedule.gpu.scheduled import DeviceSchedule, Kernel
from edgevision.schedule.register_tile import load, split_index, store
from edgevision.schedule.workload import dtype_of, shape_of
from edgevision.target import Target

NAME = "concat"
RUNS = "ev.concat_runs"
"""Function attribute that `lower` puts on a concatenation: how many elements of each operand lie side by side in the result."""


def schedule(func: tirx.PrimFunc, runs: tuple[int, ...], target: Target) -> DeviceSchedule:
    """``runs``: how many elements of each operand lie side by side in the result; parameters are flat."""
    (elements,) = shape_of(func.params[-1])
    dtype = dtype_of(func.params[-1])
    row = sum(runs)
    width = gcd(1 if dtype == "bool" else target.vector_bits // 32, *runs)
    outer, vectors = elements // row, row // width

    def body() -> None:
        sources = [T.arg(f"p{i}", T.buffer(shape_of(p), dtype, layout=None)) for i, p in enumerate(func.params[:-1])]
        result = T.arg(f"p{len(runs)}", T.buffer((elements,), dtype, layout=None))
        with k.work_items(k.grid(outer * vectors, target.work_group)) as item:
            o, vector = split_index(item, (outer, vectors))
            at = T.Bind(vector * width)
            start = 0
            for source, run in zip(sources, runs, strict=True):
                with T.If(tirx.all(at >= T.int64(start), at < T.int64(start + run))), T.Then():
                    store(result, [o * row + at], load(source, [o * run + at - start], width), width)
                start += run

    return DeviceSchedule(kernels=(Kernel(func=k.build(body), arguments=tuple(range(len(runs) + 1))),), schedule=f"template:{NAME}")
