"""Operators that move or average whole channels, and how what acts channel by channel passes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from edgevision.rewrite.reparam.extents import Shape
from edgevision.rewrite.reparam.linear_form import Array, Lazy, LinearForm, diagonal, scale_of
from edgevision.rewrite.reparam.network import Position, Wire
from edgevision.rewrite.reparam.scene import Scene, attributes


def mean(node: onnx.NodeProto, scene: Scene, position: Position) -> Wire | None:
    """GlobalAveragePool, or ReduceMean over every axis of space."""
    shape, result = scene.shape(node.input[0]), scene.shape(node.output[0])
    if shape is None or result is None or len(shape) < 3 or not scene.is_floating(node.output[0]):
        return None
    if node.op_type == "ReduceMean" and _mean_axes(node, scene, len(shape)) != list(range(2, len(shape))):
        return None
    return _wire("mean", node, position, axes=(1, 1), ranks=(len(shape) - 2, len(result) - 2))


def _mean_axes(node: onnx.NodeProto, scene: Scene, rank: int) -> list[int] | None:
    if len(node.input) > 1 and node.input[1]:
        axes = scene.constants.integers(node.input[1]) if node.input[1] in scene.constants else None
    else:
        axes = attributes(node).get("axes")
    return None if axes is None else sorted(axis % rank for axis in axes)


def transpose(node: onnx.NodeProto, scene: Scene, position: Position) -> Wire | None:
    """Transpose of channels from axis 1 to the last or back; the other axes keep their order."""
    shape, permutation = scene.shape(node.input[0]), attributes(node).get("perm")
    if shape is None or len(shape) < 3 or permutation is None:
        return None
    rank = len(shape)
    if permutation == [0, *range(2, rank), 1]:
        return _wire("relayout", node, position, axes=(1, -1), ranks=(rank - 2, 0))
    if permutation == [0, rank - 1, *range(1, rank - 1)]:
        return _wire("relayout", node, position, axes=(-1, 1), ranks=(0, rank - 2))
    return None


def reshape(node: onnx.NodeProto, scene: Scene, position: Position) -> Wire | None:
    """Flatten, Reshape, Squeeze or Unsqueeze that drops or adds axes of space of extent 1."""
    shape, result = scene.shape(node.input[0]), scene.shape(node.output[0])
    if shape is None or result is None or min(len(shape), len(result)) < 2:
        return None
    if shape[:2] != result[:2] or any(n != 1 for n in (*shape[2:], *result[2:])):
        return None
    return _wire("relayout", node, position, axes=(1, 1), ranks=(len(shape) - 2, len(result) - 2))


def concat(node: onnx.NodeProto, scene: Scene, position: Position) -> Wire | None:
    """Concat of channels."""
    shape = scene.shape(node.input[0])
    sizes = [None if name in scene.constants else scene.channels(name, 1) for name in node.input]
    if shape is None or any(n is None for n in sizes) or attributes(node)["axis"] % len(shape) != 1:
        return None
    rank = len(shape)
    wire = _wire("concat", node, position, axes=(1, 1), ranks=(rank - 2, rank - 2))
    return replace(wire, sizes=tuple(n for n in sizes if n is not None), reads=tuple(node.input))


def split(node: onnx.NodeProto, scene: Scene, position: Position) -> Wire | None:
    """Split of channels."""
    sizes = [scene.channels(name, 1) for name in node.output]
    shape = scene.shape(node.input[0])
    if shape is None or len(shape) < 2 or any(n is None for n in sizes):
        return None
    if attributes(node).get("axis", 0) % len(shape) != 1:
        return None
    wire = _wire("split", node, position, axes=(1, 1), ranks=(len(shape) - 2, len(shape) - 2))
    return replace(wire, sizes=tuple(n for n in sizes if n is not None), writes=tuple(node.output))


def shuffle(nodes: Sequence[onnx.NodeProto], scene: Scene, position: Position) -> Wire | None:
    """Reshape [N, g, C/g, ...], Transpose of axes 1 and 2, Reshape back: channel i * C/g + j -> j * g + i."""
    before, middle, after = (
        scene.shape(nodes[0].input[0]), scene.shape(nodes[0].output[0]), scene.shape(nodes[-1].output[0])
    )  # fmt: skip
    if before is None or middle is None or before != after or len(middle) != len(before) + 1:
        return None
    order = [0, 2, 1, *range(3, len(middle))]
    if attributes(nodes[1]).get("perm") != order or (middle[0], *middle[3:]) != (before[0], *before[2:]):
        return None
    group, each = middle[1], middle[2]
    if not isinstance(group, int) or not isinstance(each, int) or group * each != before[1]:
        return None
    moved = np.arange(group * each).reshape(group, each).T.reshape(-1)
    rank = len(before) - 2
    return Wire(
        position=position, kind="permute", reads=(nodes[0].input[0],), writes=(nodes[-1].output[0],),
        protos=tuple(nodes), axis_in=1, axis_out=1, rank_in=rank, rank_out=rank, order=moved,
    )  # fmt: skip


def _wire(
    kind: str, node: onnx.NodeProto, position: Position, *, axes: tuple[int, int], ranks: tuple[int, int]
) -> Wire:
    return Wire(
        position=position, kind=kind, reads=(node.input[0],), writes=(node.output[0],), protos=(node,),
        axis_in=axes[0], axis_out=axes[1], rank_in=ranks[0], rank_out=ranks[1],
    )  # fmt: skip


# --- passing ---------------------------------------------------------------------------------------------------------


def behind(wire: Wire, forms: Sequence[LinearForm]) -> tuple[LinearForm, ...] | None:
    """For pointwise forms before each input of ``wire``, those that do the same behind each output; None if they do not
    pass."""
    first = forms[0]
    if wire.kind in ("mean", "relayout"):
        shape_is_written_out = any(proto.op_type == "Reshape" for proto in wire.protos)
        if shape_is_written_out and first.inputs != first.outputs:
            return None
        return (_with_rank(first, wire.rank_out),)
    if not all(form.diagonal for form in forms):
        return None
    if wire.kind == "concat":
        return (_joined(forms, wire.rank_out),)
    if wire.kind == "permute":
        return (_picked(first, wire.order),)
    starts = np.cumsum([0, *wire.sizes])
    return tuple(_picked(first, np.arange(a, b)) for a, b in zip(starts[:-1], starts[1:], strict=True))


def before(wire: Wire, form: LinearForm) -> tuple[LinearForm, ...] | None:
    """For a form behind the only output, those that do the same before each input; None if it does not pass."""
    if len(wire.writes) != 1 or not form.diagonal or form.bias_extents is not None:
        return None
    if wire.kind in ("mean", "relayout"):
        return (_with_rank(form, wire.rank_in),)
    if wire.kind == "permute" and wire.order is not None:
        return (_picked(form, np.argsort(wire.order)),)
    starts = np.cumsum([0, *wire.sizes])
    return tuple(_picked(form, np.arange(a, b)) for a, b in zip(starts[:-1], starts[1:], strict=True))


def _with_rank(form: LinearForm, rank: int) -> LinearForm:
    ones, zeros = (1,) * rank, (0,) * rank
    columns = (form.outputs, form.inputs // form.group)
    return replace(form, kernel=ones, stride=ones, dilation=ones, begin=zeros, end=zeros,
                   weight=lambda: form.weight().reshape(*columns, *ones))  # fmt: skip


def _picked(form: LinearForm, channels: npt.NDArray[np.int64] | None) -> LinearForm:
    assert channels is not None
    bias = form.bias
    picked: Lazy | None = None if bias is None else (lambda: bias()[channels])
    return diagonal(lambda: scale_of(form)[channels], len(channels), form.rank, picked)


def _joined(forms: Sequence[LinearForm], rank: int) -> LinearForm:
    def biases() -> Array:
        return np.concatenate([np.zeros(f.outputs) if f.bias is None else f.bias() for f in forms])

    total = sum(form.outputs for form in forms)
    biased = any(form.bias is not None for form in forms)
    return diagonal(lambda: np.concatenate([scale_of(f) for f in forms]), total, rank, biases if biased else None)


def narrowed(shape: Shape, axis: int, channels: int) -> Shape:
    """``shape`` with another number of channels."""
    changed = list(shape)
    changed[axis] = channels
    return tuple(changed)
