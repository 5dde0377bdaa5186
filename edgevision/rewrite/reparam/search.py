"""The search: for every sum of linear forms the cheapest exact way to compute it that the moves lead to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from edgevision.rewrite.reparam.cost import CostModel
from edgevision.rewrite.reparam.moves import inline, lift, push_down, simplify, swap_pool
from edgevision.rewrite.reparam.network import Affine, Network, Wire
from edgevision.rewrite.reparam.price import combined

EPSILON_US = 1e-6  # below what any change of a graph costs: rounding of the sums
LOOK_AHEAD = 6  # producers that may be inlined at a loss before the gain shows; published blocks need 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """A merge that was not made: the nodes, the reason, and where it is a matter of cost both costs."""

    nodes: tuple[str, ...]
    reason: str
    kept_us: float | None = None
    merged_us: float | None = None


@dataclass(slots=True)
class Search:
    """One rewriting in progress. ``excluded`` are tensors whose regions are left as they are.

    ``declined`` are merges of a node and one that it reads, ``apart`` forms that were tried as one at an output, both
    by the tensors concerned: in the end some of them were made after all, in another way.
    """

    network: Network
    model: CostModel
    excluded: Collection[str] = ()
    declined: dict[tuple[str, ...], Declined] = field(default_factory=dict)
    apart: dict[str, list[Declined]] = field(default_factory=dict)

    def run(self) -> None:
        """To the fixed point: no move of any node pays any more.

        Branches merge before anything is moved across wires, which would pull apart what can merge.
        """
        absorb, lift, swap, push = self._absorb, self._lift, self._swap, self._push
        for moves in ((swap, absorb), (swap, absorb, lift), (swap, absorb, lift, push)):
            self._exhaust(moves)

    def _exhaust(self, moves: tuple[Callable[[int], None], ...]) -> None:
        network = self.network
        queue = [key for key, node in network.in_order() if isinstance(node, Affine)]
        while queue:
            queued = set(queue)
            again: dict[int, None] = {}
            for key in queue:
                queued.discard(key)
                if key in network.nodes:
                    again.update(dict.fromkeys(self._visit(key, moves)))
            queue = sorted((k for k in again if isinstance(network.nodes.get(k), Affine)),
                           key=lambda k: network.nodes[k].position)  # fmt: skip

    def _visit(self, key: int, moves: tuple[Callable[[int], None], ...]) -> list[int]:
        """Try every move at ``key``; the keys to look at again."""
        touched: list[int] = []
        for move in moves:
            node = self.network.nodes.get(key)
            if not isinstance(node, Affine) or node.output in self.excluded:
                break
            mark = self.network.mark()
            if self._pays(move, key):
                touched += self._neighbours(mark)
        return touched

    def _neighbours(self, mark: int) -> list[int]:
        """What changed since ``mark``, and what reads or writes what that reads or writes."""
        network, found = self.network, dict[int, None]()
        for key in network.changed_since(mark):
            node = network.nodes.get(key)
            if node is None:
                continue
            found[key] = None
            for tensor in node.reads:
                writer = network.writer(tensor)
                found.update({} if writer is None else {writer[0]: None})
            for tensor in node.writes:
                found.update(dict.fromkeys(k for k, _ in network.readers(tensor)))
        return list(found)

    def _pays(self, move: Callable[[int], None], key: int) -> bool:
        """Make the move; keep it if the graph became cheaper and has no more convolutions, else take it back."""
        mark, before = self.network.mark(), self.network.total_us()
        move(key)
        cheaper = self.network.mark() > mark and self.network.total_us() < before - EPSILON_US
        if cheaper and self.network.windows_since(mark) <= 0 and not self._trespasses(mark):
            return True
        node = self.network.nodes.get(key)
        if isinstance(node, Affine) and not node.protos:
            self.apart[node.output] = stand_apart(node, self.network, self.model)
        self.network.roll_back(mark)
        return False

    def _trespasses(self, mark: int) -> bool:
        """True if a region changed that is to stay as it is."""
        return any(tensor in self.excluded for tensor in self.network.written_since(mark))

    # --- moves at one node -------------------------------------------------------------------------------------------

    def _absorb(self, key: int) -> None:
        """Inline producers while that costs nothing, looking ahead along each where it does at first."""
        simplify(self.network, key, self.model)
        progress = True
        while progress:
            candidates = self._producers(key)
            progress = any(self._absorbs(key, producer) for producer in candidates) or any(
                self._absorbs(key, producer, LOOK_AHEAD) for producer in candidates
            )

    def _producers(self, key: int) -> list[int]:
        """Sums that ``key`` reads, the latest first."""
        node = self.network.nodes[key]
        found = [self.network.writer(tensor) for tensor in node.reads]
        sums = [each for each in found if each is not None and isinstance(each[1], Affine)]
        return [k for k, _ in sorted(sums, key=lambda each: each[1].position, reverse=True)]

    def _absorbs(self, key: int, producer: int, depth: int = 1) -> bool:
        """Inline ``producer``, then what it read, at most ``depth`` deep, until the graph is no dearer than before."""
        network = self.network
        mark, before = network.mark(), network.total_us()
        nodes = [node for node in (network.nodes[producer], network.nodes[key]) if isinstance(node, Affine)]
        apart = network.price_us(producer) + network.price_us(key)
        shared = not network.is_private(network.nodes[producer].writes[0])
        costlier = "it costs more, since what it makes is needed by others too" if shared else "it costs more"
        chain = [producer]
        while chain and depth:
            source = network.nodes.get(chain.pop())
            if not isinstance(source, Affine) or source.output not in network.nodes[key].reads:
                continue
            reads, written = source.reads, network.producer[source.output]
            refused = inline(network, key, written, self.model)
            if refused is not None:
                self._decline(nodes, refused.reason)
                break
            depth -= 1
            more = network.total_us() - before
            if more <= EPSILON_US and network.windows_since(mark) <= 0:
                return True
            self._decline(nodes, costlier, apart, apart + more)
            chain += [w[0] for w in map(network.writer, reads) if w is not None]
        network.roll_back(mark)
        return False

    def _decline(self, nodes: Sequence[Affine], reason: str, kept: float | None = None,
                 merged: float | None = None) -> None:  # fmt: skip
        first, second = nodes
        pair = (first.output, second.output)
        names = tuple(dict.fromkeys((*first.sources, *second.sources)))
        self.declined[pair] = Declined(nodes=names, reason=reason, kept_us=kept, merged_us=merged)

    def _lift(self, key: int) -> None:
        for form in lift(self.network, key):
            if form in self.network.nodes:
                self._absorb(form)
                self._lift(form)

    def _swap(self, key: int) -> None:
        if swap_pool(self.network, key, self.model):
            for producer in self._producers(key):
                self._absorb(producer)

    def _push(self, key: int) -> None:
        node = self.network.nodes[key]
        assert isinstance(node, Affine)
        if len(node.terms) != 1 or not node.terms[0].form.pointwise:
            return
        readers = self.network.readers(node.output)
        if len(readers) == 1 and not isinstance(readers[0][1], Wire):
            return
        push_down(self.network, key, self.model)


def stand_apart(node: Affine, network: Network, model: CostModel) -> list[Declined]:
    """Forms of one tensor that ``node`` sums but does not merge, with the reason and both costs."""
    found = []
    for each in combined(node.terms, node.output, node.axis, network, model)[1]:
        sizes = " + ".join("x".join(map(str, form.kernel)) or "1" for form in (each.one, each.other))
        costs = (each.apart_us, each.merged_us) if each.merged_us else (None, None)
        found.append(Declined(nodes=node.sources, reason=f"{sizes} stay apart: {each.reason}",
                              kept_us=costs[0], merged_us=costs[1]))  # fmt: skip
    return found


def refused(search: Search) -> list[Declined]:
    """The merges that were declined to the end: those whose nodes are both still there, and forms that stand apart."""
    network, found = search.network, []
    for (first, second), each in search.declined.items():
        writer = network.writer(second)
        if writer is not None and first in writer[1].reads and network.writer(first) is not None:
            found.append(each)
    for _, node in network.in_order():
        if isinstance(node, Affine):
            tried = search.apart.get(node.output, []) if node.protos else []
            found += tried or stand_apart(node, network, search.model)
    return found
