"""Elementwise work in front of a convolution, computed where the convolution reads: no launch and no tensor of its own.

The input's transposition to channels last and squeeze-and-excitation's multiplication are what networks have there. A change of
order is computed where pools and reductions read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from tvm import tirx

from edgevision.program import Call, Program, Value
from edgevision.schedule.geometry import geometry
from edgevision.schedule.gpu import conv2d, workloads
from edgevision.schedule.gpu import kernel as k
from edgevision.schedule.register_tile import Buffer, Expr, load
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.workload import Workload, dtype_of, nodes, rebuild, shape_of

MATRIX_RANK = 2
"""Of a matrix product's weights. It numbers the rows of its data through, whatever axes they have."""

RUN = "ev.run"
"""Block annotation that `lower` puts on a choice of channels: how many, from a multiple of that on, lie side by side in what is
read, from a multiple of that on too."""

MOST_READERS = 4
"""Calls that may each read through a change of order; arithmetic is done for one convolution only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """``index``, computed from ``axes``, the numbers of a part and of one of the ``extent`` channels in it: which channel each is.
    ``run``: see `RUN`."""

    axes: tuple[Expr, Expr]
    extent: int
    index: Expr
    run: int

    def of(self, channel: Expr) -> Expr:
        part, place = (k.keep(f(channel, self.extent)) for f in (tirx.floordiv, tirx.floormod))
        return rebuild(self.index, dict(zip(self.axes, (part, place), strict=True)), lambda buffer, at: buffer[tuple(at)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Prologue:
    """The workload whose result a convolution reads as its data, and the convolution's parameter that would hold it. Channel c of
    that result is the workload's channel ``choice.of(c)``."""

    workload: Workload
    parameter: int
    choice: _Choice | None = None

    @property
    def operands(self) -> tuple[Buffer, ...]:
        return self.workload.params[:-1]

    @property
    def pointwise(self) -> bool:
        """Whether pixels may be numbered through: every tensor is read at the result's own pixel, or is the same for all."""
        (stage,) = self.workload.stages
        shape = shape_of(stage.buffer)
        for node in nodes(stage.value):
            if type(node).__name__ != "TensorLoad":
                continue
            own = list(node.indices)[:-1]
            whole = len(own) == len(shape) - 1 and shape_of(node.source)[:-1] == shape[:-1]
            same = whole and all(i.same_as(a) for i, a in zip(own, stage.axes[:-1], strict=True))
            if not same and any(any(a.same_as(n) for n in nodes(i)) for i in own for a in stage.axes):
                return False
        return True

    @property
    def run(self) -> int:
        """How many channels may be read as one vector."""
        return self.choice.run if self.choice else 1

    def channel(self, at: Expr, width: int) -> Expr:
        """What `element` takes for the data's ``width`` channels from ``at`` on, the same for all pixels."""
        return k.keep(tirx.floordiv(self.choice.of(at), width)) * width if self.choice else at

    def element(self, places: Sequence[Buffer], at: Sequence[Expr], width: int = 1) -> Expr:
        """The data at indices ``at``, computed from the operands, which are at ``places``; ``width`` channels side by side."""
        (stage,) = self.workload.stages

        def read(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
            place = next(p for b, p in zip(self.operands, places, strict=True) if b.same_as(buffer))
            return load(place, indices, width)

        return rebuild(stage.value, dict(zip(stage.axes, at, strict=True)), read)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """``call`` in the place of one that read a prologue's result: a convolution with that prologue, or another workload."""

    call: Call
    prologue: Prologue | None = None
    workload: Workload | None = None


def absorb(program: Program, known: workloads.Made) -> tuple[Program, Mapping[int, Prologue], workloads.Made]:
    """The program without the calls that their readers do themselves. Convolutions take the calls' operands behind their own
    arguments: their prologues by the identity of their calls. What other readers compute then."""
    calls, made = list(program.calls), dict(known)
    found: dict[int, Prologue] = {}
    for call in program.calls:
        work, result = _cheap(program, made, call), call.args[-1]
        if work is None:
            continue
        readers = [c for c in calls if c is not call and any(v.place == result.place for v in c.args)]
        if not 0 < len(readers) <= (1 if _computes(work) else MOST_READERS):
            continue
        free = [reader for reader in readers if id(reader) not in found]
        taken = [_absorbed(program, made, reader, call, work) or _inlined(program, made, reader, call, work) for reader in free]
        if len(taken) != len(readers) or any(each is None for each in taken):
            continue
        for reader, each in zip(readers, taken, strict=True):
            assert each is not None
            calls[next(i for i, c in enumerate(calls) if c is reader)] = each.call
            if each.prologue is not None:
                found[id(each.call)] = each.prologue
            if each.workload is not None:
                made[each.call.function] = each.workload
        calls = [c for c in calls if c is not call]
    return replace(program, calls=tuple(calls)), found, made


def _cheap(program: Program, made: workloads.Made, call: Call) -> Workload | None:
    """A workload of one stage that only chooses, adds and multiplies, on whole tensors."""
    if call.args[-1].kind != "scratch" or any(v.first is not None for v in call.args):
        return None
    workload = workloads.of(program, made, call)
    if workload is None or len(workload.stages) != 1 or workload.stages[0].reduction:
        return None
    costly = ("Call", "Div", "FloorDiv", "FloorMod", "Mod", "Cast")
    return None if any(type(n).__name__ in costly for n in nodes(workload.stages[0].value)) else workload


def _absorbed(
    program: Program, made: workloads.Made, reader: Call, call: Call, work: Workload
) -> _Reader | None:  # fmt: skip
    """``reader`` with the operands of ``call`` behind its arguments; None where it is no convolution that reads only its data
    there, or would compute it too often."""
    result = call.args[-1]
    workload = workloads.of(program, made, reader)
    found = elementwise_tail(workload) if workload is not None else None
    g = geometry(workload, found[0]) if workload is not None and found is not None else None
    if workload is None or g is None or not conv2d.takes(g):
        return None
    number = workload.number_of(g.source)
    shape = shape_of(g.source)
    seen = (work, None) if shape_of(work.params[-1]) == shape else _chosen(work, shape)
    if seen is None or _where(reader, result) != number:
        return None
    if len(workloads.loads(workload, g.source)) != 1 or len(reader.args) + len(call.args) - 2 > workloads.MOST_OPERANDS:
        return None
    if _computes(work) and g.kh * g.kw > 1:
        return None
    prologue = Prologue(workload=seen[0], parameter=number, choice=seen[1])
    if len(shape_of(g.weights)) == MATRIX_RANK and not prologue.pointwise:
        return None
    return _Reader(call=replace(reader, args=(*reader.args, *call.args[:-1])), prologue=prologue)


def _inlined(program: Program, made: workloads.Made, reader: Call, call: Call, work: Workload) -> _Reader | None:
    """``reader`` with the operands of ``call`` in the place of its result; None where no reduction reads that, a template does, or
    an element is read more than once."""
    workload, number = workloads.of(program, made, reader), _where(reader, call.args[-1])
    if workload is None or number is None or workload.anchor is not None or reader.args[number] != call.args[-1]:
        return None
    if not any(stage.reduction for stage in workload.stages):
        return None
    source, whole = workload.params[number], workloads.composed(work, workload, number)
    reads = sum(prod(shape_of(s.buffer)) * prod(s.steps) for s in workloads.loads(workload, source))
    if whole is None or reads != prod(shape_of(source)):
        return None
    args = (*call.args[:-1], *reader.args[:number], *reader.args[number + 1 :])
    return _Reader(call=replace(reader, function=f"{call.function}_{number}_{reader.function}", args=args), workload=whole)


def _where(reader: Call, result: Value) -> int | None:
    """Which argument of ``reader`` is ``result``, whole and once, perhaps under another shape."""
    found = [i for i, v in enumerate(reader.args) if v.place == result.place]
    return found[0] if len(found) == 1 and reader.args[found[0]].first is None else None


def _chosen(work: Workload, shape: Sequence[int]) -> tuple[Workload, _Choice] | None:
    """``work`` that chooses channels, numbered by its last two axes, as one that reads them in their place, of an image of
    ``shape``, and the choice."""
    (stage,) = work.stages
    value, own = stage.value, shape_of(stage.buffer)
    if type(value).__name__ != "TensorLoad" or own[:-2] != tuple(shape[:-1]) or prod(own) != prod(shape):
        return None
    *pixel, index = value.indices
    *image, part, place = stage.axes
    if len(pixel) != len(image) or not all(i.same_as(a) for i, a in zip(pixel, image, strict=True)):
        return None
    if any(type(n).__name__ == "TensorLoad" or any(a.same_as(n) for a in image) for n in nodes(index)):
        return None
    choice = _Choice(axes=(part, place), extent=own[-1], index=index, run=int(stage.annotations.get(RUN, 1)))
    buffer = tirx.decl_buffer(shape, dtype_of(stage.buffer), stage.buffer.name, layout=None)
    plain = replace(stage, buffer=buffer, axes=(*image, place), value=value.source[(*image, place)])
    return replace(work, params=(*work.params[:-1], buffer), stages=(plain,)), choice


def _computes(work: Workload) -> bool:
    """Whether there is arithmetic in it, or only a choice of what to read."""
    kinds = ("Add", "Sub", "Mul")
    return any(type(n).__name__ in kinds and "float" in str(n.ty.dtype) for n in nodes(work.stages[0].value))
