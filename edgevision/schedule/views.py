"""Concatenation without copies: producers write, and readers read, their channels of the concatenated tensor in
place."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from edgevision.program import Call, Place, Program, Value

CHANNELS = "ev.concat_channels"
IMAGE_RANK = 4

Moves = dict[Place, Value]
"""Operand of a concatenation -> the view of its result that takes the operand's place."""


def share(program: Program, templated: Collection[str]) -> Program:
    """Drop each concatenation along channels whose operands are made, and read elsewhere, by ``templated`` functions
    only: these can be told to work on some channels of a wider tensor. An operand must be one whole result, and go into
    one such concatenation only."""
    calls = list(program.calls)
    for concat in [c for c in calls if _channels(program, c)]:
        moves = _moves(calls, concat, _channels(program, concat), templated)
        if moves:
            calls = [_moved(c, moves) for c in calls if c is not concat]
    return replace(program, calls=tuple(calls))


def seen(call: Call) -> dict[int, tuple[int, int]]:
    """Arguments that are some channels of a wider tensor -> (the first one, how many that tensor has)."""
    return {i: (v.first, v.shape[-1]) for i, v in enumerate(call.args) if v.first is not None}


def shared(call: Call) -> dict[int, tuple[int, int]]:
    """Those of which others use other channels. What is only padded makes no other workload: it is known by the same key."""
    return {i: at for i, at in seen(call).items() if not call.args[i].padding}


def _channels(program: Program, call: Call) -> tuple[int, ...]:
    """How many channels each operand of a concatenation brings; () for any other call."""
    attributes = program.module[call.function].attrs
    found = attributes.get(CHANNELS) if attributes else None
    return tuple(int(c) for c in found) if found is not None else ()


def _moves(calls: list[Call], concat: Call, counts: tuple[int, ...], templated: Collection[str]) -> Moves:
    """{} where one of the operands cannot be moved."""
    *operands, result = concat.args
    moves: Moves = {}
    first = 0
    for operand, channels in zip(operands, counts, strict=True):
        shape = _shape(calls, operand, channels, templated, concat)
        if operand.kind != "scratch" or shape is None or operand.place in moves:
            return {}
        moves[operand.place] = replace(result, shape=(*shape[:-1], sum(counts)), first=first)
        first += channels
    return moves


def _shape(
    calls: list[Call], operand: Value, channels: int, templated: Collection[str], concat: Call
) -> tuple[int, ...] | None:
    """The shape in which everybody else sees the operand, if all of them can work on a view."""
    users = [(c, v) for c in calls if c is not concat for v in c.args if v.place == operand.place]
    shapes = {v.shape for _, v in users}
    if len(shapes) != 1 or any(v.first is not None or c.function not in templated for c, v in users):
        return None
    (shape,) = shapes
    return shape if len(shape) == IMAGE_RANK and shape[-1] == channels else None


def _moved(call: Call, moves: Moves) -> Call:
    """The call itself where nothing of it moves: calls are told apart by identity."""
    if not any(v.place in moves for v in call.args):
        return call
    return replace(call, args=tuple(moves.get(v.place, v) for v in call.args))
