"""prune: the steps in order: follow channels, score classes, build ladders, select, remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgevision.errors import InputError, UnknownNameError
from edgevision.rewrite.prune.channels import Channels, analyse
from edgevision.rewrite.prune.cost import Cost, channel_count, macs, parameters
from edgevision.rewrite.prune.importance import IMPORTANCES, Importance, score_classes
from edgevision.rewrite.prune.ladder import LEAST_KEPT, Ladder, ladders
from edgevision.rewrite.prune.network import Array, Network
from edgevision.rewrite.prune.remove import remove
from edgevision.rewrite.prune.removing import Mask
from edgevision.rewrite.prune.select import Scope, select

ROUND_TO = 8
MEASURES = ("keep", "macs", "params")


class NothingPrunableError(InputError):
    """No channel of the network may go."""

    def __init__(self, reasons: Sequence[str], round_to: int) -> None:
        self.reasons, self.round_to = tuple(reasons), round_to
        shown = "; ".join(self.reasons[:3]) or "it has no layer that makes channels"
        super().__init__(
            f"nothing can be pruned: every channel is frozen or in a layer of {round_to} channels or fewer ({shown}); "
            "`--explain` lists all reasons, a smaller --round-to reaches narrower layers"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """Output channels of one layer before and after."""

    layer: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """``count`` channels that stay for ``reason``."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A network with fewer channels.

    ``proto`` is in the normal form. ``requested`` and ``achieved`` are shares of ``unit`` that stay; ``requested`` is
    None for a removal without a budget. ``widths``: every layer, changed or not.
    """

    proto: onnx.ModelProto
    unit: str
    requested: float | None
    achieved: float
    widths: tuple[Width, ...]
    held: tuple[Held, ...]
    unknown: tuple[str, ...]
    removed: tuple[int, ...]

    @property
    def changed(self) -> tuple[Width, ...]:
        """The layers that are narrower now."""
        return tuple(width for width in self.widths if width.after != width.before)


def prune(
    proto: onnx.ModelProto, share: float, *, measure: str = "keep", importance: Importance | str = "l1",
    scope: Scope = "global", round_to: int = ROUND_TO, frozen: Sequence[str] = (), least_kept: float = LEAST_KEPT,
    scales: Mapping[str, Array] | None = None,
) -> Pruned:  # fmt: skip
    """Remove channels until ``share`` of the ``measure`` stays.

    ``measure``: "keep" (of the channels that may go), "macs" or "params" (of the network's). ``importance``: a name in
    `IMPORTANCES`, or any function `Filters -> scores`. Every layer whose width changes gets a multiple of ``round_to``
    and keeps ``least_kept`` of its width. ``frozen``: names of nodes or tensors whose channels stay. ``scales``: see
    `importance.layers_of`.

    Raises: InputError (share outside (0, 1), round_to below 1), UnknownNameError, NothingPrunableError, BudgetError.
    """
    check_share(share, f"--{measure}")
    if measure not in MEASURES:
        raise UnknownNameError("measure", measure, MEASURES)
    plan = planned(
        proto, importance=importance, scope=scope, round_to=round_to, frozen=frozen, least_kept=least_kept, scales=scales
    )
    return plan.narrowed(_cost(measure, plan), share, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is known before a budget is: the channels of ``network``, how much each class matters, and the widths that
    they can have."""

    network: Network
    channels: Channels
    score: Mapping[int, float]
    steps: tuple[Ladder, ...]
    scope: Scope

    def narrowed(self, cost: Cost, share: float, requested: float | None) -> Pruned:
        """At most ``share`` of ``cost`` stays. Raises: BudgetError."""
        chosen = select(self.steps, self.channels, self.score, cost, share, self.scope)
        return without(
            self.network, self.channels, chosen.removed, unit=cost.unit, requested=requested, achieved=chosen.share
        )


def planned(
    proto: onnx.ModelProto, *, importance: Importance | str, scope: Scope, round_to: int, frozen: Sequence[str],
    least_kept: float, scales: Mapping[str, Array] | None,
) -> Plan:  # fmt: skip
    """Channels followed, scored, and their ladders built; arguments and errors are those of `prune`."""
    if round_to < 1:
        raise InputError(f"--round-to {round_to}: give 1 or more")
    network = Network(proto)
    channels = analysed(network, frozen)
    score = score_classes(network, channels, named(importance), scales)
    steps = ladders(channels, score, round_to=round_to, least_kept=least_kept)
    if not steps:
        raise NothingPrunableError([each.reason for each in held(channels)], round_to)
    return Plan(network=network, channels=channels, score=score, steps=steps, scope=scope)


def check_share(share: float, what: str) -> None:
    if not 0 < share < 1:
        raise InputError(f"{what} {share:g}: give the share that stays, between 0 and 1, for instance 0.7")


def named(importance: Importance | str) -> Importance:
    """The function of that name. Raises: UnknownNameError."""
    if callable(importance):
        return importance
    if importance not in IMPORTANCES:
        raise UnknownNameError("importance", importance, tuple(IMPORTANCES))
    return IMPORTANCES[importance]


def analysed(network: Network, frozen: Sequence[str]) -> Channels:
    """`analyse`, after a check that every frozen name exists. Raises: UnknownNameError."""
    known = [*(node.name for node in network.nodes), *network.shapes]
    for name in frozen:
        if name not in known:
            raise UnknownNameError("node or tensor to freeze", name, known)
    return analyse(network, frozen)


def without(
    network: Network, channels: Channels, removed: tuple[int, ...], *, unit: str, requested: float | None,
    achieved: float,
) -> Pruned:  # fmt: skip
    """`remove`, with its record."""
    keep: Mask = ~np.isin(channels.root, removed)
    widths = [
        Width(layer=layer.node, before=len(layer.ids), after=int(keep[layer.ids].sum())) for layer in channels.layers
    ]
    return Pruned(
        proto=remove(network, channels, removed), unit=unit, requested=requested, achieved=achieved,
        widths=tuple(widths), held=held(channels), unknown=channels.unknown, removed=removed,
    )  # fmt: skip


def held(channels: Channels) -> tuple[Held, ...]:
    """Why channels stay, the reason for most of them first."""
    counts: dict[str, int] = {}
    for reason in channels.frozen.values():
        counts[reason] = counts.get(reason, 0) + 1
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return tuple(Held(reason=reason, count=count) for reason, count in ordered)


def _cost(measure: str, plan: Plan) -> Cost:
    if measure == "macs":
        return macs(plan.network, plan.channels)
    if measure == "params":
        return parameters(plan.network, plan.channels)
    return channel_count([each for ladder in plan.steps for cell in ladder.cells for each in cell])
