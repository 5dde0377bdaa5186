"""Kernels whose steps depend on one another: running sums, the k greatest, scattered updates. Each is a finished PrimFunc."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

Expr = Any
Buffer = Any
Shape = Sequence[int]

ROWS = "ev.rows"
"""Function attribute: the outermost loop runs over rows that do not depend on one another."""

PARALLEL_STEPS = 65_536
"""Steps below which a kernel stays on one thread (some 20 us of work)."""


def cumulative_sum_kernel(shape: Shape, axis: int, dtype: str, *, exclusive: bool, reverse: bool) -> tirx.PrimFunc:
    """y[o, i, n] = y[o, i - 1, n] + x[o, i, n]; exclusive: x[o, i - 1, n]; reverse: from the end."""
    outer, length, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])

    def body(x: Buffer, y: Buffer) -> None:
        T.func_attr({ROWS: outer})
        with _rows(outer, outer * length * inner) as o:
            base = o * (length * inner)

            def at(step: Expr, n: Expr) -> Expr:
                return base + (length - 1 - step if reverse else step) * inner + n

            with T.serial(T.int64(inner)) as n:
                first = tirx.const(0, dtype) if exclusive else x[at(T.int64(0), n)]
                T.buffer_store(y, first, [at(T.int64(0), n)])
            with T.serial(T.int64(length - 1)) as i, T.serial(T.int64(inner)) as n:
                term = x[at(i if exclusive else i + 1, n)]
                T.buffer_store(y, y[at(i, n)] + term, [at(i + 1, n)])

    return _kernel("cumsum", [(outer * length * inner, dtype)], (outer * length * inner, dtype), body)


def top_k_kernel(shape: Shape, axis: int, dtype: str, k: int, *, is_max: bool) -> tirx.PrimFunc:
    """Positions (int64) of the k greatest (least) along ``axis``, best first, the earlier of equals first.

    Insertion into a sorted list of k: each element costs one comparison with the worst kept, and k more if it enters.
    """
    outer, length, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])

    def body(x: Buffer, y: Buffer) -> None:
        T.func_attr({ROWS: outer})
        with _rows(outer, outer * length * inner) as o, T.serial(T.int64(inner)) as n:

            def element(i: Expr) -> Expr:
                return x[(o * length + i) * inner + n]

            def slot(j: Expr) -> Expr:
                return (o * k + j) * inner + n

            with T.serial(T.int64(length)) as i:
                value = T.Bind(element(i))

                def beats(j: Expr, value: Expr = value, i: Expr = i) -> Expr:
                    """Whether ``value`` goes before what slot j holds; slots from i on are empty."""
                    held = element(y[slot(j)])
                    better = value > held if is_max else value < held
                    return tirx.if_then_else(j < i, better, tirx.const(1, "bool"))

                with T.If(beats(T.int64(k - 1))), T.Then(), T.serial(T.int64(k)) as back:
                    j = T.Bind(T.int64(k - 1) - back)
                    # Sorted: what slot j - 1 loses moves on to slot j; the first slot that it does not lose ends the run.
                    moved = tirx.if_then_else(
                        j > 0,
                        tirx.if_then_else(beats(tirx.max(j - 1, T.int64(0))), y[slot(tirx.max(j - 1, T.int64(0)))], i),
                        i,
                    )
                    with T.If(beats(j)), T.Then():
                        T.buffer_store(y, moved, [slot(j)])

    return _kernel("topk", [(prod(shape), dtype)], (outer * k * inner, "int64"), body)


def scatter_kernel(
    data: int, dtype: str, indices: int, index_dtype: str, updates: int,
    place: Callable[[Expr, Buffer], tuple[Expr, Expr]], combine: Callable[[Expr, Expr], Expr],
) -> tirx.PrimFunc:  # fmt: skip
    """Copy ``data``, then for each update u in order: y[p] = combine(y[p], update), (p, valid) = place(u, indices).

    The sizes count elements. Updates whose place is not valid (an index outside the tensor) are dropped.
    """

    def body(x: Buffer, where: Buffer, update: Buffer, y: Buffer) -> None:
        with T.serial(T.int64(data)) as i:
            T.buffer_store(y, x[i], [i])
        with T.serial(T.int64(updates)) as u:
            position, valid = place(u, where)
            at = T.Bind(position)
            with T.If(valid), T.Then():
                T.buffer_store(y, combine(y[at], update[u]), [at])

    return _kernel("scatter", [(data, dtype), (indices, index_dtype), (updates, dtype)], (data, dtype), body)


@contextmanager
def _rows(count: int, steps: int) -> Any:
    spread = T.parallel if count > 1 and steps >= PARALLEL_STEPS else T.serial
    with spread(T.int64(count)) as row:
        yield row


def _kernel(name: str, operands: Sequence[tuple[int, str]], result: tuple[int, str], body: Callable[..., None]) -> tirx.PrimFunc:
    """A PrimFunc on flat buffers of (elements, dtype)."""
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
            arguments = [T.arg(f"x{i}", T.buffer((n,), dtype, layout=None)) for i, (n, dtype) in enumerate(operands)]
            arguments.append(T.arg("y", T.buffer((result[0],), result[1], layout=None)))
            body(*arguments)
        return builder.get()
