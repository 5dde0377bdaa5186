"""Operators that act element by element: BatchNormalization, arithmetic with constants, sums, what does nothing."""

from __future__ import annotations

import numpy as np
import onnx

from edgevision.rewrite.reparam.extents import Shape
from edgevision.rewrite.reparam.linear_form import Array, LinearForm, constant, diagonal, identity
from edgevision.rewrite.reparam.network import Term
from edgevision.rewrite.reparam.scene import Leaf, Refusal, Scene, attributes, one_term

Outcome = Leaf | Refusal | None


def batch_norm(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """BatchNormalization in inference: x * s + (B - mean * s), s = scale / sqrt(var + epsilon)."""
    given = attributes(node)
    if given.get("training_mode", 0) or len([name for name in node.output if name]) > 1:
        return Refusal(reason="it is in training mode: it normalises by the batch; export the model in eval() mode")
    reason = next((reason for name in node.input[1:] if (reason := scene.unfit(name))), "")
    if reason:
        return Refusal(reason=reason)
    shape = scene.shape(node.input[0])
    if shape is None or len(shape) < 2:
        return Refusal(reason="the shape of its input is unknown")
    scale, bias, mean, var = (scene.constants.floats(name) for name in node.input[1:5])
    factor = scale / np.sqrt(var + given.get("epsilon", 1e-5))
    return one_term(node.input[0], 1, _diagonal(factor, bias - mean * factor, len(shape) - 2))


def arithmetic(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """Add, Sub, Mul, Div with one constant, or Add, Sub of two tensors of one shape."""
    fixed = [name in scene.constants for name in node.input]
    if not any(fixed):
        return _sum(node, scene) if node.op_type in ("Add", "Sub") else None
    tensor, value = (node.input[1], node.input[0]) if fixed[0] else (node.input[0], node.input[1])
    if node.op_type == "Div" and fixed[0]:
        return None
    placed = _per_channel(tensor, value, node.output[0], scene)
    if isinstance(placed, Refusal) or placed is None:
        return placed
    axis, rank, values = placed
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    match node.op_type:
        case "Mul":
            factor, term = values, zeros
        case "Div" if values.all():
            factor, term = 1.0 / values, zeros
        case "Div":
            return Refusal(reason="it divides by zero")
        case "Add":
            factor, term = ones, values
        case _:
            factor, term = (-ones, values) if fixed[0] else (ones, -values)
    return one_term(tensor, axis, _diagonal(factor, term, rank))


def sum_of(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """Sum of tensors of one shape."""
    return _sum(node, scene)


def nothing(node: onnx.NodeProto, scene: Scene) -> Outcome:
    """Identity, and Dropout in inference."""
    shape = scene.shape(node.input[0])
    if node.op_type == "Dropout":
        if len([name for name in node.output if name]) > 1:
            return Refusal(reason="its mask is read")
        if len(node.input) > 2 and node.input[2]:
            known = node.input[2] in scene.constants
            if not known or bool(np.asarray(scene.constants.value(node.input[2])).reshape(-1)[0]):
                return Refusal(reason="it may be in training mode")
    axis = scene.axis(node.input[0], node.output[0])
    channels = scene.channels(node.input[0], axis)
    if shape is None or channels is None:
        return None
    return one_term(node.input[0], axis, identity(channels, _rank(shape, axis)))


def _sum(node: onnx.NodeProto, scene: Scene) -> Outcome:
    shapes = [scene.shape(name) for name in node.input]
    first = shapes[0]
    if any(shape != first for shape in shapes):
        return Refusal(reason="its inputs broadcast, or their extents are open") if _alike(shapes) else None
    axis = scene.axis(*node.input, node.output[0])
    channels = scene.channels(node.input[0], axis)
    if first is None or channels is None:
        return Refusal(reason="its number of channels is open")
    same = identity(channels, _rank(first, axis))
    minus = _diagonal(-np.ones(channels), np.zeros(channels), _rank(first, axis))
    rest = minus if node.op_type == "Sub" else same
    terms = [Term(tensor=name, form=rest if at else same) for at, name in enumerate(node.input)]
    return Leaf(axis=axis, terms=tuple(terms))


def _alike(shapes: list[Shape | None]) -> bool:
    """True if the shapes differ in open extents only: a reader of the refusals may want to fix them."""
    known = [shape for shape in shapes if shape is not None]
    if len(known) != len(shapes) or len({len(shape) for shape in known}) > 1:
        return False
    return all(len({n for n in column if isinstance(n, int)}) < 2 for column in zip(*known, strict=True))


def _per_channel(tensor: str, name: str, output: str, scene: Scene) -> tuple[int, int, Array] | Refusal | None:
    """Channel axis of ``tensor``, its number of axes of space, and the constant as [C]; None for another pattern."""
    shape, given = scene.shape(tensor), scene.constants.shape(name)
    if shape is None or len(shape) < 2:
        return None
    if len(given) > len(shape):
        return Refusal(reason="its constant has more axes than the tensor")
    full = (*[1] * (len(shape) - len(given)), *given)
    values = scene.constants.floats(name).reshape(full)
    if any(n not in (1, shape[axis]) for axis, n in enumerate(full)):
        return Refusal(reason="its constant makes the tensor larger, or extents are open")
    varying = [axis for axis, n in enumerate(full) if n > 1 and (values != values.take([0], axis)).any()]
    last = len(shape) - 1
    if not varying:
        axis = scene.axis(tensor, output)
    elif varying == [1]:
        axis = 1
    elif varying == [last]:
        axis = -1
    else:
        return Refusal(reason=f"its constant of shape {list(given)} varies within a channel")
    channels = scene.channels(tensor, axis)
    if channels is None:
        return Refusal(reason="its number of channels is open")
    for other in range(len(full)):
        if other != axis % len(shape):
            values = values.take([0], other)
    return axis, _rank(shape, axis), np.broadcast_to(values.reshape(-1), (channels,)).copy()


def _rank(shape: Shape, axis: int) -> int:
    return 0 if axis == -1 else len(shape) - 2


def _diagonal(factor: Array, term: Array, rank: int) -> LinearForm:
    channels = len(factor)
    if not term.any() and (factor == 1).all():
        return identity(channels, rank)
    return diagonal(constant(factor), channels, rank, constant(term) if term.any() else None)
