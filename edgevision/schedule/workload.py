"""Read a fused PrimFunc back as stages: what each buffer is computed from, and which stage is the anchor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import tirx

Expr = Any
Buffer = Any
Views = Mapping[int, tuple[int, int]]

ANCHOR = "ev.anchor"
"""Block annotation that `lower` puts on the one stage that a template may replace: the template's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """``buffer[axes] = value``; with reduction axes, of ``steps`` each, ``value`` is the update, ``init`` the start."""

    name: str
    buffer: Buffer
    axes: tuple[Any, ...]
    reduction: tuple[Any, ...]
    steps: tuple[int, ...]
    value: Expr
    init: Expr | None
    annotations: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A PrimFunc of sblocks on static shapes. ``params`` in order, outputs last.

    ``views`` maps parameters that are some channels of a wider tensor to (the first channel, how many that tensor has).
    """

    func: tirx.PrimFunc
    params: tuple[Buffer, ...]
    stages: tuple[Stage, ...]
    views: Views = field(default_factory=dict)

    @property
    def anchor(self) -> Stage | None:
        """The stage that carries the anchor annotation; None if there is none or more than one."""
        found = [s for s in self.stages if ANCHOR in s.annotations]
        return found[0] if len(found) == 1 else None

    def number_of(self, buffer: Buffer) -> int:
        """Which parameter it is."""
        return next(i for i, p in enumerate(self.params) if p.same_as(buffer))

    def producer(self, buffer: Buffer) -> Stage | None:
        return next((s for s in self.stages if s.buffer.same_as(buffer)), None)


def shape_of(buffer: Buffer) -> tuple[int, ...]:
    return tuple(int(d) for d in buffer.shape)


def dtype_of(buffer: Buffer) -> str:
    return str(buffer.dtype)


def parse(func: tirx.PrimFunc, views: Views | None = None) -> Workload | None:
    """The stages of ``func``; None if it is no function of sblocks but a finished kernel, or if a block does not store exactly one
    element at its own axes."""
    if type(func.body).__name__ != "SBlockRealize":
        return None
    root = func.body.block
    body = root.body.seq if isinstance(root.body, tirx.SeqStmt) else [root.body]
    stages = [_stage(nest) for nest in body]
    if any(s is None for s in stages):
        return None
    found = tuple(s for s in stages if s is not None)
    return Workload(func=func, params=tuple(func.params), stages=found, views=views or {})


def _stage(nest: Any) -> Stage | None:
    while isinstance(nest, tirx.For):
        nest = nest.body
    if type(nest).__name__ != "SBlockRealize":
        return None
    block = nest.block
    store = block.body
    if not isinstance(store, tirx.BufferStore):
        return None
    spatial = tuple(v.var for v in block.iter_vars if v.iter_type == tirx.IterVar.DataPar)
    reduction = tuple(v for v in block.iter_vars if v.iter_type == tirx.IterVar.CommReduce)
    if len(store.indices) != len(spatial) or not all(i.same_as(a) for i, a in zip(store.indices, spatial, strict=True)):
        return None
    return Stage(
        name=str(block.name_hint),
        buffer=store.buffer,
        axes=spatial,
        reduction=tuple(v.var for v in reduction),
        steps=tuple(int(v.dom.extent) for v in reduction),
        value=store.value,
        init=block.init.value if block.init is not None else None,
        annotations=dict(block.annotations),
    )


def rebuild(
    expr: Expr, variables: Mapping[Any, Expr], load: Callable[[Buffer, Sequence[Expr]], Expr],
    select: Callable[[Expr, Expr, Expr], Expr] = tirx.Select,
) -> Expr:  # fmt: skip
    """``expr`` with each variable replaced, every element read handed to ``load(buffer, indices)`` and every choice to
    ``select(condition, value, other)``.

    What a Let defines gets a new name: TVM wants one definition a function, and an expression may be rebuilt many times in it.
    """
    names = dict(variables)

    def visit(e: Expr) -> Expr:
        kind = type(e).__name__
        if kind == "Var":
            return names.get(e, e)
        if kind in ("IntImm", "FloatImm", "StringImm"):
            return e
        if kind == "TensorLoad":
            return load(e.source, [visit(i) for i in e.indices])
        if kind == "Cast":
            return tirx.Cast(e.ty, visit(e.value))
        if kind == "Select":
            return select(visit(e.condition), visit(e.true_value), visit(e.false_value))
        if kind in ("Not", "BitwiseNot"):
            return getattr(tirx, kind)(visit(e.a))
        if kind == "Call":
            return tvm.ir.Call(e.op, [visit(a) for a in e.args], e.attrs, ret_ty=e.ty)
        if kind == "Let":
            value = visit(e.value)
            names[e.var] = tirx.Var(e.var.name, e.var.ty)
            return tirx.Let(names[e.var], value, visit(e.body))
        return getattr(tirx, kind)(visit(e.a), visit(e.b))

    return visit(expr)


def nodes(expr: Expr) -> Iterator[Expr]:
    """``expr`` and everything that it is made of."""
    yield expr
    kind = type(expr).__name__
    if kind in ("Var", "IntImm", "FloatImm", "StringImm"):
        return
    fields = _FIELDS.get(kind, ("a", "b"))
    for field_name in fields:
        value = getattr(expr, field_name)
        for each in value if field_name in ("indices", "args") else (value,):
            yield from nodes(each)


_FIELDS = {
    "TensorLoad": ("indices",), "Cast": ("value",), "Select": ("condition", "true_value", "false_value"),
    "Not": ("a",), "BitwiseNot": ("a",), "Call": ("args",), "Let": ("value", "body"),
}  # fmt: skip
