"""A rule, and how a tuple of passes runs to a fixed point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgevision.ingest.graph import Graph, Node
from edgevision.model import Change

ROUND_LIMIT = 1000  # every rule removes something; this many rounds means that two undo each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A rule recognised its pattern and left it alone, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A local pattern -> replacement.

    ``apply`` looks at one node, of an operator in ``anchors``, as the last node of the pattern. It rewrites the graph
    and returns True, or touches nothing and returns False (another pattern) or a Refusal.
    """

    name: str
    anchors: tuple[str, ...]
    apply: Callable[[Graph, Node], bool | Refusal]


def run(graph: Graph, passes: Sequence[Sequence[Rule]]) -> tuple[Change, ...]:
    """Run each pass to its fixed point, in order, and all of them again until none changes anything.

    One Change for each rule that fired or refused; refusals are those of the last look.
    """
    counts: dict[str, int] = {}
    refusals: dict[str, tuple[str, ...]] = {}
    for _ in range(ROUND_LIMIT):
        if not sum(_fixed_point(graph, rules, counts, refusals) for rules in passes):
            graph.remove_dead()
            names = [rule.name for rules in passes for rule in rules]
            seen = [name for name in dict.fromkeys(names) if counts[name] or refusals[name]]
            return tuple(Change(rule=name, count=counts[name], refusals=refusals[name]) for name in seen)
    raise AssertionError(f"no fixed point after {ROUND_LIMIT} rounds: {counts}")


def _fixed_point(
    graph: Graph, rules: Sequence[Rule], counts: dict[str, int], refusals: dict[str, tuple[str, ...]]
) -> int:
    total = 0
    for _ in range(ROUND_LIMIT):
        fired = sum(_sweep(graph, rule, counts, refusals) for rule in rules)
        total += fired
        if not fired:
            break
    return total


def _sweep(graph: Graph, rule: Rule, counts: dict[str, int], refusals: dict[str, tuple[str, ...]]) -> int:
    fired, refused = 0, []
    for node in graph.nodes(*rule.anchors):
        outcome = rule.apply(graph, node)
        if isinstance(outcome, Refusal):
            refused.append(f"{node.name}: {outcome.reason}")
        else:
            fired += outcome
    counts[rule.name] = counts.get(rule.name, 0) + fired
    refusals[rule.name] = tuple(refused)
    return fired
