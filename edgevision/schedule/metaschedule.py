"""TVM's own space of schedules, MetaSchedule's: its rules leave open how loops are tiled, unrolled, fused and given to threads, and
a sample decides that at random. A sample's seed and those of up to two changes of one decision each name a schedule; with the same
TVM they always name the same one.

Weights stay as the workload has them, and the workload works on whole tensors: no views.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from random import Random
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import meta_schedule
from tvm.s_tir.meta_schedule import _ffi_api

from edgevision.schedule.scheduled import Scheduled
from edgevision.target import Target
from edgevision.tuning_log import Choice

NAME = "metaschedule"
PARAMETERS = ("sample", "first", "second")
"""A sample's seed, and those of the changes; 0 is no change."""
SAMPLES, CHANGES = 32, 8
RULES = "llvm"
"""MetaSchedule's name for rules without instructions of a special kind."""

TILES = "SamplePerfectTile"
"""Its name for the decision how to split a loop."""


def space(func: tirx.PrimFunc, target: Target) -> tuple[Choice, ...]:
    """All samples and their changes; samples alone where no loop is tiled, nothing where nothing is left open."""
    traces = [design.trace for design in _Context(func, target, seed=1).generate_design_space()]
    kinds = {instruction.kind.name for trace in traces for instruction in trace.insts}
    drawn = len(traces) > 1 or any(kind.startswith("Sample") for kind in kinds)
    return _points(SAMPLES if drawn else 0, CHANGES if TILES in kinds else 1)


@lru_cache(maxsize=4)
def _points(samples: int, changes: int) -> tuple[Choice, ...]:
    changed = [(0, 0), *product(range(1, changes), range(changes))]
    return tuple(_point(sample, *each) for sample in range(samples) for each in changed)


def _point(*values: int) -> Choice:
    return Choice.of(NAME, dict(zip(PARAMETERS, values, strict=True)))


def neighbours(choice: Choice) -> set[Choice]:
    """The same sample with one decision more changed, or with another one."""
    sample, first, second = (choice.mapping[name] for name in PARAMETERS)
    others = {(other, 0) for other in range(1, CHANGES)} if second == 0 else set()
    more = {(first, other) for other in range(CHANGES)} if first else set()
    return {_point(sample, *changes) for changes in (others | more) - {(first, second)}}


def schedule(func: tirx.PrimFunc, target: Target, choice: Choice) -> Scheduled | None:
    """``func`` as one of `space` says; None where MetaSchedule's checks refuse that, or it has nothing left to change."""
    sample, *changes = (choice.mapping[name] for name in PARAMETERS)
    context = _Context(func, target, sample + 1)
    designs = context.generate_design_space()
    trace = s_tir.schedule.Trace(designs[sample % len(designs)].trace.insts, {})
    scheduled = _applied(context, trace, sample + 1)
    for change in filter(None, changes):
        changed = _changed(context, scheduled.trace, change)
        if changed is None:
            return None
        scheduled = _applied(context, changed, sample + 1)
    if not all(step.apply(scheduled) for step in context.space_generator.postprocs):
        return None
    return Scheduled(func=_compact(scheduled.mod)["main"], schedule=f"tuned:{choice}", choice=choice)


class _Context(meta_schedule.TuneContext):  # type: ignore[misc]
    """Made without TuneContext's own constructor, which imports every tensor instruction that TVM knows: 20 s on a busy machine."""

    def __init__(self, func: tirx.PrimFunc, target: Target, seed: int) -> None:
        generator = meta_schedule.space_generator.PostOrderApply(sch_rules=RULES, postprocs=RULES, mutator_probs=RULES)
        module = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
        self.__init_handle_by_constructor__(
            _ffi_api.TuneContext, module, tvm.target.Target(target.llvm), generator, None, "main", 1, seed, None
        )
        _ffi_api.TuneContextInitialize(self)


def _applied(context: _Context, trace: Any, seed: int) -> s_tir.Schedule:
    """What ``trace`` makes of the workload; decisions that it does not hold are drawn."""
    scheduled = s_tir.Schedule(context.mod, seed=seed)
    trace.apply_to_schedule(scheduled, remove_postproc=True)
    return scheduled


_compact = tvm.transform.Sequential(
    [
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
    ]
)
"""What is computed inside another stage's loops is as large as what these need of it: that is the workspace it takes."""


def _changed(context: _Context, trace: Any, seed: int) -> Any:
    """``trace`` with another decision in one place; None where the kind of change that is drawn finds none."""
    mutators = sorted(context.space_generator.mutator_probs.items(), key=lambda each: type(each[0]).__name__)
    (mutator,) = Random(seed).choices([each for each, _ in mutators], [float(weight) for _, weight in mutators])
    return _ffi_api.MutatorApply(mutator, trace, seed)
