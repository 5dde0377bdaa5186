"""Two artifacts run in turn on one device, ABBA or BAAB by the toss of a coin, each time in a process of its own.

A batch of blocks is one shell script, so that a device far away is asked once for many processes. What a process prints is
described in native/bench.c. Where the pages of weights and activations happen to lie moves a network by several per cent for as
long as its process lives; so each process is short, and there are many.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from statistics import median, quantiles
from typing import Any

from edgevision.artifact import Artifact
from edgevision.bout import Block, Bout, Profile, Side, Start, throttled
from edgevision.measure.bench_program import check
from edgevision.measure.telemetry import look
from edgevision.measure.transport import LostDeviceError, Ran, Transport, Workspace, check_timed

SCRIPT = 'for side in $1; do if [ $side = A ]; then program=$2; else program=$3; fi; "$program" $4 || exit $?; done'
"""The sides in order, the baseline's program, the candidate's, their options. Nothing that a bare device's sh lacks."""

CLOCKS_AGREE_S = 0.25
"""A device's clock may see as much more time pass than ours does while it runs a batch: two readings over a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One process warms up with ``warmup`` runs and times at least ``runs``, for at least ``burst_s``. The first look comes after
    ``first`` blocks, each further one after ``growth`` times as many. ``patience``: a batch may take so much longer than the one
    before it; ``first_s`` for the first, before anything is known. ``seed`` decides the order within the blocks.
    """

    threads: int = 1
    cores: tuple[int, ...] = ()
    burst_s: float = 0.012
    runs: int = 5
    warmup: int = 1
    first: int = 13
    growth: float = 1.4
    limit_s: float = 110.0
    patience: float = 10.0
    first_s: float = 120.0
    seed: int = 0


PROFILE_TURNS = 3
"""ABBA as often; each process profiles nine runs."""

Enough = Callable[[Sequence[Block], float, str], bool]
"""Whether the blocks so far are enough, after so many seconds, on a device that was throttled ("": it was not, or does not say)."""


def alternate(
    transport: Transport, baseline: Artifact, candidate: Artifact, plan: Plan, enough: Enough,
    progress: Callable[[str], None] = lambda _: None,
) -> Bout:  # fmt: skip
    """Run the two until ``enough`` says so, or until another block would exceed ``plan.limit_s``.

    Raises:
        LostDeviceError: the device went away, hangs, or prints something else than a measurement.
        DeviceError: an artifact does not run there, or the device is emulated.
    """
    check_timed(transport)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with transport.open() as workspace:
        start = time.monotonic()
        corner = _Corner(workspace, (baseline, candidate), plan)
        progress(f"{transport.name}: profiling")
        profiles, looks = corner.profiles(), [look(workspace)]
        blocks: list[Block] = []
        toss, block_s = Random(plan.seed), 0.0
        while count := _next(len(blocks), plan, block_s, plan.limit_s - (time.monotonic() - start)):
            progress(f"{transport.name}: {len(blocks)} blocks, {count} more")
            timeout_s = 10.0 + plan.patience * count * block_s if blocks else plan.first_s
            batch, took_s = corner.run([toss.choice(("ABBA", "BAAB")) for _ in range(count)], timeout_s)
            blocks, block_s, looks = [*blocks, *batch], took_s / count, [*looks, look(workspace)]
            if enough(blocks, time.monotonic() - start, throttled(looks)):
                break
        else:
            enough(blocks, plan.limit_s, throttled(looks))
        return Bout(
            device=workspace.info, how=transport.how, seed=plan.seed, cores=plan.cores, blocks=tuple(blocks), profiles=profiles,
            looks=tuple(looks), seconds=time.monotonic() - start, began=began,
        )  # fmt: skip


def _next(done: int, plan: Plan, block_s: float, left_s: float) -> int:
    """How many blocks until the next look: one at first, to see how long it takes; none when no time is left for it."""
    if done == 0:
        return 1
    wanted = plan.first - 1 if done == 1 else max(1, round(done * (plan.growth - 1)))
    return max(0, min(wanted, int(left_s / block_s)))


