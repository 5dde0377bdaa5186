"""python -m benchmarks.peers: install the peers, convert the networks, run everybody in turn, print the tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.case import Case, Runtime
from benchmarks.peers.child import CHECKOUT, WorkerError
from benchmarks.peers.cold import footprint
from benchmarks.peers.contest import compete
from benchmarks.peers.environment import Environment
from benchmarks.peers.findings import Findings, row
from benchmarks.peers.networks import NETWORKS, case_of
from benchmarks.peers.preparing import Prepared, prepare
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
    findings = Findings(machine=_machine())
    cases = {name: case_of(NETWORKS[name], chosen.cache / "peers" / "cases") for name in chosen.networks}
    prepared: dict[str, dict[str, Prepared]] = {}
    refused: dict[str, dict[str, str]] = {}
    for name, case in cases.items():
        prepared[name], refused[name] = _prepare(runtimes, case, environment, chosen.cache / "peers" / "converted")
    before = os.getloadavg()[0]
    deadline = time.monotonic() + 60 * chosen.minutes
    _measure(chosen, environment, cases, prepared, refused, findings, deadline)
    findings.load = (before, os.getloadavg()[0])
    show(findings, chosen.runtimes)
    if chosen.json:
        chosen.json.write_text(json.dumps(findings.json(), indent=1), encoding="utf-8")


def _measure(
    chosen: argparse.Namespace, environment: Environment, cases: dict[str, Case],
    prepared: dict[str, dict[str, Prepared]], refused: dict[str, dict[str, str]], findings: Findings, deadline: float,
) -> None:  # fmt: skip
    cores = sorted(os.sched_getaffinity(0))
    for threads in chosen.threads:
        findings.rooflines[threads] = measure(cores[-threads:], environment.python)
    contests = [(threads, name) for threads in chosen.threads for name in cases]
    for number, (threads, name) in enumerate(contests):
        _progress(f"{name}, {threads} thread(s)")
        folders = {n: (environment.interpreter(RUNTIMES[n]), p.folder) for n, p in prepared[name].items()}
        now = time.monotonic()
        share = now + max(deadline - now, 0) / (len(contests) - number)
        result = compete(cases[name], folders, threads, cores[-threads:], chosen.rounds, share)
        findings.rows.append(row(name, NETWORKS[name].macs, threads, result, refused[name]))
    findings.footprint_network = FOOTPRINT_NETWORK if FOOTPRINT_NETWORK in cases else next(iter(cases))
    for name, its in prepared[findings.footprint_network].items():
        _progress(f"cold start of {name}")
        python = environment.interpreter(RUNTIMES[name])
        try:
            case = cases[findings.footprint_network]
            findings.footprints[name] = footprint(name, case, python, its, cores[-1:])
        except WorkerError as error:
            _progress(f"no footprint: {error}")


def _prepare(
    runtimes: Sequence[Runtime], case: Case, environment: Environment, root: Path
) -> tuple[dict[str, Prepared], dict[str, str]]:
    """What each runtime loads, and why those that have nothing to load do not."""
    there: dict[str, Prepared] = {}
    refused = {r.name: environment.refusals[r.name] for r in runtimes if r.name in environment.refusals}
    for runtime in runtimes:
        if runtime.name in refused:
            continue
        _progress(f"{case.name} for {runtime.name}")
        try:
            there[runtime.name] = prepare(runtime, case, environment, root, sorted(os.sched_getaffinity(0)))
        except WorkerError as error:
            refused[runtime.name] = error.reason
    return there, refused


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--networks", type=_names_of(NETWORKS), default=list(NETWORKS), metavar="A,B")
    parser.add_argument("--runtimes", type=_names_of(RUNTIMES), default=list(RUNTIMES), metavar="A,B")
    parser.add_argument("--threads", type=_counts, default=_counts("1,2"), metavar="1,2")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"bursts of each runtime, {ROUNDS}")
    parser.add_argument("--minutes", type=float, default=60, help="end the rounds by then; conversion is not counted")
    parser.add_argument("--json", type=Path, help="write every figure here too")
    parser.add_argument("--cache", type=Path, default=CHECKOUT / ".cache", help="where environment and networks are")
    return parser.parse_args(arguments)


def _names_of(there: dict[str, object]):
    def names(text: str) -> list[str]:
        given = text.split(",")
        unknown = [name for name in given if name not in there]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(there)}")
        return given

    return names


def _counts(text: str) -> list[int]:
    """Numbers of threads, as many as there are cores at most."""
    cores = len(os.sched_getaffinity(0))
    counts = [int(part) for part in text.split(",")]
    if not all(1 <= count for count in counts):
        raise argparse.ArgumentTypeError(f"{text}: give numbers of threads from 1 on")
    return sorted({min(count, cores) for count in counts})


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def _progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
