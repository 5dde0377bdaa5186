"""What recognising an operator needs: its attributes, the constants, and the shapes around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper

from edgevision.rewrite.reparam.constants import FLOATING, Constants
from edgevision.rewrite.reparam.extents import Extent, Shape, Shapes
from edgevision.rewrite.reparam.linear_form import LinearForm
from edgevision.rewrite.reparam.network import Term


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An operator that is of a linear kind, and why it is left alone all the same."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """An operator as a sum of forms; channels are on ``axis``."""

    axis: int
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """``axes``: on which axis the channels of the tensors are that linear operators before this one wrote.

    ``last``: the tensors whose last axis a MatMul mixes.
    """

    constants: Constants
    shapes: Shapes
    opset: int
    axes: dict[str, int]
    last: frozenset[str] = frozenset()

    def axis(self, *tensors: str) -> int:
        """Where the channels are of tensors of one shape: on the last axis where an operator beside says so, else 1."""
        return -1 if any(self.axes.get(name, -1 if name in self.last else 1) == -1 for name in tensors) else 1

    def shape(self, tensor: str) -> Shape | None:
        """Shape of a tensor that is no constant; None where its rank is unknown."""
        return self.shapes.shapes.get(tensor)

    def channels(self, tensor: str, axis: int) -> int | None:
        """Extent of the channel axis, where it is known and the tensor has a batch axis too."""
        shape = self.shape(tensor)
        if shape is None or len(shape) < 2:
            return None
        extent: Extent = shape[axis]
        return extent if isinstance(extent, int) else None

    def is_floating(self, tensor: str) -> bool:
        return self.shapes.types.get(tensor, TensorProto.UNDEFINED) in FLOATING

    def unfit(self, name: str) -> str:
        """Why ``name`` is no constant, in words; empty if it is one."""
        if name in self.constants:
            return ""
        if name in self.constants.overridable:
            return f"{name!r} can be overridden by a graph input"
        return f"{name!r} is computed"


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes as Python values, text as str."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def one_term(tensor: str, axis: int, form: LinearForm) -> Leaf:
    return Leaf(axis=axis, terms=(Term(tensor=tensor, form=form),))
