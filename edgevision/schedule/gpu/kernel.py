"""The pieces of a device kernel: the grid, work items with a number, registers of vectors, values of vectors.

A kernel is a PrimFunc whose parameters are called p0, p1, ... and whose grid is constant. The number of a work item is taken
apart by the template: neighbours in a work group should read neighbouring memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.sym import Analyzer
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.program import GROUP_SIZE, GROUPS
from edgevision.schedule.gpu.scheduled import Kernel
from edgevision.schedule.register_tile import Buffer, Expr, broadcast

WIDEST_VECTOR = 16  # elements, in OpenCL
LEAST_GROUPS = 8
"""Work groups shrink until there are so many: a device shares out whole groups among its compute units."""


@dataclass(frozen=True, slots=True)
class Grid:
    """``items`` work items in groups of ``size``; the last group may be partly idle."""

    items: int
    size: int

    @property
    def groups(self) -> int:
        return -(-self.items // self.size)


def grid(items: int, most: int) -> Grid:
    """Groups of a power of two, at most ``most`` work items, that leave idle less than an eighth of them."""
    size = 1
    while size * 2 <= most and -(-items // (2 * size)) >= LEAST_GROUPS:
        size *= 2
    while size > 1 and 8 * (-(-items // size) * size - items) > items:
        size //= 2
    return Grid(items, size)


@contextmanager
def work_items(over: Grid) -> Iterator[Expr]:
    """The number of the work item, 0 .. items-1, as int64."""
    T.func_attr({"tirx.noalias": True, GROUPS: over.groups, GROUP_SIZE: over.size})
    with T.launch_thread("blockIdx.x", over.groups) as group, T.launch_thread("threadIdx.x", over.size) as member:
        number = T.Bind(T.cast(group * over.size + member, "int64"))
        if over.groups * over.size == over.items:
            yield number
        else:
            with T.If(number < T.int64(over.items)), T.Then():
                yield number


@dataclass(frozen=True, slots=True)
class Member:
    """One of ``count`` work items that compute item number ``item`` together: its ``share`` is 0 .. count-1. ``exists``: whether
    there is such an item (None: always); where there is none, the last item stands in. The group has ``lanes`` items, this one is
    number ``lane``."""

    item: Expr
    share: Expr
    count: int
    lane: Expr
    lanes: int
    exists: Expr | None


@contextmanager
def sharing(items: int, lanes: int, count: int) -> Iterator[Member]:
    """``count`` work items for each of ``items``, in groups of ``lanes`` items; neighbours have different items."""
    over = Grid(items, lanes)
    T.func_attr({"tirx.noalias": True, GROUPS: over.groups, GROUP_SIZE: lanes * count})
    with T.launch_thread("blockIdx.x", over.groups) as group, T.launch_thread("threadIdx.x", lanes * count) as member:
        number = T.Bind(T.cast(group * lanes + member % lanes, "int64"))
        whole = items % lanes == 0
        yield Member(
            item=number if whole else T.Bind(T.min(number, T.int64(items - 1))), share=T.Bind(T.cast(member // lanes, "int64")),
            count=count, lane=T.Bind(T.cast(member % lanes, "int64")), lanes=lanes,
            exists=None if whole else number < T.int64(items),
        )  # fmt: skip


def meet(member: Member, acc: Buffer, count: int, width: int, finish: Callable[[], None]) -> None:
    """Adds the ``count`` vectors of all that share an item up in local memory; the first of them goes on with ``finish``."""
    parts = T.alloc_buffer(((member.count - 1) * count * member.lanes * width,), "float32", scope="shared", layout=None)

    def place(share: Expr, number: int) -> Expr:
        at = ((share * count + number) * member.lanes + member.lane) * width
        return T.ramp(at, 1, width) if width > 1 else at

    with T.If(member.share > T.int64(0)), T.Then():
        for number in range(count):
            T.buffer_store(parts, acc[number], [place(member.share - 1, number)])
    T.evaluate(T.tvm_storage_sync("shared"))

    def add() -> None:
        with T.serial(T.int64(member.count - 1)) as share:
            for number in range(count):
                put(acc, number, acc[number] + parts[place(share, number)])
        finish()

    when(both(member.share == T.int64(0), member.exists), add)


def build(body: Callable[[], None]) -> tirx.PrimFunc:
    """The function that ``body`` emits: its parameters, then its work items."""
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            body()
        return builder.get()


def used_only(func: tirx.PrimFunc, touched: Collection[int]) -> Kernel:
    """The kernel without the parameters that it never touches."""
    kept = sorted(touched)
    bare = tirx.PrimFunc([func.params[i] for i in kept], func.body, func.ret_type, func.attrs)
    return Kernel(func=bare, arguments=tuple(kept))


def registers(count: int, width: int, dtype: str = "float32") -> Buffer:
    """``count`` vectors of one work item, cleared. They stay registers while every index is a constant."""
    kind = dtype if width == 1 else f"{dtype}x{width}"
    found = T.alloc_buffer((count,), kind, scope="local", layout=None)
    for i in range(count):
        T.buffer_store(found, broadcast(T.cast(0, dtype) if dtype != "float32" else T.float32(0), width), [i])
    return found


def scalars(count: int, dtype: str = "float32") -> Buffer:
    """``count`` numbers of one work item, not cleared."""
    return T.alloc_buffer((count,), dtype, scope="local", layout=None)


def keep(number: Expr) -> Expr:
    """``number`` in a variable of the kernel. TVM writes a bound value out wherever it is used, and nested index arithmetic grows
    beyond what a driver's compiler should be given; it cannot see through a variable. Nor can it tell its sign: take numbers
    apart before they are kept. A power of two that divides ``number`` stays in sight: TVM proves by it that vectors are aligned."""
    if isinstance(number, tirx.IntImm):
        return number
    analyzer = Analyzer()
    known = analyzer.modular_set(number)
    factor = gcd(int(known.coeff), int(known.base), WIDEST_VECTOR)
    place = T.alloc_buffer((1,), "int32", scope="local", layout=None)
    T.buffer_store(place, T.cast(analyzer.simplify(tirx.floordiv(number, T.int64(factor))), "int32"), [0])
    kept = T.cast(place[0], "int64")
    return kept * factor if factor > 1 else kept


def put(registers_: Buffer, number: int, value: Any) -> None:
    T.buffer_store(registers_, value, [number])


def both(*conditions: Expr) -> Expr:
    """The conjunction; None stands for true. None if nothing remains."""
    given = [c for c in conditions if c is not None]
    return tirx.all(*given) if given else None


def when(condition: Expr | None, body: Callable[[], None]) -> None:
    """``body`` where ``condition`` holds; None: always."""
    if condition is None:
        body()
        return
    with T.If(condition), T.Then():
        body()


def either(condition: Expr | None, yes: Callable[[], None], no: Callable[[], None]) -> None:
    """``yes`` where ``condition`` holds, ``no`` elsewhere; None: always ``yes``."""
    if condition is None:
        yes()
        return
    with T.If(condition):
        with T.Then():
            yes()
        with T.Else():
            no()


def largest_divisor(extent: int, most: int, least: int = 1) -> int | None:
    """The largest divisor of ``extent`` in [least, most]."""
    return next((n for n in range(min(extent, most), least - 1, -1) if extent % n == 0), None)


def inside(positions: Sequence[tuple[Expr, int, bool, bool]]) -> Expr | None:
    """Whether each (value, extent, check below, check above) satisfies 0 <= value < extent."""
    found = []
    for value, extent, below, above in positions:
        if below:
            found.append(value >= T.int64(0))
        if above:
            found.append(value < T.int64(extent))
    return both(*found)
