"""The workspace of a function: all that it allocates, wherever that stands."""

from __future__ import annotations

from pathlib import Path

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.link.codegen import STACK_BYTES, compile_function
from edgevision.target import load

KIB = 1024 // 4
"""Elements."""


def test_both_branches_and_what_is_around_them_count(tmp_path: Path) -> None:
    def copied(size: int) -> None:
        kept = T.alloc_buffer((size,), "float32")
        with T.serial(T.int64(size)) as i:
            T.buffer_store(kept, x[i % 8], [i])
        with T.serial(T.int64(8)) as i:
            T.buffer_store(x, kept[size - 1 - i], [i])

    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            x = T.arg("x", T.buffer((8,), "float32"))
            with T.serial(T.int64(2)) as turn:
                copied(2 * KIB)
                with T.If(turn == 0):
                    with T.Then():
                        copied(4 * KIB)
                    with T.Else():
                        copied(8 * KIB)
                copied(STACK_BYTES // 8)
        func = builder.get()
    assert compile_function(func, load("native"), tmp_path / "kernel.o") == 14 * 1024
