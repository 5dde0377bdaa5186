"""The CPU and the GPU version of one artifact, timed in turn: in one process here, in processes in turn on another device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import median

from edgevision.artifact import Artifact, Step
from edgevision.errors import InputError
from edgevision.measure.attended import say_nothing
from edgevision.measure.bench_program import Start, start
from edgevision.measure.compare import Array
from edgevision.measure.interleaved import Turns, duel
from edgevision.measure.local import LocalDevice
from edgevision.measure.timed import PLAN, SLOW_MACS, Plan
from edgevision.measure.transport import Transport, Workspace, check_timed
from edgevision.side_by_side import SideBySide, Timed, paired

HERE = Turns(starts=5)
VERSIONS = ("always", "never")
"""The fallback of a session that runs the CPU's version, and of one that runs the GPU's."""


def compared_here(artifact: Artifact, inputs: Sequence[Array], device: LocalDevice, turns: Turns = HERE) -> SideBySide:
    """Raises: InputError, without a CPU version in it; DeviceError, when one of them fails."""
    _check(artifact)
    found = duel(artifact, artifact, inputs, turns, device, fallbacks=VERSIONS)
    cpu, gpu = ([(name, 1e3 * ms) for name, ms in steps] for steps in found.steps_ms)
    return SideBySide(
        device=device.info, threads=device.threads, cpu_ms=found.first_ms, gpu_ms=found.second_ms, ratio=found.ratio,
        rounds=found.rounds, quiet=found.quiet,
        pairs=paired(_timed(artifact.steps_on("cpu"), cpu), _timed(artifact.steps_on("gpu"), gpu)),
    )  # fmt: skip


def compared_on(
    transport: Transport, artifact: Artifact, plan: Plan = PLAN, progress: Callable[[str], None] = say_nothing
) -> SideBySide:
    """On the device that ``transport`` leads to, by its -bench program, for ``plan.limit_s``.

    Raises: as `timed.time_on`; InputError, without a CPU version in it.
    """
    _check(artifact)
    check_timed(transport)
    with transport.open() as workspace:
        progress(f"{transport.name}: sending {artifact.bench.name}")
        program = workspace.push(artifact.bench)
        progress(f"{transport.name}: CPU and GPU in turn")
        rounds = _rounds(workspace, artifact, program, plan)
        cpu, gpu = ([each[side] for each in rounds] for side in (0, 1))
        ratios = [median(b.samples_ms) / median(a.samples_ms) for a, b in rounds]
        return SideBySide(
            device=workspace.info, threads=cpu[0].threads, cpu_ms=median(median(each.samples_ms) for each in cpu),
            gpu_ms=median(median(each.samples_ms) for each in gpu), ratio=median(ratios), rounds=len(rounds), quiet=None,
            pairs=paired(_timed(artifact.steps_on("cpu"), _steps(cpu)), _timed(artifact.steps_on("gpu"), _steps(gpu))),
        )  # fmt: skip


def _check(artifact: Artifact) -> None:
    if artifact.fallback is None:
        raise InputError(
            f"{artifact.path} holds nothing that the GPU could be compared with; compile it for a GPU with --with-cpu-fallback"
        )


def _rounds(workspace: Workspace, artifact: Artifact, program: str, plan: Plan) -> list[tuple[Start, Start]]:
    """One process of each version in turn, who begins changing every round."""
    macs = sum(step.macs for step in artifact.steps)

    def begin(version: str, runs: int, warmup: int, timeout_s: float) -> Start:
        options = ["--runs", str(runs), "--warmup", str(warmup), "--threads", str(plan.threads), "--fallback", version, "--profile"]
        cores = ["--cores", ",".join(map(str, plan.cores))] if plan.cores else []
        return start(workspace, artifact, program, [*options, *cores], timeout_s)

    run_s = [median(begin(version, 3, 1, 60.0 + 5 * macs / SLOW_MACS).samples_ms) / 1000 for version in VERSIONS]

    def sampled(side: int) -> Start:
        runs = min(max(math.ceil(plan.process_s / run_s[side]), 5), 5000)
        warmup = min(math.ceil(plan.warmup_s / run_s[side]), 2000)
        return begin(VERSIONS[side], runs, warmup, plan.patience * ((runs + warmup + 20) * run_s[side] + 1.0))

    rounds: list[tuple[Start, Start]] = []
    until = time.monotonic() + plan.limit_s
    while not rounds or time.monotonic() < until:
        order = (0, 1) if len(rounds) % 2 else (1, 0)
        found = {side: sampled(side) for side in order}
        rounds.append((found[0], found[1]))
    return rounds


def _steps(starts: Sequence[Start]) -> list[tuple[str, float]]:
    """The median over processes, step by step."""
    columns = zip(*(each.steps_us for each in starts), strict=True)
    return [(column[0][0], median(us for _, us in column)) for column in columns]


def _timed(steps: Sequence[Step], us: Sequence[tuple[str, float]]) -> list[Timed]:
    return [Timed(step=step, us=each) for step, (_, each) in zip(steps, us, strict=True)]
