"""The pieces every template is made of: int64 loops, vector loads and stores, register accumulators, channel vectors.

TVM's IRBuilder is called through these few functions. An accumulator is one local buffer a vector, indexed by
constants only, which LLVM keeps in a register; loops are int64 because index expressions taken over from a workload
are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm.tirx.script.builder import ir as T  # noqa: N812 (TVM's own name for it)

Expr = Any
Buffer = Any
Frame = Any  # a context manager that yields the loop variable


LINE = 16
"""float32 of a cache line of 64 bytes."""
MOST_LINES = 4
"""Asked for at once."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """A vector of ``width`` channels that starts ``offset`` channels into its block, and handles ``steps`` of a reduction at once
    (see `folded`)."""

    offset: int
    width: int
    steps: int = 1

    @property
    def lanes(self) -> int:
        return self.width * self.steps


def lanes(channels: int, width: int) -> tuple[Lanes, ...]:
    """Cover ``channels`` with vectors of ``width`` and then of falling powers of two, each inside the range."""
    found, offset = [], 0
    while offset < channels:
        while width > channels - offset:
            width //= 2
        found.append(Lanes(offset, width))
        offset += width
    return tuple(found)


def serial(extent: int | Expr) -> Frame:
    return T.serial(T.int64(extent) if isinstance(extent, int) else extent)


def parallel(extent: int) -> Frame:
    return T.parallel(T.int64(extent))


def loop(extent: int, body: Callable[[Expr], None], *, threads: bool = False) -> None:
    """Run ``body`` for 0 .. extent-1; a loop of one turn is no loop."""
    if extent == 1 and not threads:
        body(T.int64(0))
    elif extent:
        with parallel(extent) if threads else serial(extent) as i:
            body(i)


def by_vector(channels: int, width: int, visit: Callable[[Expr, int], None]) -> None:
    """``visit`` each vector of channels with its number and how many of its lanes are channels; threads share them, the last
    one, of whose channels some may not exist, too."""
    whole, rest = divmod(channels, width)

    def vector(v: Expr) -> None:
        if not rest:
            visit(v, width)
            return
        with T.If(v < whole):
            with T.Then():
                visit(v, width)
            with T.Else():
                visit(v, rest)

    if whole:
        loop(-(-channels // width), vector, threads=channels > width)
    else:
        visit(T.int64(0), rest)


@dataclass(frozen=True, slots=True)
class Shifted:
    """Some channels of a wider buffer, from ``first`` on, used as if they were a buffer of their own."""

    buffer: Buffer
    first: int

    def __getitem__(self, indices: tuple[Expr, ...]) -> Expr:
        return self.buffer[self.at(indices)]

    def at(self, indices: Sequence[Expr]) -> tuple[Expr, ...]:
        return (*indices[:-1], indices[-1] + self.first)


@dataclass(frozen=True, slots=True)
class Ring:
    """Rows of an image of which only the last ``rows``, a power of two, are kept: row y of any image lies where y modulo
    ``rows`` says, in the part [``share``] of a buffer [shares, rows, columns, channels]."""

    buffer: Buffer
    share: Expr
    rows: int

    def __getitem__(self, indices: tuple[Expr, ...]) -> Expr:
        return self.buffer[self.at(indices)]

    def at(self, indices: Sequence[Expr]) -> tuple[Expr, ...]:
        _, y, x, channel = indices
        return self.share, T.bitwise_and(y, T.int64(self.rows - 1)), x, channel


def load(buffer: Buffer, indices: Sequence[Expr], width: int) -> Expr:
    """``width`` elements along the last axis."""
    if isinstance(buffer, (Shifted, Ring)):
        return load(buffer.buffer, buffer.at(indices), width)
    if width == 1:
        return buffer[tuple(indices)]
    return buffer[(*indices[:-1], T.ramp(indices[-1], 1, width))]


def store(buffer: Buffer, indices: Sequence[Expr], value: Expr, width: int) -> None:
    if isinstance(buffer, (Shifted, Ring)):
        buffer, indices = buffer.buffer, buffer.at(indices)
    last = T.ramp(indices[-1], 1, width) if width > 1 else indices[-1]
    T.buffer_store(buffer, value, [*indices[:-1], last])


def accumulator(width: int, dtype: str = "float32") -> Buffer:
    # Not scope="local": TVM 0.27 takes that from AllocWorkspace on every turn, while a small "global" buffer lives on
    # the stack.
    return T.alloc_buffer((width,), dtype, layout=None)


def read(acc: Buffer, width: int) -> Expr:
    return load(acc, [0], width)


def write(acc: Buffer, value: Expr, width: int) -> None:
    store(acc, [0], value, width)


def prefetch(buffer: Buffer, index: Expr) -> None:
    """Ask for the cache line of one element, into the L2; past the buffer's end it does nothing."""
    read_only, second_level, of_data = (T.int32(v) for v in (0, 2, 1))
    T.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", T.address_of(buffer[index]), read_only, second_level, of_data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """The weights that are needed next, ``elements`` from ``at`` on: asked for evenly while ``pixels`` pixels meet the present
    ones. A core that waits for weights from behind its L2 loses up to a tenth of a 1x1 convolution of 7x7 pixels."""

    weights: Buffer
    at: Expr
    elements: int
    pixels: int

    def ask(self, first: Expr, pixels: int, turn: Expr, turns: int) -> None:
        """In each of the ``turns`` of the reduction of the tile of ``pixels`` pixels from ``first`` on."""
        a_pixel = -(-self.elements // self.pixels)
        apart = -(-pixels * a_pixel // turns)
        if apart > MOST_LINES * LINE:
            return  # so few pixels that the weights stream anyway, which processors notice by themselves
        for line in range(0, apart, LINE):
            prefetch(self.weights, self.at + first * a_pixel + turn * apart + line)


def broadcast(value: Expr, width: int) -> Expr:
    return T.broadcast(value, width) if width > 1 else value


def zero(width: int, dtype: str = "float32") -> Expr:
    return broadcast(T.cast(0, dtype) if dtype != "float32" else T.float32(0), width)


def cleared(pixels: int, vectors: Sequence[Lanes]) -> list[list[Buffer]]:
    """The zeroed accumulators of a tile, by pixel and vector."""
    acc = [[accumulator(v.lanes) for v in vectors] for _ in range(pixels)]
    for line in acc:
        for a, v in zip(line, vectors, strict=True):
            write(a, zero(v.lanes), v.lanes)
    return acc


def accumulate(
    acc: Sequence[Sequence[Buffer]], vectors: Sequence[Lanes], elements: Sequence[Expr], step: int, weights: Buffer,
    at: Expr, width: int,
) -> None:  # fmt: skip
    """``step`` reduction steps of an outer product: acc[p][q] += elements[p][s] * weights[at + s * width + q].

    ``elements`` are vectors of ``step`` values (the lane form of NEON: fmla by element) or scalars, which are
    broadcast.
    """
    for s in range(step):
        rows = [T.Bind(load(weights, [at + s * width + v.offset], v.width)) for v in vectors]
        for element, line in zip(elements, acc, strict=True):
            for a, v, row in zip(line, vectors, rows, strict=True):
                spread = broadcast(element, v.width) if step == 1 else T.Shuffle([element], [s] * v.width)
                write(a, read(a, v.width) + spread * row, v.width)


def split_index(flat: Expr, extents: Sequence[int]) -> tuple[Expr, ...]:
    """A flat row-major number -> one index an axis."""
    indices: list[Expr] = []
    for n, axis in zip(reversed(extents), range(len(extents) - 1, -1, -1), strict=True):
        outer = prod(extents[:axis])
        if n == 1:
            indices.append(T.int64(0))
            continue
        indices.append(flat if outer == 1 else flat % n)
        flat = flat // n
    return tuple(reversed(indices))
