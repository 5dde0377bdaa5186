"""A network on the OpenCL device of this machine beside its CPU artifact, in turn, on the same cores; and operator by operator.

    python -m benchmarks.opencl mobilenetv2-1.0 ghostnet-1.0

On PoCL, whose device is the CPU, the ratio is the cost of launches and of vectors as its compiler makes them; it says nothing
about a phone.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgevision.artifact import Artifact
from edgevision.measure.interleaved import Duel, duel
from edgevision.measure.reference import Reference, inputs_for
from edgevision.pipeline import Options, compile_model
from edgevision.side_by_side import KINDS, kind_of


def main(names: Sequence[str]) -> None:
    console = Console()
    for name in names:
        with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
            options = Options(output=Path(folder), measure=False)
            result = compile_model(f"zoo:{name}", ("native", "opencl"), options)
            cpu, device = (outcome.artifact for outcome in result.outcomes)
            inputs = inputs_for(result.model.inputs, Reference.of(result.model).seed, 1)[0]
            found = duel(cpu, device, inputs)
        needed = sum(kind_of(step.ops) != "other" for step in cpu.steps)
        console.print(
            f"{name}: CPU {found.first_ms:.2f} ms, OpenCL {found.second_ms:.2f} ms, ratio {found.ratio:.2f}; "
            f"{len(device.steps)} launches, {needed} convolutions, products, pools and reductions; "
            f"largest error {max(o.verification.max_error for o in result.outcomes):.1e}; "
            f"{found.quiet} of {found.rounds} rounds quiet"
        )
        console.print(_groups(cpu, device, found))


def _groups(cpu: Artifact, device: Artifact, found: Duel) -> Table:
    table = Table("operators", "CPU: number", "ms", "OpenCL: number", "ms", "OpenCL / CPU")
    columns = [_sums(artifact, steps) for artifact, steps in zip((cpu, device), found.steps_ms, strict=True)]
    for group in (*KINDS, "other"):
        (n, ms), (m, other) = (column.get(group, (0, 0.0)) for column in columns)
        if n or m:
            table.add_row(group, str(n), f"{ms:.3f}", str(m), f"{other:.3f}", f"{other / ms:.2f}" if ms else "-")
    return table


def _sums(artifact: Artifact, steps: Sequence[tuple[str, float]]) -> dict[str, tuple[int, float]]:
    sums: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for step, (_, ms) in zip(artifact.steps, steps, strict=True):
        count, total = sums[kind_of(step.ops)]
        sums[kind_of(step.ops)] = (count + 1, total + ms)
    return sums


if __name__ == "__main__":
    main(sys.argv[1:] or ("mobilenetv2-1.0", "ghostnet-1.0"))
