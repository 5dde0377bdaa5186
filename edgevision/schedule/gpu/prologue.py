"""Elementwise work in front of a convolution, computed where the convolution reads: no launch and no tensor of its own.

The input's transposition to channels last and squeeze-and-excitation's multiplication are what networks have there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgevision.program import Call, Program
from edgevision.schedule.geometry import geometry
from edgevision.schedule.gpu import conv2d
from edgevision.schedule.register_tile import Buffer, Expr
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.workload import Workload, nodes, parse, rebuild, shape_of

MATRIX_RANK = 2
"""Of a matrix product's weights. It numbers the rows of its data through, whatever axes they have."""

MOST_READERS = 4
"""Convolutions that may each read through a change of order; arithmetic is done for one convolution only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prologue:
    """The workload whose result a convolution reads as its data, and the convolution's parameter that would hold it."""

    workload: Workload
    parameter: int

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

    def element(self, places: Sequence[Buffer], at: Sequence[Expr]) -> Expr:
        """The data at indices ``at``, computed from the operands, which are at ``places``."""
        (stage,) = self.workload.stages

        def read(buffer: Buffer, indices: Sequence[Expr]) -> Expr:
            place = next(p for b, p in zip(self.operands, places, strict=True) if b.same_as(buffer))
            return place[tuple(indices)]

        return rebuild(stage.value, dict(zip(stage.axes, at, strict=True)), read)


def absorb(program: Program) -> tuple[Program, Mapping[int, Prologue]]:
    """The program without the calls that convolutions do themselves; those convolutions take the calls' operands behind their own
    arguments. Their prologues by the identity of their calls."""
    calls = list(program.calls)
    found: dict[int, Prologue] = {}
    for call in program.calls:
        work = _cheap(program, call)
        result = call.args[-1]
        readers = [c for c in calls if c is not call and any((v.kind, v.index) == (result.kind, result.index) for v in c.args)]
        if work is None or not 0 < len(readers) <= (1 if _computes(work) else MOST_READERS):
            continue
        made = [_absorbed(program, reader, call, work) for reader in readers if id(reader) not in found]
        if len(made) != len(readers) or any(m is None for m in made):
            continue
        for reader, pair in zip(readers, made, strict=True):
            assert pair is not None
            joined, prologue = pair
            calls[next(i for i, c in enumerate(calls) if c is reader)] = joined
            found[id(joined)] = prologue
        calls = [c for c in calls if c is not call]
    return replace(program, calls=tuple(calls)), found


def _cheap(program: Program, call: Call) -> Workload | None:
    """A workload of one stage that only chooses, adds and multiplies, on whole tensors."""
    if call.args[-1].kind != "scratch" or any(v.first is not None for v in call.args):
        return None
    workload = _workload(program, call)
    if workload is None or len(workload.stages) != 1 or workload.stages[0].reduction:
        return None
    costly = ("Call", "Div", "FloorDiv", "FloorMod", "Mod", "Cast")
    return None if any(type(n).__name__ in costly for n in nodes(workload.stages[0].value)) else workload


def _workload(program: Program, call: Call) -> Workload | None:
    """None for a kernel that is loops already."""
    func = program.module[call.function]
    return None if func.attrs and func.attrs.get("tirx.is_scheduled") else parse(func)


def _absorbed(program: Program, reader: Call, call: Call, work: Workload) -> tuple[Call, Prologue] | None:
    """``reader`` with the operands of ``call`` behind its arguments; None where it is no convolution that reads only its data
    there, or would compute it too often."""
    result = call.args[-1]
    workload = _workload(program, reader)
    found = elementwise_tail(workload) if workload is not None else None
    g = geometry(workload, found[0]) if workload is not None and found is not None else None
    if workload is None or g is None or not conv2d.takes(g):
        return None
    where = [i for i, v in enumerate(reader.args) if (v.kind, v.index) == (result.kind, result.index)]
    number = next(i for i, p in enumerate(workload.params) if p.same_as(g.source))
    if where != [number] or reader.args[number].shape != result.shape or reader.args[number].first is not None:
        return None
    if _places_read(workload, g.source) != 1:
        return None
    if _computes(work) and g.kh * g.kw > 1:
        return None
    prologue = Prologue(workload=work, parameter=number)
    if len(shape_of(g.weights)) == MATRIX_RANK and not prologue.pointwise:
        return None
    return replace(reader, args=(*reader.args, *call.args[:-1])), prologue


def _places_read(workload: Workload, buffer: Buffer) -> int:
    """A convolution may add its own data to its result."""
    loads = [n for stage in workload.stages for n in nodes(stage.value) if type(n).__name__ == "TensorLoad"]
    return sum(n.source.same_as(buffer) for n in loads)


def _computes(work: Workload) -> bool:
    """Whether there is arithmetic in it, or only a choice of what to read."""
    kinds = ("Add", "Sub", "Mul")
    return any(type(n).__name__ in kinds and "float" in str(n.ty.dtype) for n in nodes(work.stages[0].value))
