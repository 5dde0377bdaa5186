"""Print modelled Neoverse N1 cycles of edgevision and of its peers for AArch64, one thread, as a table.

    python -m benchmarks.arm64_cost [--caches] [--networks NAME ...] [--runtimes NAME ...]

Modelled, not measured: docs/cost.md says what the figures mean. The first run unpacks an AArch64 Python (root.py) and
converts the networks, as benchmarks.peers does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from statistics import geometric_mean

from benchmarks.arm64_cost.counting import Ours, ours, peer, ratio
from benchmarks.peers.case import Case
from benchmarks.peers.child import CHECKOUT, WorkerError
from benchmarks.peers.environment import Environment
from benchmarks.peers.networks import NETWORKS, case_of
from benchmarks.peers.preparing import prepare
from benchmarks.peers.runtimes import RUNTIMES
from edgevision.errors import DeviceError
from edgevision.modelled import ModelledCost

COMPARED = ("mobilenetv2-1.0", "ghostnet-1.0", "mobilenetv3-large", "repvgg-a0")
PEERS = ("onnxruntime", "ncnn", "mnn", "litert")
CACHE = CHECKOUT / ".cache"
HEAD = ("network", "runtime", "M cycles", "M port bound", "M L1 misses", "M L2 misses", "FMA lanes / MACs", "untuned", "tuned",
        "no Winograd")  # fmt: skip

Ratios = tuple[float, float, float]
"""edgevision's cycles over a peer's: untuned, tuned, and untuned without Winograd."""


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = _parse(arguments)
    environment = Environment(CACHE / "peers-venv")
    environment.install([RUNTIMES[name] for name in chosen.runtimes], _progress)
    ratios: dict[str, list[Ratios]] = {}
    print(line(HEAD))
    print("|" + "---|" * len(HEAD))
    for network in chosen.networks:
        case = case_of(NETWORKS[network], CACHE / "peers" / "cases")
        _progress(f"{network} by edgevision")
        mine = ours(case, caches=chosen.caches)
        for name, cost in mine.named.items():
            print(line(figures(network, name, cost, mine.macs)), flush=True)
        for name in chosen.runtimes:
            _progress(f"{network} by {name}")
            try:
                theirs = _peer(name, case, environment, caches=chosen.caches)
            except (WorkerError, DeviceError) as error:
                _progress(f"{network} by {name}: {error}")
                continue
            found = compared(mine, theirs)
            ratios.setdefault(name, []).append(found)
            print(line([*figures(network, name, theirs, mine.macs), *(f"{each:.2f}" for each in found)]), flush=True)
    for text in summary(ratios):
        print(text)


def _peer(name: str, case: Case, environment: Environment, *, caches: bool) -> ModelledCost:
    """Raises: WorkerError where it cannot be converted, DeviceError where it does not run."""
    entrant, _ = prepare(RUNTIMES[name], environment.python, case, CACHE / "peers" / "converted", [0])
    return peer(entrant, case, CACHE / "arm64-root", caches=caches)


def compared(mine: Ours, theirs: ModelledCost) -> Ratios:
    return ratio(mine.untuned, theirs), ratio(mine.tuned, theirs), ratio(mine.direct, theirs)


def figures(network: str, name: str, cost: ModelledCost, macs: int) -> list[str]:
    """The cells of a row that stand alone."""
    counts = (cost.cycles, cost.port_bound, cost.l1_misses, cost.l2_misses)
    cells = ["-" if n is None else f"{n / 1e6:.{1 if n > 1e7 else 2}f}" for n in counts]
    return [network, name, *cells, f"{cost.fma_lanes / macs:.3f}"]


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join([*cells, *["-"] * (len(HEAD) - len(cells))]) + " |"


def summary(ratios: Mapping[str, Sequence[Ratios]]) -> list[str]:
    """Geometric means over the networks."""
    found = []
    for name, each in ratios.items():
        untuned, tuned, direct = (geometric_mean(column) for column in zip(*each, strict=True))
        found.append(f"{name}, {len(each)} networks: untuned {untuned:.2f}, tuned {tuned:.2f}, no Winograd {direct:.2f}")
    return found


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arm64_cost", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=COMPARED, metavar="NAME")
    parser.add_argument("--runtimes", nargs="+", choices=PEERS, default=PEERS, metavar="NAME")
    parser.add_argument("--caches", action="store_true", help="simulate the data caches too, which takes longer")
    return parser.parse_args(arguments)


def _progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