class _Corner:
    """The two programs on the device, and how to run them."""

    def __init__(self, workspace: Workspace, artifacts: tuple[Artifact, Artifact], plan: Plan) -> None:
        self._workspace, self._artifacts, self._plan = workspace, artifacts, plan
        self._there = [workspace.push(artifact.bench) for artifact in artifacts]

    def profiles(self) -> tuple[Profile, Profile]:
        """Operator by operator, cold start and memory: from the files' own pages, as the programs are used."""
        found: dict[Side, list[Profile]] = {"A": [], "B": []}
        sides: tuple[Side, ...] = ("A", "B", "B", "A") * PROFILE_TURNS
        for side in sides:
            found[side].append(self._profile(side))
        return _middle(found["A"]), _middle(found["B"])

    def _profile(self, side: Side) -> Profile:
        ran = self._ran([self._program(side), *self._words(), "--profile", "--runs", "1"], self._plan.first_s, side)
        answers = self._answers(ran)
        try:
            [answer] = answers
            return Profile(
                steps_us=tuple((str(step["name"]), _whole(step["ns"]) / 1e3) for step in answer["steps"]),
                cold_start_ns=_whole(answer["create_ns"]) + _whole(answer["first_run_ns"]),
                peak_bytes=_maybe(answer["peak_rss_bytes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._garbage(f"{type(error).__name__}: {error}") from error

    def run(self, orders: Sequence[str], timeout_s: float) -> tuple[list[Block], float]:
        """A block for each of ``orders``, and how long they took together by this machine's clock."""
        plan, sides = self._plan, [side for order in orders for side in order]
        options = [*self._words(), "--own-pages", "--warmup", plan.warmup, "--runs", plan.runs, "--min-seconds", plan.burst_s]
        command = ["sh", "-c", SCRIPT, "sh", " ".join(sides), *map(self._program, ("A", "B")), " ".join(map(str, options))]
        before = time.monotonic()
        ran = self._ran(command, timeout_s)
        took_s = time.monotonic() - before
        answers = self._answers(ran)
        if len(answers) != len(sides):
            raise self._garbage(f"{len(answers)} results of {len(sides)} processes")
        starts = [self._start(side, answer) for side, answer in zip(sides, answers, strict=True)]
        clock = _clock(starts, took_s)
        return [Block(starts=tuple(starts[at : at + 4]), clock=clock) for at in range(0, len(starts), 4)], took_s

    def _words(self) -> list[str]:
        cores = ["--cores", ",".join(map(str, self._plan.cores))] if self._plan.cores else []
        return ["--threads", str(self._plan.threads), *cores]

    def _program(self, side: str) -> str:
        return self._there["AB".index(side)]

    def _ran(self, command: Sequence[str], timeout_s: float, side: Side = "B") -> Ran:
        ran = self._workspace.run(command, timeout_s=timeout_s)
        check(self._workspace, self._artifacts["AB".index(side)], ran)
        return ran

    def _answers(self, ran: Ran) -> list[dict[str, Any]]:
        try:
            answers = [json.loads(line) for line in ran.stdout.splitlines() if line.strip()]
        except ValueError as error:
            raise self._garbage(f"not JSON: {error}") from error
        return answers

    def _start(self, side: str, answer: Any) -> Start:
        """Raises: LostDeviceError for what the bench of this artifact cannot have printed."""
        artifact = self._artifacts["AB".index(side)]
        try:
            start = Start(
                side="A" if side == "A" else "B", threads=_whole(answer["threads"]),
                samples_ns=tuple(map(_whole, answer["samples_ns"])), waited_ns=tuple(map(_whole, answer["waited_ns"])),
                elapsed_ns=_whole(answer["elapsed_ns"]), asleep_ns=_maybe(answer["asleep_ns"]),
                ran_ns=_maybe(answer["threads_ran_ns"]), ready_ns=_maybe(answer["threads_waited_ns"]),
            )  # fmt: skip
            known = answer["model_sha256"]
        except (KeyError, TypeError) as error:
            raise self._garbage(f"{type(error).__name__}: {error}") from error
        if known != artifact.model_sha256:
            raise self._garbage(f"a measurement of model {known[:12]} instead of {artifact.model_sha256[:12]}")
        if not start.samples_ns or min(start.samples_ns) == 0 or len(start.waited_ns) not in (0, len(start.samples_ns)):
            raise self._garbage("samples without a time")
        return start

    def _garbage(self, what: str) -> LostDeviceError:
        name = self._workspace.info.name
        return LostDeviceError(name, "measuring", f"garbled output ({what})", "see what else writes to its standard output")


def _clock(starts: Sequence[Start], took_s: float) -> str:
    """What is wrong with the device's clock in a batch; "" where nothing is."""
    device_s = sum(start.elapsed_ns for start in starts) / 1e9
    if device_s > took_s + CLOCKS_AGREE_S:
        return "the device's clock ran ahead of this machine's"
    if any(sum(start.samples_ns) > start.elapsed_ns for start in starts):
        return "the device's clock went back"
    return ""


def _middle(profiles: Sequence[Profile]) -> Profile:
    """Of one artifact's profiles each operator's lower quartile, because another program can only add to it; the median cold
    start, the most memory."""
    names = [name for name, _ in profiles[0].steps_us]
    columns = zip(*([us for _, us in each.steps_us] for each in profiles), strict=True)
    known = [each.peak_bytes for each in profiles if each.peak_bytes is not None]
    return Profile(
        steps_us=tuple((name, quantiles(times, n=4)[0]) for name, times in zip(names, columns, strict=True)),
        cold_start_ns=round(median(each.cold_start_ns for each in profiles)), peak_bytes=max(known, default=None),
    )  # fmt: skip


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"{value!r} is no count")
    return value


def _maybe(value: object) -> int | None:
    return None if value is None else _whole(value)
