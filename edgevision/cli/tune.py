"""`edgevision tune`: find the fastest schedules for a network, on this machine, on devices, or by a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgevision.cli.devices import DEVICES_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from edgevision.device_file import DeviceEntry
    from edgevision.tune.lanes import LaneState
    from edgevision.tune.state import State, TaskState

    Report = Callable[[State], None]

FOLDER = click.Path(path_type=Path)
DEFAULT_MINUTES = 10.0
LINES_APART_S = 10.0
"""Between lines of progress where there is no terminal."""
LONGEST = 8
"""Tasks in the table while it runs: those that take the most time."""


@click.command()
@click.argument("source", metavar="MODEL")
@click.option("-t", "--target", default="", help=(
    "What is compiled for [default: what the devices are, else native]; without a device one that this machine is, or with "
    "--modelled one of 64-bit ARM."))  # fmt: skip
@click.option("-d", "--device", "names", multiple=True, metavar="NAME", help=(
    "Measure on this device (`edgevision devices list`); may be repeated: they share the work."))  # fmt: skip
@click.option("--label", "labels", multiple=True, help="Measure on all devices with this label; may be repeated.")
@DEVICES_FILE
@click.option("--cores", default="", help="Cores to bind to: numbers (4,5) or a set of the device's entry (big). Needs --device.")
@click.option("--rpc-tracker", metavar="HOST:PORT", help="Measure on boards that TVM's RPC tracker knows. Needs --rpc-key.")
@click.option("--rpc-key", default="", help="The key under which `python -m tvm.exec.rpc_server` registered them.")
@click.option("--ray", default="", metavar="ADDRESS", help=(
    "Spread the compiling over a Ray cluster, and the measuring where no device does it: auto, local, HOST:PORT."))  # fmt: skip
@click.option("--trials", type=click.IntRange(min=1), help="Stop after so many candidates.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True),
              help=f"Stop after so much time [default: {DEFAULT_MINUTES:.0f}, without --trials].")  # fmt: skip
@click.option("--tuning-logs", type=FOLDER, default=Path("tuning_logs"), show_default=True,
              help="The folder that results are added to; a later run continues from there.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the order of candidates.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Threads of each candidate while it is timed.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 256), help="Candidates compiled at a time [default: one a core].")
@click.option("--nice", type=click.IntRange(-20, 19), default=0, show_default=True,
              help="Priority of the process that is timed; below 0 needs root.")  # fmt: skip
@click.option("--modelled", is_flag=True, help=(
    "Rank by modelled cycles of a 64-bit ARM core, counted under qemu, where there is no such machine."))  # fmt: skip
@click.option("--no-winograd", is_flag=True, help="Leave Winograd's schedules out.")
@click.option("--input-shape", "shapes", multiple=True, metavar="[NAME:]N,C,H,W",
              help="Fix an input's open dimensions; once an input.")  # fmt: skip
@click.option("--cpu", help="Override the target's CPU (LLVM's name).")
@click.option("--features", metavar="+A,-B", help="Override the target's instruction set features.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of a table.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def tune(source: str, trials: int | None, minutes: float | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Search the schedules of MODEL's workloads (.onnx, .pt2 or zoo:NAME), on this machine or on devices.

    Every result goes into the tuning log at once: a run that is stopped, in whatever way, has lost nothing, and the
    next one continues. `edgevision compile --tuning-logs DIR` compiles with what was found.
    """
    from edgevision.devices import chosen
    from edgevision.ingest import parse_input_shapes
    from edgevision.pipeline import Options, tune_model
    from edgevision.schedule.apply import WINOGRAD
    from edgevision.tune.options import Options as Settings
    from edgevision.tune.rpc import Tracker
    from edgevision.tune.state import Budget

    seconds = 60 * (minutes or DEFAULT_MINUTES) if minutes or not trials else None
    options = Options(
        input_shapes=parse_input_shapes(given["shapes"]) if given["shapes"] else None,
        cpu=given["cpu"], features=given["features"].split(",") if given["features"] else None,
        winograd=not given["no_winograd"], tuning_logs=(given["tuning_logs"],),
    )  # fmt: skip
    devices = chosen(given["names"], given["labels"], given["devices_file"])
    if bool(given["rpc_tracker"]) != bool(given["rpc_key"]):
        raise click.UsageError("--rpc-tracker and --rpc-key belong together")
    settings = Settings(
        budget=Budget(trials=trials, seconds=seconds), threads=given["threads"], seed=given["seed"],
        jobs=given["jobs"] or 0, nice=given["nice"], modelled=given["modelled"],
        excluded=WINOGRAD if given["no_winograd"] else frozenset(), devices=devices, cores=given["cores"],
        tracker=Tracker.parse(given["rpc_tracker"], given["rpc_key"]) if given["rpc_tracker"] else None,
        ray=given["ray"],
    )  # fmt: skip
    with _progress(quiet=quiet) as (stage, report):
        state = tune_model(source, given["target"] or target_of(devices), options, settings, stage, report, _tell)
    if as_json:
        from edgevision.report.json import document, dumps

        click.echo(dumps(document("tuning", as_dict(state))), nl=False)
        return
    from edgevision.report.console import stdout

    stdout().print(_table(state, len(state.tasks)))
    click.echo(summary(state))
    for device in state.devices:
        click.echo(_share(device))
    click.echo(f"compile with --tuning-logs {given['tuning_logs']}")


