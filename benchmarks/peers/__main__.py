"""python -m benchmarks.peers: install the peers, convert the networks, run everybody in turn, print the tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.case import Case, Entrant, Runtime
from benchmarks.peers.child import CHECKOUT, WorkerError
from benchmarks.peers.cold import footprint
from benchmarks.peers.contest import compete
from benchmarks.peers.environment import Environment
from benchmarks.peers.findings import Findings, row
from benchmarks.peers.networks import NETWORKS, Network, case_of
from benchmarks.peers.preparing import prepare
from benchmarks.peers.roofline import measure
from benchmarks.peers.runtimes import RUNTIMES
from benchmarks.peers.table import show

ROUNDS = 30
FOOTPRINT_NETWORK = "mobilenetv2-1.0"


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = _parse(arguments)
    runtimes = [RUNTIMES[name] for name in chosen.runtimes]
    environment = Environment(chosen.cache / "peers-venv")
    environment.install((r for r in runtimes if not r.ours), _progress)
    findings = Findings(machine=_machine(), nice=chosen.nice)
    lineups = {
        (name, threads): _line_up(NETWORKS[name], runtimes, environment, chosen.cache / "peers", threads)
        for threads in chosen.threads
        for name in chosen.networks
    }
    before = os.getloadavg()[0]
    _race(chosen, lineups, environment, findings)
    _start_cold(chosen, lineups, findings)
    findings.load = (before, os.getloadavg()[0])
    show(findings, chosen.runtimes)
    if chosen.json:
        chosen.json.write_text(json.dumps(findings.json(), indent=1), encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineUp:
    """Who can run a network on some threads: each with the seconds its conversion took, and why the others cannot."""

    network: Network
    case: Case
    entrants: list[tuple[Entrant, float]]
    refused: dict[str, str]


def _line_up(network: Network, runtimes: Sequence[Runtime], environment: Environment, folder: Path, threads: int) -> LineUp:
    case = case_of(network, folder / "cases")
    entrants: list[tuple[Entrant, float]] = []
    refused: dict[str, str] = {}
    for runtime in runtimes:
        cores = _cores()[-threads:] if runtime.per_threads else _cores()
        _progress(f"{network.name} for {runtime.name}")
        if runtime.name in environment.refusals:
            refused[runtime.name] = environment.refusals[runtime.name]
            continue
        try:
            entrants.append(prepare(runtime, environment.interpreter(runtime), case, folder / "converted", cores))
        except WorkerError as error:
            refused[runtime.name] = error.reason
    return LineUp(network=network, case=case, entrants=entrants, refused=refused)


def _race(chosen: argparse.Namespace, lineups: dict[tuple[str, int], LineUp], environment: Environment, findings: Findings) -> None:
    """Every network with every number of threads; what one leaves of its share of the time is for the next ones."""
    deadline = time.monotonic() + 60 * chosen.minutes
    for threads in chosen.threads:
        findings.rooflines[threads] = measure(_cores()[-threads:], environment.python, chosen.nice)
    for number, ((_, threads), each) in enumerate(lineups.items()):
        _progress(f"{each.network.name}, {threads} thread(s)")
        now = time.monotonic()
        until = now + max(deadline - now, 0) / (len(lineups) - number)
        entrants = [entrant for entrant, _ in each.entrants]
        result = compete(each.case, entrants, threads, _cores()[-threads:], chosen.rounds, until, chosen.nice)
        findings.rows.append(row(each.network.name, each.network.macs, threads, result, each.refused))


def _start_cold(chosen: argparse.Namespace, lineups: dict[tuple[str, int], LineUp], findings: Findings) -> None:
    name = FOOTPRINT_NETWORK if FOOTPRINT_NETWORK in chosen.networks else chosen.networks[0]
    findings.footprint_network, findings.footprint_threads = name, chosen.threads[0]
    each = lineups[name, chosen.threads[0]]
    for entrant, convert_s in each.entrants:
        _progress(f"cold start of {entrant.runtime.name}")
        try:
            figures = footprint(entrant, each.case, convert_s, _cores()[-chosen.threads[0] :], chosen.nice)
        except WorkerError as error:
            findings.footprint_refusals[entrant.runtime.name] = error.reason
        else:
            findings.footprints[entrant.runtime.name] = figures


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--networks", type=_names_of(NETWORKS), default=list(NETWORKS), metavar="A,B")
    parser.add_argument("--runtimes", type=_names_of(RUNTIMES), default=list(RUNTIMES), metavar="A,B")
    parser.add_argument("--threads", type=_counts, default=_counts("1,2"), metavar="1,2")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"bursts of each runtime, {ROUNDS}")
    parser.add_argument("--minutes", type=float, default=60, help="end the rounds by then; conversion is not counted")
    parser.add_argument("--nice", type=int, default=0, help="priority of what is timed: -20 (root) holds others off")
    parser.add_argument("--json", type=Path, help="write every figure here too")
    parser.add_argument("--cache", type=Path, default=CHECKOUT / ".cache", help="where environment and networks are")
    return parser.parse_args(arguments)


def _names_of(there: Mapping[str, object]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        given = text.split(",")
        unknown = [name for name in given if name not in there]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(there)}")
        return given

    return names


def _counts(text: str) -> list[int]:
    """Numbers of threads, as many as there are cores at most."""
    cores = len(_cores())
    counts = [int(part) for part in text.split(",")]
    if not all(count >= 1 for count in counts):
        raise argparse.ArgumentTypeError(f"{text}: give numbers of threads from 1 on")
    return sorted({min(count, cores) for count in counts})


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {len(_cores())} cores"


def _progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
