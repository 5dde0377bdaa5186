"""Print modelled Neoverse N1 cycles of edgevision and of onnxruntime for AArch64, one thread, as a table.

    python -m benchmarks.arm64_cost [--caches] [NAME ...]

Modelled, not measured: docs/cost.md says what the figures mean. The first run unpacks an AArch64 Python (root.py).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arm64_cost import root
from edgevision import zoo
from edgevision.artifact import Step
from edgevision.costing import cost
from edgevision.link.toolchain import link_cost_plugin
from edgevision.measure.modelled.pricing import price_steps
from edgevision.measure.modelled.trace import trace
from edgevision.modelled import ModelledCost
from edgevision.pipeline import Options

NETWORKS = ("mobilenetv2-1.0", "ghostnet-1.0", "mobilenetv3-large", "repvgg-a0")
CPU = "neoverse-n1"
CACHE = Path(__file__).parents[2] / ".cache" / "arm64-root"
TIMEOUT_S = 1800.0


def onnxruntime_cost(model: Path, *, caches: bool) -> ModelledCost:
    """One inference by onnxruntime, with what Python does around it (some thousand instructions)."""
    options, python = root.python(root.ensure(CACHE))
    command = [*python, str(Path(__file__).parent / "inside.py"), str(model)]
    phases = trace(command, link_cost_plugin(), cpu=CPU, caches=caches, timeout_s=TIMEOUT_S, options=options).phases
    marked = [phase for phase in phases if phase.symbol == "mark"]
    whole = Step(name="onnxruntime", ops=(), macs=0, schedule="onnxruntime")
    return ModelledCost(
        name=model.stem, target="onnxruntime", cpu=CPU, steps=price_steps(marked[:1], [whole], CPU, caches=caches)
    )


def ratio(ours: ModelledCost, theirs: ModelledCost) -> float:
    """By llvm-mca or by port bound, whichever is kinder to onnxruntime."""
    return max(ours.cycles / theirs.cycles, ours.port_bound / theirs.port_bound)


def row(name: str, direct: ModelledCost, ours: ModelledCost, theirs: ModelledCost) -> str:
    cells = [name]
    for each in (theirs, ours):
        cells += [f"{each.cycles / 1e6:.1f}", f"{each.port_bound / 1e6:.1f}", _misses(each)]
    lanes = direct.fma_lanes / direct.macs
    return " | ".join(["", *cells, f"{ratio(ours, theirs):.2f}", f"{ratio(direct, theirs):.2f}", f"{lanes:.3f}", ""]).strip()


def _misses(cost_: ModelledCost) -> str:
    return "-" if cost_.l1_misses is None else f"{cost_.l1_misses / 1e6:.2f} / {(cost_.l2_misses or 0) / 1e6:.2f}"


def main(arguments: Sequence[str]) -> None:
    caches = "--caches" in arguments
    print("| network | onnxruntime M cycles | M port bound | M misses L1 / L2 | edgevision M cycles | M port bound "
          "| M misses L1 / L2 | ratio | without Winograd | FMA lanes / MACs |")  # fmt: skip
    print("|---|" + "---|" * 9)
    for name in [a for a in arguments if not a.startswith("--")] or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / f"{name}.onnx"
            zoo.export(name, model, form="deploy")
            theirs = onnxruntime_cost(model, caches=caches)
            (direct,) = cost(model, cpus=[CPU], options=Options(winograd=False), caches=caches)
            (ours,) = cost(model, cpus=[CPU], caches=caches)
        print(row(name, direct, ours, theirs), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
