"""Node: one operator of a normal-form graph with its attributes as Python values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """``op`` is "Conv", or "edgevision::Silu" outside ONNX's own domain. An omitted optional input is ""."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    def get(self, attribute: str, default: Any = None) -> Any:
        return self.attributes.get(attribute, default)

    def has(self, index: int) -> bool:
        """Whether input ``index`` is given."""
        return index < len(self.inputs) and self.inputs[index] != ""


def read(node: onnx.NodeProto) -> Node:
    op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
    attributes = {}
    for a in node.attribute:
        value = onnx.helper.get_attribute_value(a)
        attributes[a.name] = value.decode() if isinstance(value, bytes) else value
    return Node(op=op, name=node.name, inputs=tuple(node.input), outputs=tuple(node.output), attributes=attributes)
