"""What one inference costs: a peer's AArch64 wheel and edgevision's code, counted by the same plugin, one thread each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.arm64_cost import root
from benchmarks.peers.case import Case, Entrant
from benchmarks.peers.child import CHECKOUT
from edgevision.artifact import Step
from edgevision.costing import cost
from edgevision.link.toolchain import link_cost_plugin
from edgevision.measure.modelled.pricing import price_steps
from edgevision.measure.modelled.trace import trace
from edgevision.modelled import ModelledCost
from edgevision.pipeline import Options

CPU = "neoverse-n1"
TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """edgevision with its default schedules, with those of the tuning logs that it ships, and with defaults but no Winograd."""

    untuned: ModelledCost
    tuned: ModelledCost
    direct: ModelledCost

    @property
    def named(self) -> dict[str, ModelledCost]:
        return {"edgevision": self.untuned, "edgevision, tuned": self.tuned, "edgevision, no Winograd": self.direct}

    @property
    def macs(self) -> int:
        return self.untuned.macs


def ours(case: Case, *, caches: bool) -> Ours:
    def counted(options: Options) -> ModelledCost:
        (found,) = cost(case.onnx, cpus=[CPU], options=options, caches=caches)
        return found

    untuned = counted(Options(shipped_logs=False))
    transforms = any("winograd" in step.step.schedule for step in untuned.steps)
    return Ours(
        untuned=untuned, tuned=counted(Options()),
        direct=counted(Options(shipped_logs=False, winograd=False)) if transforms else untuned,
    )  # fmt: skip


def peer(entrant: Entrant, case: Case, cache: Path, *, caches: bool) -> ModelledCost:
    """One inference after two others, with what Python does around it (some thousand instructions).

    Raises:
        DeviceError: it does not run under qemu, or its outputs are wrong.
    """
    name = entrant.runtime.name
    options, python = root.python(root.ensure(cache), CHECKOUT)
    command = [*python, str(Path(__file__).parent / "inside.py"), name, str(case.folder), str(entrant.folder)]
    phases = trace(command, link_cost_plugin(), cpu=CPU, caches=caches, timeout_s=TIMEOUT_S, options=options).phases
    marked = [phase for phase in phases if phase.symbol == "mark"]
    whole = Step(name=name, ops=(), macs=0, schedule=name)
    return ModelledCost(name=case.name, target=name, cpu=CPU, steps=price_steps(marked[:1], [whole], CPU, caches=caches))


def ratio(mine: ModelledCost, theirs: ModelledCost) -> float:
    """By llvm-mca or by port bound, whichever is kinder to the peer."""
    return max(mine.cycles / theirs.cycles, mine.port_bound / theirs.port_bound)
