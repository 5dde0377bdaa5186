"""Network: a graph whose linear operators are sums of linear forms, and which takes back what did not pay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
import onnx

from edgevision.rewrite.reparam.extents import Shape, Shapes, number
from edgevision.rewrite.reparam.linear_form import Extents, LinearForm

Position = tuple[int, int]
"""Index of the original node, then the order among what replaced it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """``form`` of ``tensor``."""

    tensor: str
    form: LinearForm


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """An operator that is left alone."""

    position: Position
    proto: onnx.NodeProto
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """``output`` = the sum of ``terms``. ``axis`` is where its channels are: 1, or -1 for the last of three or more.

    ``protos`` are the original nodes while nothing was changed. ``sources`` names every original node that went in;
    ``ranges`` keeps the largest absolute weight of each of their kernels.
    """

    position: Position
    output: str
    axis: int
    terms: tuple[Term, ...]
    protos: tuple[onnx.NodeProto, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(term.tensor for term in self.terms))

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.output,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Operators that move or average whole channels, so that what acts channel by channel may pass them.

    ``kind``: "mean" over space; "relayout" (channels to another axis, or axes of extent 1 dropped or added); "concat";
    "permute" (output channel c is input channel order[c]); "split" (output i has the next sizes[i] channels).
    """

    position: Position
    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    protos: tuple[onnx.NodeProto, ...]
    axis_in: int
    axis_out: int
    rank_in: int
    rank_out: int
    sizes: tuple[int, ...] = ()
    order: npt.NDArray[Any] | None = None
    moved: bool = False


Node = Affine | Wire | Opaque


class Network:
    """The nodes, who reads and who writes each tensor, and a journal of changes. Lives as long as one rewriting."""

    def __init__(self, nodes: Sequence[Node], shapes: Shapes, protected: frozenset[str], price: Callable[..., float]):
        self.shapes, self.protected = shapes, protected
        self.nodes: dict[int, Node] = {}
        self.producer: dict[str, int] = {}
        self._readers: dict[str, dict[int, None]] = {}
        self._journal: list[tuple[int, Node | None]] = []
        self._price = price
        self._prices: dict[int, float] = {}
        self._stale: set[int] = set()
        self._total = 0.0
        self._serial = 0
        for key, node in enumerate(nodes):
            self._put(key, node)
        self._next = len(nodes)
        self._journal.clear()
        self._first = {tensor: dict(readers) for tensor, readers in self._readers.items()}
        self._originals = dict(self.nodes)

    # --- reading -----------------------------------------------------------------------------------------------------

    def writer(self, tensor: str) -> tuple[int, Node] | None:
        """Key and node of what writes ``tensor``; None for inputs and constants."""
        key = self.producer.get(tensor)
        return None if key is None else (key, self.nodes[key])

    def readers(self, tensor: str) -> list[tuple[int, Node]]:
        """Key and node of everything that reads ``tensor``."""
        return [(key, self.nodes[key]) for key in self._readers.get(tensor, {})]

    def is_private(self, tensor: str) -> bool:
        """True if exactly one node reads ``tensor`` and it does not leave the graph."""
        return tensor not in self.protected and len(self._readers.get(tensor, {})) == 1

    def has_first_readers(self, tensor: str) -> bool:
        """True if what reads ``tensor`` is what read it at first, unchanged."""
        now = self._readers.get(tensor, {})
        return set(now) == set(self._first.get(tensor, {})) and all(
            self.nodes[k] is self._originals.get(k) for k in now
        )

    def is_needed(self, node: Node) -> bool:
        """True if something reads what ``node`` writes."""
        return any(tensor in self.protected or self._readers.get(tensor) for tensor in node.writes)

    def in_order(self) -> list[tuple[int, Node]]:
        """Nodes in an order in which they can run."""
        return sorted(self.nodes.items(), key=lambda item: item[1].position)

    def space(self, tensor: str, axis: int) -> Extents:
        """Extents of the axes of space of ``tensor``; channels last have none."""
        return () if axis == -1 else tuple(number(n) for n in self.shapes[tensor][2:])

    def total_us(self) -> float:
        """Modelled time of all nodes."""
        for key in self._stale:
            self._total -= self._prices.pop(key, 0.0)
            if key in self.nodes:
                self._prices[key] = self._price(self.nodes[key], self)
                self._total += self._prices[key]
        self._stale.clear()
        return self._total

    # --- writing -----------------------------------------------------------------------------------------------------

    def add(self, node: Node) -> int:
        """Put a new node in; returns its key."""
        key = self._next
        self._next += 1
        self._put(key, node)
        return key

    def replace(self, key: int, node: Node) -> None:
        """Let another node stand where ``key`` was; what nothing reads any more goes."""
        before = self.nodes[key]
        self._put(key, node)
        self._sweep(before.reads)

    def fresh(self, hint: str, shape: Shape, dtype: int) -> str:
        """A new tensor's name."""
        name = hint
        while name in self.shapes or name in self.shapes.types:
            self._serial += 1
            name = f"{hint}_{self._serial}"
        self.shapes.shapes[name], self.shapes.types[name] = shape, dtype
        return name

    def mark(self) -> int:
        """A point to `roll_back` to."""
        return len(self._journal)

    def roll_back(self, mark: int) -> None:
        """Undo every change since ``mark``."""
        while len(self._journal) > mark:
            key, node = self._journal.pop()
            self._set(key, node)

    def changed_since(self, mark: int) -> set[int]:
        """Keys of the nodes that were put in, replaced or removed since ``mark``."""
        return {key for key, _ in self._journal[mark:]}

    def windows_since(self, mark: int) -> int:
        """How many more convolutions there are than at ``mark``."""
        first: dict[int, Node | None] = {}
        for key, node in self._journal[mark:]:
            first.setdefault(key, node)
        return sum(_windows(self.nodes.get(key)) - _windows(node) for key, node in first.items())

    def price_us(self, key: int) -> float:
        """Modelled time of one node."""
        return self._price(self.nodes[key], self)

    def written_since(self, mark: int) -> set[str]:
        """Tensors whose writer was put in, replaced or removed since ``mark``."""
        before = {t for _, node in self._journal[mark:] if node is not None for t in node.writes}
        after = {t for key in self.changed_since(mark) if key in self.nodes for t in self.nodes[key].writes}
        return before | after

    def _put(self, key: int, node: Node | None) -> None:
        self._journal.append((key, self.nodes.get(key)))
        self._set(key, node)

    def _set(self, key: int, node: Node | None) -> None:
        before = self.nodes.pop(key, None)
        if before is not None:
            for tensor in before.reads:
                self._readers[tensor].pop(key, None)
            for tensor in before.writes:
                if self.producer.get(tensor) == key:
                    del self.producer[tensor]
        if node is not None:
            self.nodes[key] = node
            for tensor in node.reads:
                self._readers.setdefault(tensor, {})[key] = None
            for tensor in node.writes:
                self.producer[tensor] = key
        touched = {*(before.reads if before else ()), *(node.reads if node else ())}
        self._stale.add(key)
        self._stale.update(self.producer[tensor] for tensor in touched if tensor in self.producer)

    def _sweep(self, tensors: Sequence[str]) -> None:
        stack = list(tensors)
        while stack:
            found = self.writer(stack.pop())
            if found is not None and not self.is_needed(found[1]):
                self._put(found[0], None)
                stack += found[1].reads


def _windows(node: Node | None) -> int:
    return sum(not term.form.diagonal for term in node.terms) if isinstance(node, Affine) else 0


def rewired(wire: Wire, reads: tuple[str, ...], writes: tuple[str, ...], position: Position) -> Wire:
    """The same move of other tensors."""
    return replace(wire, reads=reads, writes=writes, position=position, moved=True)


def affine_nodes(network: Network) -> Iterator[tuple[int, Affine]]:
    """Every sum of linear forms, in order."""
    return ((key, node) for key, node in network.in_order() if isinstance(node, Affine))
