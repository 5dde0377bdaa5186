"""Several convolutions in one function, a strip of rows at a time: what lies between them stays in the L2.

Where one convolution reads what another one made, and nobody else does, the second may follow a few rows behind the first.
Of the tensor between them only the rows that are still needed are kept, in a ring. An inverted residual of 112x112 pixels writes
4.8 MB and reads them again otherwise, from behind every L2; a ring of eight rows takes 0.3 MB.

Threads share the rows of the last result. Each has rings of its own and computes the rows that its neighbour's kernels reach
into itself, so that nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.program import Call, Place, Program, Value
from edgevision.schedule import conv2d, conv2d_choice, conv2d_plan, depthwise, pitch, views
from edgevision.schedule.extremes import as_instructions
from edgevision.schedule.geometry import Geometry
from edgevision.schedule.register_tile import Buffer, Expr, Ring, loop, serial
from edgevision.schedule.scheduled import Relay, Scheduled
from edgevision.schedule.tail import Tail, elementwise_tail
from edgevision.schedule.tail import parameters as parameters_of
from edgevision.schedule.workload import Stage, Workload, parse, shape_of
from edgevision.target import Target
from edgevision.tensor import ITEMSIZE_BYTES

NAME = "strips"

RINGS = 0.75
"""The share of an L2 that the rings of one thread may take. Half or all of it are as fast, a fourth costs 1 % (MobileNetV2)."""
MOST_ROWS = 14
"""Of a strip."""

Emit = Callable[[Buffer, Buffer, Tail, Expr, Expr, Expr], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """One convolution of a chain. ``emit`` makes rows of it (see `conv2d.emit_rows`), and reads them from a copy where there is a
    stage that has ``padded`` them; depthwise templates pad for themselves."""

    call: Call
    workload: Workload
    geometry: Geometry
    padded: Stage | None
    weights: int  # the number of the parameter
    packed: int  # float32 of the weights as they are laid
    relay: Relay
    emit: Emit

    @property
    def source(self) -> int:
        return self.workload.number_of(self.geometry.source)

    @property
    def result(self) -> int:
        return len(self.workload.params) - 1

    @property
    def reach(self) -> int:
        """Rows of the source that one row of the result is made of."""
        return (self.geometry.kh - 1) * self.geometry.dilations[0] + 1

    def needs(self, rows: int) -> int:
        """Consecutive rows of the source for as many of the result. Rows that a stride passes over may be made of what is gone:
        nobody reads them."""
        return (rows - 1) * self.geometry.strides[0] + self.reach

    def first(self, row: Expr) -> Expr:
        """The first row of the source that ``row`` of the result needs."""
        return T.max(T.int64(0), row * self.geometry.strides[0] - self.geometry.pads[0])

    def end(self, row: Expr) -> Expr:
        """One past the last row of the source that the rows before ``row`` need."""
        g = self.geometry
        reached = (row - 1) * g.strides[0] - g.pads[0] + self.reach
        return T.max(T.int64(0), T.min(T.int64(g.h), reached))


def join(program: Program, scheduled: Mapping[str, Scheduled], target: Target) -> tuple[Program, dict[str, Scheduled]]:
    """The program with each chain as one call, in the place of its last one, and the schedules of what it calls."""
    done, calls = dict(scheduled), list(program.calls)
    names: dict[tuple[str, ...], str] = {}
    for chain in _chains(program, scheduled, target):
        functions = tuple(link.call.function for link in chain)
        name = names.setdefault(functions, f"{NAME}{len(names)}_{functions[0]}")
        if name not in done:
            done[name] = _build(chain, _rows(chain, target), target)
        last = calls.index(chain[-1].call)
        calls[last] = _joined(chain, name)
        calls = [c for c in calls if all(c is not each.call for each in chain[:-1])]
    called = {call.function for call in calls}
    return replace(program, calls=tuple(calls)), {name: plan for name, plan in done.items() if name in called}


def _chains(program: Program, scheduled: Mapping[str, Scheduled], target: Target) -> list[list[_Link]]:
    far = _far(program, target)
    chains: list[list[_Link]] = []
    for call in program.calls:
        link = _link(program, call, scheduled, target) if any(v.place in far for v in call.args) else None
        if link is None:
            continue
        before = next((c for c in chains if _follows(c[-1], link, far)), None)
        if before:
            before.append(link)
        else:
            chains.append([link])
    return [part for chain in chains for part in _parts(chain, target) if len(part) > 1]


def _parts(chain: list[_Link], target: Target) -> list[list[_Link]]:
    """The chain cut where least is written as a whole, into parts whose rings the L2 holds."""
    best: list[tuple[int, list[list[_Link]]]] = [(0, [])]
    for end in range(1, len(chain) + 1):
        found = []
        for start in range(end):
            part, (written, before) = chain[start:end], best[start]
            if len(part) == 1 or _rows(part, target):
                cut = _nbytes(part[0].call.args[part[0].source]) if start else 0
                found.append((written + cut, [*before, part]))
        best.append(min(found, key=lambda each: (each[0], len(each[1]))))
    return best[-1][1]


def _far(program: Program, target: Target) -> set[Place]:
    """What one call makes and one reads, and is too much for the L2."""
    users: dict[Place, list[Value]] = {}
    for call in program.calls:
        for value in call.args:
            users.setdefault(value.place, []).append(value)
    return {
        place for place, found in users.items()
        if found[0].kind == "scratch" and len(found) == 2 and _nbytes(found[0]) > target.l2_bytes
    }  # fmt: skip


def _follows(before: _Link, link: _Link, far: Collection[Place]) -> bool:
    """Whether ``link`` reads, row by row, what ``before`` makes."""
    value = link.call.args[link.source]
    return link.padded is None and value == before.call.args[before.result] and value.place in far


def _nbytes(value: Value) -> int:
    return prod(value.shape) * ITEMSIZE_BYTES[value.dtype]


def _link(program: Program, call: Call, scheduled: Mapping[str, Scheduled], target: Target) -> _Link | None:
    """None for what no template for rows takes."""
    choice = scheduled[call.function].choice
    if choice is None or choice.template not in (conv2d.NAME, depthwise.NAME) or call.outputs != 1:
        return None
    parsed = parse(program.module[call.step.name], views.seen(call))
    if parsed is None:
        return None
    workload = as_instructions(parsed, target)
    if choice.template == depthwise.NAME:
        return _depthwise(call, workload, target)
    return _conv2d(call, workload, target)


def _depthwise(call: Call, workload: Workload, target: Target) -> _Link | None:
    g = depthwise.takes(workload)
    if g is None:
        return None
    plan = depthwise.plan_of(g, depthwise.default(g, target))
    return _Link(
        call=call, workload=workload, geometry=g, padded=None, weights=workload.number_of(g.weights), packed=plan.taps * g.co,
        relay=lambda w: depthwise.pack(w, plan), emit=lambda *given: depthwise.emit_rows(plan, *given),
    )  # fmt: skip


def _conv2d(call: Call, workload: Workload, target: Target) -> _Link | None:
    g = conv2d_choice.takes(workload)
    if g is None or g.groups != 1 or len(shape_of(g.weights)) == 2:
        return None
    plan = conv2d_plan.rows_plan(g, target)
    return _Link(
        call=call, workload=workload, geometry=g, padded=g.padded, weights=workload.number_of(g.weights),
        packed=plan.group_weights, relay=lambda w: conv2d_plan.pack(w, plan), emit=lambda *given: conv2d.emit_rows(plan, *given),
    )  # fmt: skip


def _rows(chain: Sequence[_Link], target: Target) -> int:
    """Of the last result in a strip: as many as leave the rings in the L2; 0 where one is too much."""
    fitting = [r for r in range(1, MOST_ROWS + 1) if 4 * sum(map(prod, _rings(chain, r, 1))) <= RINGS * target.l2_bytes]
    return max(fitting, default=0)


def _rings(chain: Sequence[_Link], rows: int, shares: int) -> list[tuple[int, ...]]:
    """The shape of each, one between each two of a chain, whose last one makes ``rows`` rows a strip."""
    found: list[tuple[int, ...]] = []
    for link in reversed(chain[1:]):
        rows = link.needs(rows)
        _, _, columns, channels = shape_of(link.geometry.source)
        found.insert(0, pitch.spread_out((shares, 1 << (rows - 1).bit_length(), columns, channels)))
    return found


def _build(chain: Sequence[_Link], rows: int, target: Target) -> Scheduled:
    """Parameters: those of each link but what is kept in rings, then a padded copy of the first one's data, then the rings."""
    last = chain[-1].geometry
    shares = min(target.cores, -(-last.ho // rows)) if sum(link.geometry.macs for link in chain) > conv2d.PARALLEL_MACS else 1
    shapes = _rings(chain, rows, shares)
    copied = [shape_of(chain[0].padded.buffer)] if chain[0].padded else []
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name("kernel")
            T.func_attr({"tirx.noalias": True})
            places = [
                parameters_of(link.workload, {link.weights: (link.packed,)}, f"p{i}_", _inner(chain, link))
                for i, link in enumerate(chain)
            ]
            work = [T.arg(f"s{i}", T.buffer(shape, "float32", layout=None)) for i, shape in enumerate((*copied, *shapes))]
            copy = work[0] if copied else None
            if copy is not None:
                first = chain[0]
                conv2d.copy_padded(first.geometry, _tail(first, places[0]).place(first.geometry.source), copy)

            def share(number: Expr) -> None:
                rings = [Ring(b, number, shape[1]) for b, shape in zip(work[len(copied) :], shapes, strict=True)]
                loop(last.n, lambda n: _strips(chain, _kept(places, rings, chain), copy, rows, shares, number, n))

            loop(shares, share, threads=shares > 1)
        func = builder.get()
    kept = [(link, i) for link in chain for i in range(len(link.workload.params)) if i not in _inner(chain, link)]
    relay = {at: link.relay for at, (link, i) in enumerate(kept) if i == link.weights}
    schedule = f"template:{NAME} {rows}x{len(chain)}"
    return Scheduled(func=func, schedule=schedule, relay=relay, scratch=(*copied, *shapes))


def _inner(chain: Sequence[_Link], link: _Link) -> tuple[int, ...]:
    """The parameters that are kept in rings."""
    return (*((link.source,) if link is not chain[0] else ()), *((link.result,) if link is not chain[-1] else ()))


def _kept(places: Sequence[Sequence[Buffer]], rings: Sequence[Ring], chain: Sequence[_Link]) -> list[tuple[Buffer, ...]]:
    """The links' parameters with the rings among them."""
    found = [list(each) for each in places]
    for i, ring in enumerate(rings):
        found[i][chain[i].result] = found[i + 1][chain[i + 1].source] = ring
    return [tuple(each) for each in found]


def _tail(link: _Link, places: tuple[Buffer, ...]) -> Tail:
    found = elementwise_tail(link.workload)
    assert found is not None
    return Tail(link.workload, *found, places)


def _strips(
    chain: Sequence[_Link], places: Sequence[tuple[Buffer, ...]], copy: Buffer | None, rows: int, shares: int, share: Expr, n: Expr
) -> None:  # fmt: skip
    """The rows of image ``n`` that are ``share``'s: in each strip each link makes what the next one needs."""
    height = chain[-1].geometry.ho
    most = -(-height // shares)
    low, high = T.Bind(share * height // shares), T.Bind((share + 1) * height // shares)
    with serial(-(-most // rows)) as turn:
        at = T.Bind(T.min(low + turn * rows, high))
        spans = [_Span(low=low, done=at, end=T.Bind(T.min(at + rows, high)))]
        for link in reversed(chain[1:]):
            spans.insert(0, spans[0].before(link))
        for link, own, span in zip(chain, places, spans, strict=True):
            tail = _tail(link, own)
            data = copy if link is chain[0] and copy is not None else tail.place(link.geometry.source)
            start = T.Bind(T.Select(turn == 0, span.low, T.max(span.low, span.done)))
            link.emit(data, own[link.weights], tail, n, start, T.Bind(T.max(T.int64(0), span.end - start)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Of a share of rows from ``low`` on those before ``done`` were made by earlier strips, those before ``end`` are when this one
    is finished."""

    low: Expr
    done: Expr
    end: Expr

    def before(self, link: _Link) -> _Span:
        """What ``link``'s source must have been made of for this."""
        return _Span(low=T.Bind(link.first(self.low)), done=T.Bind(link.end(self.done)), end=T.Bind(link.end(self.end)))


def _joined(chain: Sequence[_Link], name: str) -> Call:
    args = [v for link in chain for i, v in enumerate(link.call.args) if i not in _inner(chain, link)]
    steps = [link.call.step for link in chain]
    ops, macs = tuple(op for each in steps for op in each.ops), sum(each.macs for each in steps)
    return Call(function=name, args=tuple(args), outputs=1, step=replace(steps[-1], name=name, ops=ops, macs=macs))
