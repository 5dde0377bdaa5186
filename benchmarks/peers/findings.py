"""What a run of the benchmark found: one Row a network and number of threads, and who may count as a peer: none of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.peers.cold import Footprint
from benchmarks.peers.contest import Result
from benchmarks.peers.ratios import Ratio, Times, geometric_mean, ratio, times
from benchmarks.peers.roofline import Roofline
from benchmarks.peers.runtimes import RUNTIMES

FLOAT32_ERROR = 1e-3
"""Float32 runtimes differ by 1e-7 to 1e-4 (Winograd) on these networks, bfloat16 by 3e-3 to 2e-2, another network by
more: from here on a time is not one for the same work, and is left out of the comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network with one number of threads. ``failures``: runtime to reason; ``ratios``: of each of ours, none without a peer."""

    network: str
    macs: int
    threads: int
    times: Mapping[str, Times]
    errors: Mapping[str, float]
    failures: Mapping[str, str]
    ratios: Mapping[str, Ratio]

    def noisy(self, ours: str) -> bool:
        """The figures of ``ours`` or of the best peer had to come from rounds in which others took the core."""
        return any(self.times[name].noisy for name in (ours, self.ratios[ours].best))


@dataclass(slots=True, kw_only=True)
class Findings:
    """Everything that is printed. ``rooflines``: by number of threads.

    ``load``: the one-minute average before and after. ``nice``: the priority of what was timed.
    """

    machine: str
    nice: int = 0
    load: tuple[float, float] = (0.0, 0.0)
    rooflines: dict[int, Roofline] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    footprints: dict[str, Footprint] = field(default_factory=dict)
    footprint_network: str = ""
    footprint_threads: int = 1
    footprint_refusals: dict[str, str] = field(default_factory=dict)

    def mean_ratio(self, threads: int, ours: str) -> float | None:
        """Geometric mean of the rows' ratios of ``ours``; None without any."""
        values = [ratio.value for ratio in self.ratios(threads, ours)]
        return geometric_mean(values) if values else None

    def ratios(self, threads: int, ours: str) -> list[Ratio]:
        return [row.ratios[ours] for row in self.rows if row.threads == threads and ours in row.ratios]

    def json(self) -> dict[str, Any]:
        """Plain values, and `label`: how the figures were obtained."""
        return {"label": "measured", **asdict(self)}


def row(network: str, macs: int, threads: int, result: Result, refused: Mapping[str, str]) -> Row:
    """The figures of one contest; ``refused``: runtimes that did not get as far as it."""
    bursts = {name: runs for name, runs in result.bursts.items() if runs}
    mine = ours(bursts)
    peers = {n: b for n, b in bursts.items() if n not in mine and result.errors[n] <= FLOAT32_ERROR}
    return Row(
        network=network,
        macs=macs,
        threads=threads,
        times={name: times(runs) for name, runs in bursts.items()},
        errors={name: result.errors[name] for name in bursts},
        failures={**refused, **result.failures},
        ratios={name: ratio(bursts[name], peers) for name in mine} if peers else {},
    )


def ours(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are edgevision."""
    return [name for name in names if name in RUNTIMES and RUNTIMES[name].ours]
