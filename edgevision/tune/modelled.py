"""Candidates for a 64-bit ARM core where there is none: their instructions are counted under qemu and priced by a model.

    cycles = what llvm-mca says of the executed code
           + `L1_MISS_CYCLES` a line that is not in a simulated L1 + `L2_MISS_CYCLES` a line that is not in the L2 either

The same candidate costs the same every time, on whatever machine, so one run of it is enough.
"""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path

from edgevision.errors import DeviceError
from edgevision.measure.device import ProgramCrashedError
from edgevision.measure.modelled.mca import prices
from edgevision.measure.modelled.paths import joined
from edgevision.measure.modelled.pricing import MARKED
from edgevision.measure.modelled.trace import Phase, trace
from edgevision.target import Target
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import Results, Samples, arrays, cooling, load_lines, options
from edgevision.tune.request import Built

CPU = "neoverse-n1"
"""A Cortex-A76's core, of which llvm-mca has the better model: measure/modelled/mca.py."""
L1_MISS_CYCLES = 2.0
"""A line of 64 bytes over the 32 bytes a cycle between L2 and L1. Arm Cortex-A76 TRM, 1.3. That the wait is hidden by the
core's prefetcher is an assumption."""
L2_MISS_CYCLES = 16.0
"""A line at 4 bytes a cycle, 10 GB/s at 2.4 GHz: an assumption about one core's share of LPDDR4."""
NO_LAST_LEVEL = 0
"""Bytes of weights that go by between two runs: the simulated L2 is the last cache, and what is written fills it."""
PATIENCE_S, SLOWDOWN = 60.0, 30.0
"""A kernel takes some 300 times as long under qemu with the plugin that sees each access, and qemu a moment to start. A
limit already allows for a hundred times what the default takes; ten times is enough here."""
OUT_OF_TIME = "SIGALRM"
"""What ends native/trial.c when a kernel has used up its time."""


class ModelledProcess:
    """A `tune.device.Device`: native/trial.c under qemu. Its `Samples` are cycles, as nanoseconds of a core of 1 GHz.

    Raises (all methods): ToolchainError where qemu or LLVM's tools are missing.
    """

    def __init__(self, program: Path, plugin: Path, target: Target, folder: Path) -> None:
        self._command = [str(program), *options(1, cooling(NO_LAST_LEVEL, target.l2_bytes))]
        self._plugin, self._target = plugin, target
        self._outputs = folder / "outputs.bin"
        self._cycles: dict[str, int] = {}
        self._incumbent = self._candidate = ""

    def hold(self, incumbent: Built, limit_s: float) -> None:
        if incumbent.library not in self._cycles:
            self._run(incumbent, limit_s)
        self._incumbent = incumbent.library

    def results(self, candidate: Built, limit_s: float) -> Results:
        guarded = self._run(candidate, limit_s)
        self._candidate = candidate.library
        return Results(arrays=arrays(self._outputs, candidate.arguments), guarded=guarded)

    def compare(self, blocks: int, limit_s: float) -> Samples:
        del limit_s  # both have run
        a, b = self._cycles[self._incumbent], self._cycles[self._candidate]
        return Samples(a=(a,) * 2 * blocks, b=(b,) * 2 * blocks)

    def promote(self, candidate: Built) -> None:
        self._incumbent = candidate.library

    def close(self) -> None:
        """Nothing stays alive between two candidates."""

    def _run(self, built: Built, limit_s: float) -> bool:
        """Run it twice, the second time on caches as a network leaves them, and price that. Whether it kept to its own
        memory."""
        seconds = ceil(PATIENCE_S + SLOWDOWN * limit_s)
        commands = (*load_lines(1, built, seconds), f"outputs\t1\t{seconds}\t{self._outputs}", f"sample\t1\t{seconds}", "")
        try:
            found = trace(
                self._command, self._plugin, cpu=self._target.emulator_cpu, caches=True, timeout_s=3 * seconds,
                options=("-L", self._target.sysroot), text="\n".join(commands),
            )  # fmt: skip
        except ProgramCrashedError as error:
            raise ChildHungError if error.signal == OUT_OF_TIME else ChildCrashedError(str(error)) from error
        except DeviceError as error:
            raise ChildCrashedError(str(error)) from error
        _, outputs, _ = found.printed.splitlines()
        marked = [phase for phase in found.phases if phase.symbol == MARKED]
        self._cycles[built.library] = cycles(marked[-2])
        return bool(json.loads(outputs)["guarded"])


def cycles(phase: Phase) -> int:
    """By the model above."""
    path = joined(phase.runs)
    price = prices(list(path), CPU)
    computing = sum(price[code].cycles * runs for code, runs in path.items())
    return round(computing + L1_MISS_CYCLES * phase.l1_misses + L2_MISS_CYCLES * phase.l2_misses)
