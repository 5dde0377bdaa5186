"""Graph: the ONNX graph while ingest rewrites it, with who writes and who reads each tensor at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevision.tensor import TensorSpec

Array = npt.NDArray[Any]


@dataclass(slots=True, eq=False)
class Node:
    """One operator. ``attributes`` are Python values: int, float, str, lists of them, numpy arrays."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""
    position: int = 0

    @property
    def output(self) -> str:
        """The first output."""
        return self.outputs[0]


class Graph:
    """Nodes, constants and tensor types of one model. It lives as long as one `read`.

    ``specs`` knows shape and dtype of every tensor, constants included. Nodes keep the file's order: a node that
    replaces another takes its place.
    """

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.constants: dict[str, Array] = {}
        self.specs: dict[str, TensorSpec] = {spec.name: spec for spec in inputs}
        self._nodes: dict[int, Node] = {}
        self._producers: dict[str, Node] = {}
        self._readers: dict[str, dict[int, Node]] = {}
        self._serial = 0

    # --- reading -----------------------------------------------------------------------------------------------------

    def __contains__(self, node: Node) -> bool:
        return id(node) in self._nodes

    def nodes(self, *ops: str) -> Iterator[Node]:
        """Nodes in order, of the named operators only when any are named; safe against rewriting meanwhile."""
        for node in sorted(self._nodes.values(), key=lambda n: n.position):
            if node in self and (not ops or node.op in ops):
                yield node

    def producer(self, tensor: str, *ops: str) -> Node | None:
        """The node that writes ``tensor``; None for inputs and constants, and when its operator is not in ``ops``."""
        node = self._producers.get(tensor)
        return node if node is not None and (not ops or node.op in ops) else None

    def readers(self, tensor: str) -> list[Node]:
        """The nodes that read ``tensor``, each once."""
        return list(self._readers.get(tensor, {}).values())

    def is_private(self, tensor: str) -> bool:
        """True if exactly one node reads ``tensor`` and it does not leave the graph."""
        return tensor not in self.outputs and len(self._readers.get(tensor, {})) == 1

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Static shape of a tensor or constant."""
        return self.specs[tensor].shape

    def dtype(self, tensor: str) -> np.dtype[Any]:
        """numpy dtype of a tensor or constant."""
        return np.dtype(self.specs[tensor].dtype)

    # --- writing -----------------------------------------------------------------------------------------------------

    def constant(self, value: Array, hint: str = "constant") -> str:
        """Add a constant and return its name."""
        name = self._fresh(hint)
        self.set_constant(name, value)
        return name

    def set_constant(self, name: str, value: Array) -> None:
        """Bind ``name`` to ``value``."""
        self.constants[name] = value
        self.specs[name] = TensorSpec(name=name, shape=value.shape, dtype=value.dtype.name)

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        shape: tuple[int, ...],
        attributes: Mapping[str, Any] | None = None,
        *,
        at: Node,
        domain: str = "",
        dtype: str = "",
    ) -> str:
        """A new node just before ``at``; returns its only output, of ``at``'s first output's dtype unless given."""
        output = self._fresh(f"{at.output}/{op}")
        self.specs[output] = TensorSpec(name=output, shape=shape, dtype=dtype or self.specs[at.output].dtype)
        self.insert(Node(op, list(inputs), [output], dict(attributes or {}), f"{at.name}/{op}", domain, at.position))
        return output

    def insert(self, node: Node) -> None:
        """Put a complete node into the graph."""
        self._nodes[id(node)] = node
        for tensor in filter(None, node.outputs):
            self._producers[tensor] = node
        for tensor in filter(None, node.inputs):
            self._readers.setdefault(tensor, {})[id(node)] = node

    def replace(
        self,
        node: Node,
        op: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        *,
        domain: str = "",
    ) -> Node:
        """Another operator writes ``node``'s first output; what only ``node`` needed goes."""
        new = Node(op, list(inputs), [node.output], dict(attributes or {}), node.name, domain, node.position)
        self._detach(node)
        self.insert(new)
        self._drop_unread(node.inputs)
        return new

    def set_inputs(self, node: Node, inputs: Sequence[str]) -> None:
        """Let ``node`` read other tensors; what nothing reads any more goes."""
        old = node.inputs
        for tensor in filter(None, old):
            self._readers[tensor].pop(id(node), None)
        node.inputs = list(inputs)
        for tensor in filter(None, node.inputs):
            self._readers.setdefault(tensor, {})[id(node)] = node
        self._drop_unread(old)

    def bypass(self, node: Node, source: str) -> bool:
        """Let everything that reads ``node``'s first output read ``source`` (same shape and dtype); drop ``node``.

        False, and nothing done, where that would change the graph's border: an input, a constant or another output
        would have to go out under this output's name.
        """
        target = node.output
        if target in self.outputs:
            writer = self._producers.get(source)
            if writer is None or source in self.outputs:
                return False
            self._detach(node)
            self._rename(writer, source, target)
            return True
        for reader in self.readers(target):
            self.set_inputs(reader, [source if t == target else t for t in reader.inputs])
        self._drop_unread([target])
        return True

    def remove_dead(self) -> None:
        """Drop nodes and constants that no output depends on."""
        alive: set[int] = set()
        stack = [self._producers[t] for t in self.outputs if t in self._producers]
        while stack:
            node = stack.pop()
            if id(node) not in alive:
                alive.add(id(node))
                stack += [self._producers[t] for t in node.inputs if t in self._producers]
        for node in list(self._nodes.values()):
            if id(node) not in alive:
                self._detach(node)
        read = {t for node in self._nodes.values() for t in node.inputs} | set(self.outputs)
        for name in [n for n in self.constants if n not in read]:
            del self.constants[name]

    def _rename(self, writer: Node, source: str, target: str) -> None:
        readers = self.readers(source)
        writer.outputs = [target if t == source else t for t in writer.outputs]
        self._producers[target] = self._producers.pop(source)
        for reader in readers:
            self.set_inputs(reader, [target if t == source else t for t in reader.inputs])

    def _detach(self, node: Node) -> None:
        del self._nodes[id(node)]
        for tensor in node.outputs:
            if self._producers.get(tensor) is node:
                del self._producers[tensor]
        for tensor in node.inputs:
            self._readers.get(tensor, {}).pop(id(node), None)

    def _drop_unread(self, tensors: Iterable[str]) -> None:
        stack = list(tensors)
        while stack:
            tensor = stack.pop()
            node = self._producers.get(tensor)
            if self._readers.get(tensor) or tensor in self.outputs:
                continue
            self.constants.pop(tensor, None)
            if node is not None and not any(self._readers.get(t) or t in self.outputs for t in node.outputs):
                self._detach(node)
                stack += node.inputs

    def _fresh(self, hint: str) -> str:
        name = hint
        while name in self.specs or not name:
            self._serial += 1
            name = f"{hint}_{self._serial}"
        return name

    # --- order -------------------------------------------------------------------------------------------------------

    def in_order(self) -> list[Node]:
        """Nodes sorted topologically, otherwise in the file's order."""
        done: set[int] = set()
        order: list[Node] = []
        for root in self.nodes():
            stack = [(root, False)]
            while stack:
                node, expanded = stack.pop()
                if id(node) in done:
                    continue
                if expanded:
                    done.add(id(node))
                    order.append(node)
                    continue
                stack.append((node, True))
                before = [self._producers[t] for t in reversed(node.inputs) if t in self._producers]
                stack += [(n, False) for n in before if id(n) not in done]
        return order
