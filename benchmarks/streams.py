"""What independent branches could gain on two threads: whole operators side by side instead of every operator split.

    python -m benchmarks.streams zoo:parnet-s zoo:ghostnet-1.0 timm:hrnet_w18_small timm:inception_v3

Each network is compiled for two threads and profiled on one and on two: medians. From what its calls read and write follows which
of them are independent. Between the operators that all others come before or after, a list schedule (longest way to the end
first) puts whole operators on single cores, and splits one where no other is ready; a stretch for which that is not faster stays
as it is. That is more than a runtime could reach: the operators' times are those alone, and handing one over costs nothing.
Profiles are measured, the schedule is modelled. `--nice -20` (as root) keeps others off the cores meanwhile.
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision import target
from edgevision.link import package
from edgevision.lower.phases import lower
from edgevision.pipeline import Options, read, scheduled_for
from edgevision.program import Place, Program

IMAGE = (1, 3, 224, 224)
RUNS = 60
PROFILE = """
import json, os, sys
import numpy as np
from edgevision import runtime
from edgevision.measure.cores import settle
cores = sorted(os.sched_getaffinity(0))[-2:]
settle(int(sys.argv[2]), cores)
medians = []
for threads in (1, 2):
    with runtime.load(sys.argv[1], threads=threads, cores=cores[-threads:]) as network:
        random = np.random.default_rng(0)
        inputs = [random.normal(size=each.shape).astype(each.dtype) for each in network.inputs]
        medians.append([float(np.median(times)) / 1e3 for _, times in network.profile(*inputs, runs=int(sys.argv[3]))])
print(json.dumps(medians))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """``needs``: the numbers of those that it reads from. Microseconds alone on one thread, and split over two."""

    needs: frozenset[int]
    one_us: float
    two_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Microseconds on two threads: ``split``, each operator over both; ``streams``, stretches side by side where that is faster;
    ``bound``, as if those came out even: every operator that has an independent one in half of its time on one thread."""

    branched: int
    split: float
    streams: float
    bound: float


def needs(program: Program) -> list[frozenset[int]]:
    """For each call the earlier ones that wrote what it reads, or a part of it. A scratch that no other call sees is its own."""
    users = Counter(place for call in program.calls for place in {value.place for value in call.args})
    writers: dict[Place, set[int]] = {}
    found = []
    for number, call in enumerate(program.calls):
        shared = [value.place for value in call.args if value.kind != "scratch" or users[value.place] > 1]
        reads, writes = shared[: -call.outputs], shared[-call.outputs :]
        found.append(frozenset(writer for place in reads for writer in writers.get(place, ())))
        for place in writes:
            writers.setdefault(place, set()).add(number)
    return found


def related(operators: Sequence[Operator]) -> list[int]:
    """For each operator, as bits, those that come before it or after it by necessity, and itself."""
    before = [0] * len(operators)
    for number, operator in enumerate(operators):
        for need in operator.needs:
            before[number] |= before[need] | 1 << need
    return [
        before[number] | 1 << number | sum(1 << later for later in range(number, len(operators)) if before[later] >> number & 1)
        for number in range(len(operators))
    ]


def streamed_us(operators: Sequence[Operator], stretch: range) -> float:
    """The list schedule of ``stretch``, whose other needs are there."""
    to_end = dict.fromkeys(stretch, 0.0)
    for number in reversed(stretch):
        to_end[number] += operators[number].one_us
        for need in operators[number].needs & to_end.keys():
            to_end[need] = max(to_end[need], to_end[number])
    waiting, running, now = set(stretch), list[tuple[float, int]](), 0.0
    while waiting or running:
        busy = waiting | {number for _, number in running}
        ready = sorted((n for n in waiting if not operators[n].needs & busy), key=lambda n: (-to_end[n], n))
        if ready and not running and len(ready) == 1:
            waiting.remove(ready[0])
            now += operators[ready[0]].two_us
        elif ready and len(running) < 2:
            waiting.remove(ready[0])
            heapq.heappush(running, (now + operators[ready[0]].one_us, ready[0]))
        else:
            now, _ = heapq.heappop(running)
    return now


def estimate(operators: Sequence[Operator]) -> Estimate:
    everybody = (1 << len(operators)) - 1
    alone = [bits == everybody for bits in related(operators)]
    split = streams = bound = 0.0
    start = 0
    for end in range(1, len(operators) + 1):
        if end < len(operators) and not alone[end] and not alone[end - 1]:
            continue
        stretch = range(start, end)
        now = sum(operators[number].two_us for number in stretch)
        split += now
        streams += min(now, streamed_us(operators, stretch))
        bound += now if alone[start] else sum(min(operators[n].two_us, operators[n].one_us / 2) for n in stretch)
        start = end
    return Estimate(branched=alone.count(False), split=split, streams=streams, bound=bound)


def measured(source: Any, options: Options, nice: int) -> list[Operator]:
    """The operators of ``source``, each with the median of `RUNS` profiles."""
    native, model = target.load("native"), read(source, options)
    program = scheduled_for(lower(model), native, model, options, lambda line: None)
    with tempfile.TemporaryDirectory() as folder:
        path = package.link(program, native, Path(folder), Path(folder), name="network", bench=False).path
        command = [sys.executable, "-c", PROFILE, str(path), str(nice), str(RUNS)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, start_new_session=True)
    one, two = json.loads(done.stdout)
    return [Operator(needs=n, one_us=a, two_us=b) for n, a, b in zip(needs(program), one, two, strict=True)]


def network(name: str) -> tuple[Any, Options]:
    """``name`` as `edgevision compile` takes it, or "timm:NAME"."""
    if not name.startswith("timm:"):
        return name, Options(threads=2)
    from tests.graphs.from_timm import timm_network

    return timm_network(name.removeprefix("timm:")), Options(threads=2, input_shapes={"": IMAGE})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--nice", type=int, default=0, help="priority of what is profiled, -20 to 19")
    given = parser.parse_args()
    print("| network | operators | with an independent one | one thread, ms | split, ms | streams, ms | gain | at most |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.networks:
        operators = measured(*network(name), given.nice)
        e, one = estimate(operators), sum(each.one_us for each in operators)
        print(
            f"| {name} | {len(operators)} | {e.branched} | {one / 1e3:.2f} | {e.split / 1e3:.2f} | {e.streams / 1e3:.2f} | "
            f"{1 - e.streams / e.split:.1%} | {1 - e.bound / e.split:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