def target_of(devices: Sequence[DeviceEntry]) -> str:
    """What all of them are. Raises: UsageError, where their entries do not say, or say different things."""
    known = {device.target for device in devices} or {"native"}
    if len(known) > 1:
        raise click.UsageError("the devices are different targets: " + ", ".join(f"{d.name} {d.target or '?'}" for d in devices))
    if known == {""}:
        raise click.UsageError(f"the entry of device {devices[0].name} has no target: add one, or give --target")
    return known.pop()


def _tell(text: str) -> None:
    click.echo(text, err=True)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[Callable[[str], None], Report]]:
    """A table that changes on a terminal, a line now and then elsewhere; always on stderr."""
    if quiet:
        yield lambda _: None, lambda _: None
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage: click.echo(stage, err=True), _lines()
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield live.update, lambda state: live.update(_table(state, LONGEST))


def _lines() -> Report:
    last = time.monotonic() - LINES_APART_S

    def report(state: State) -> None:
        nonlocal last
        if time.monotonic() - last >= LINES_APART_S:
            last = time.monotonic()
            click.echo(summary(state), err=True)

    return report


def summary(state: State) -> str:
    """312 trials (2 wrong), 95 s, 505 s left: sum of workloads 2.61 ms, 2.83 ms by default."""
    failed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(state.outcomes.items()) if outcome != "right")
    text = f"{state.trials} trials{f' ({failed})' if failed else ''}, {state.elapsed_s:.0f} s{_left(state)}"
    if state.best_ms is None or state.default_ms is None:
        known = sum(1 for task in state.tasks if task.default_us is not None)
        return f"{text}: {known} of {len(state.tasks)} default schedules measured"
    unit = "ms" if state.how == "measured" else "M cycles (modelled)"
    return f"{text}: sum of workloads {state.best_ms:.3g} {unit}, {state.default_ms:.3g} by default"


def _share(device: LaneState) -> str:
    """pi5: 120 measurements on Cortex-A76."""
    where, lost = f" on {device.cpu}" if device.cpu else "", "; then it was lost" if device.lost else ""
    return f"{device.name}: {device.trials} measurements{where}{lost}"


def _left(state: State) -> str:
    if state.budget.seconds is not None:
        return f", {max(0.0, state.budget.seconds - state.elapsed_s):.0f} s left"
    return f" of {state.budget.trials}" if state.budget.trials is not None else ""


def _table(state: State, most: int) -> Table:
    """The tasks that take the most time."""
    from rich.table import Table

    table = Table(title=summary(state), title_justify="left")
    table.add_column("workload", overflow="fold")
    unit = "µs" if state.how == "measured" else "k cycles"
    for column in ("times", f"default {unit}", f"best {unit}", "ratio", "trials"):
        table.add_column(column, justify="right")
    table.add_column("schedule", overflow="fold")
    ranked = sorted(state.tasks, key=lambda task: -(task.default_us or 0.0) * task.count)
    for task in ranked[:most]:
        known = task.default_us is not None
        table.add_row(
            task.what.partition(" | ")[0], str(task.count), f"{task.default_us:.1f}" if known else "",
            f"{_best_us(task):.1f}" if known else "", f"{task.ratio:.3f}", f"{task.trials}{' done' if task.finished else ''}",
            str(task.best) if task.ratio < 1 else "default",
        )  # fmt: skip
    return table


def _best_us(task: TaskState) -> float:
    return (task.default_us or 0.0) * task.ratio


def as_dict(state: State) -> dict[str, Any]:
    """What `--json` prints. Times of one call, sums over the network's calls; modelled ones are of a core of 1 GHz."""
    return {
        "how": state.how, "trials": state.trials, "outcomes": dict(sorted(state.outcomes.items())),
        "devices": [
            {"name": each.name, "cpu": each.cpu, "measurements": each.trials, "lost": each.lost or None} for each in state.devices
        ],
        "seconds": round(state.elapsed_s, 1), "default_ms": state.default_ms, "best_ms": state.best_ms,
        "workloads": [
            {
                "what": task.what, "count": task.count, "default_us": task.default_us, "ratio": task.ratio,
                "trials": task.trials, "finished": task.finished, "template": task.best.template,
                "parameters": task.best.mapping,
            }
            for task in state.tasks
        ],
    }  # fmt: skip
