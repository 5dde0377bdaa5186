"""What a run of the benchmark found: one Row a network and number of threads, and who may count as a peer."""

from __future__ import annotations

from collections.abc import Mapping
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
    """One network with one number of threads. ``failures``: runtime to reason; ``ratio`` is None without a peer."""

    network: str
    macs: int
    threads: int
    times: Mapping[str, Times]
    errors: Mapping[str, float]
    failures: Mapping[str, str]
    ratio: Ratio | None

    @property
    def noisy(self) -> bool:
        """Our figures or those of the best peer had to come from rounds in which others took the core."""
        return self.ratio is not None and any(self.times[name].noisy for name in (*_present_ours(self.times), self.ratio.best))


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

    def mean_ratio(self, threads: int) -> float | None:
        """Geometric mean of the rows' ratios; None without any."""
        values = [row.ratio.value for row in self.rows if row.threads == threads and row.ratio]
        return geometric_mean(values) if values else None

    def json(self) -> dict[str, Any]:
        """Plain values, and `label`: how the figures were obtained."""
        return {"label": "measured", **asdict(self)}


def row(network: str, macs: int, threads: int, result: Result, refused: Mapping[str, str]) -> Row:
    """The figures of one contest; ``refused``: runtimes that did not get as far as it."""
    bursts = {name: runs for name, runs in result.bursts.items() if runs}
    ours = _present_ours(bursts)
    peers = {n: b for n, b in bursts.items() if n not in ours and result.errors[n] <= FLOAT32_ERROR}
    return Row(
        network=network,
        macs=macs,
        threads=threads,
        times={name: times(runs) for name, runs in bursts.items()},
        errors={name: result.errors[name] for name in bursts},
        failures={**refused, **result.failures},
        ratio=ratio(bursts[ours[0]], peers) if ours and peers else None,
    )


def _present_ours(names: Mapping[str, object]) -> list[str]:
    return [name for name in names if name in RUNTIMES and RUNTIMES[name].ours]
