"""Concatenation as a finished kernel: one copy loop an operand, no choice inside a loop."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

PARALLEL_ELEMENTS = 65_536
"""Copies below this stay on one thread: 256 KB, some 10 us of memory traffic."""


CHANNELS = "ev.concat_channels"
"""Function attribute of a concatenation along the last axis: how many channels each operand brings."""

RUNS = "ev.concat_runs"
"""Function attribute of any concatenation: how many elements of each operand lie side by side in the result."""


def concat_kernel(shapes: Sequence[tuple[int, ...]], shape: tuple[int, ...], axis: int, dtype: str) -> tirx.PrimFunc:
    """Copy operands of ``shapes`` side by side along ``axis`` into ``shape``, all dense."""
    outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
    row = shape[axis] * inner
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("concat")
            T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
            T.func_attr({RUNS: [s[axis] * inner for s in shapes]})
            if axis == len(shape) - 1:
                T.func_attr({CHANNELS: [s[axis] for s in shapes]})
            sources = [T.arg(f"x{i}", T.buffer((prod(s),), dtype, layout=None)) for i, s in enumerate(shapes)]
            target = T.arg("y", T.buffer((outer * row,), dtype, layout=None))
            start = 0
            for source, s in zip(sources, shapes, strict=True):
                _copy(source, target, outer, s[axis] * inner, row, start)
                start += s[axis] * inner
        return builder.get()


def _copy(source: Any, target: Any, outer: int, count: int, row: int, start: int) -> None:
    """``outer`` runs of ``count`` elements, one every ``row`` elements of the target from ``start``."""
    if not count or not outer:
        return
    spread = T.parallel if outer > 1 and outer * count >= PARALLEL_ELEMENTS else T.serial
    with spread(T.int64(outer)) as o, T.serial(T.int64(count)) as i:
        T.buffer_store(target, source[o * count + i], [o * row + start + i])
