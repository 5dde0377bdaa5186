"""Phases of a traced inference -> what each fused operator costs on a core."""

from __future__ import annotations

from collections.abc import Sequence

from edgevision.artifact import Step
from edgevision.errors import DeviceError
from edgevision.measure.modelled.mca import prices
from edgevision.measure.modelled.paths import joined
from edgevision.measure.modelled.trace import Phase
from edgevision.modelled import StepCost

ENTRY = "__tvm_ffi_"
"""What the symbols of TVM's entry points begin with; the driver calls one for each step."""

MARKED = "mark"
"""The phase behind a mark (native/mark.h), which the bench program sets after each run."""

RUNS = 3
"""Inferences in a trace: of the middle one, all is in its own phases."""

WHOLE = 0.25
"""Share of the MACs that must be found in what a step multiplied. Taps on a border are left out: 18 % of a 3x3 kernel's
over 7x7, 70 % of a 13x13's. Code that was lost on the way would leave out nearly all."""


def steady(phases: Sequence[Phase], functions: Sequence[str]) -> Sequence[Phase]:
    """The phases of the inference in the middle of `RUNS`, which calls ``functions`` in this order: the last one holds what the
    runtime does afterwards, up to the mark that ends a run.

    Raises:
        DeviceError: the trace is not one of `RUNS` such inferences.
    """
    symbols = [*(ENTRY + name for name in functions), MARKED]
    if [phase.symbol for phase in phases[1:]] != RUNS * symbols:
        raise DeviceError(f"the trace has {len(phases)} phases, not {RUNS} runs of {len(functions)} operators")
    return phases[1 + len(symbols) : 2 * len(symbols)]


def price_steps(phases: Sequence[Phase], steps: Sequence[Step], cpu: str, *, caches: bool) -> tuple[StepCost, ...]:
    """Raises:
    ToolchainError, CompilerError: llvm-mca is missing or failed.
    DeviceError: a step multiplied less than its MACs say, so code was lost on the way.
    """
    paths = [joined(phase.runs) for phase in phases]
    price = prices(list({code: None for path in paths for code in path}), cpu)
    costs = []
    for phase, path, step in zip(phases, paths, steps, strict=True):
        parts = [(price[code], runs) for code, runs in path.items()]
        cost = StepCost(
            step=step,
            instructions=phase.instructions,
            cycles=sum(p.cycles * runs for p, runs in parts),
            port_bound=sum(p.port_bound * runs for p, runs in parts),
            fma_lanes=sum(p.fma_lanes * runs for p, runs in parts),
            mul_lanes=sum(p.mul_lanes * runs for p, runs in parts),
            accesses=phase.accesses if caches else None,
            l1_misses=phase.l1_misses if caches else None,
            l2_misses=phase.l2_misses if caches else None,
        )
        _check_whole(cost)
        costs.append(cost)
    return tuple(costs)


def _check_whole(cost: StepCost) -> None:
    step = cost.step
    if "winograd" not in step.schedule and cost.fma_lanes + cost.mul_lanes < WHOLE * step.macs:
        raise DeviceError(
            f"{step.name} has {step.macs:,} MACs, but only {cost.fma_lanes + cost.mul_lanes:,} multiplications were counted"
        )
