"""What a work item does with a finished register: the stages fused behind the anchor, on vectors, and the store."""

from __future__ import annotations

from collections.abc import Sequence

from tvm.tirx.script.builder import ir as T  # noqa: N812

from edgevision.schedule.gpu import kernel as k
from edgevision.schedule.register_tile import Buffer, Expr, lanes, store
from edgevision.schedule.tail import Tail


def finish(
    tail: Tail, prefix: Sequence[Expr], channel: Expr, acc: Buffer, number: int, width: int, channels: int, *, partial: bool
) -> None:  # fmt: skip
    """Register ``number`` of ``acc`` -> the workload's results at [*prefix, channel ..]; those from ``channels`` on do not exist,
    which is looked at if ``partial``."""
    if width == 1:
        k.when(channel < T.int64(channels) if partial else None, lambda: _store(tail, prefix, channel, acc, number, 1, 1, 0))
        return
    out = k.scalars(width)
    T.buffer_store(out, acc[number], [T.ramp(0, 1, width)])
    if not partial:
        _store(tail, prefix, channel, out, 0, width, width, 0)
        return
    rest = channels % width
    whole = channel + width <= T.int64(channels)

    def some() -> None:
        for part in lanes(rest, width):
            _store(tail, prefix, channel + part.offset, out, part.offset, part.width, width, part.offset)

    def remains() -> None:
        if rest:
            k.when(channel < T.int64(channels), some)

    k.either(whole, lambda: _store(tail, prefix, channel, out, 0, width, width, 0), remains)


def _store(
    tail: Tail, prefix: Sequence[Expr], channel: Expr, out: Buffer, number: int, lanes_: int, width: int, first: int
) -> None:  # fmt: skip
    if lanes_ == 1:
        at = [*prefix, channel]
        _results(tail, at, out[number])
        return
    with T.vectorized(T.int64(lanes_)) as lane:
        at = [*prefix, channel + lane]
        _results(tail, at, out[lane + first])


def _results(tail: Tail, at: Sequence[Expr], anchored: Expr) -> None:
    for stage in tail.results:
        store(tail.place(stage.buffer), at, tail.value(at, anchored, stage), 1)
