"""`edgevision logs`: look at, join, cut and check tuning logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgevision.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from edgevision.tune.maintenance import Log

LOGS = click.option(
    "--tuning-logs", "folder", type=click.Path(path_type=Path), default=Path("tuning_logs"), show_default=True,
    help="The folder of logs; `edgevision tune` writes one an instruction set.",
)  # fmt: skip


class DamagedLogError(GateError):
    """Records that a log has lost or that cannot be true."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        super().__init__(f"{folder}: {count} problems; `edgevision logs prune` leaves damaged lines out for good")


@click.group()
def logs() -> None:
    """Tuning logs: what was measured for which workload."""


@logs.command()
@LOGS
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of tables.")
def show(folder: Path, as_json: bool) -> None:
    """The best schedule of each workload."""
    from edgevision.tune.maintenance import logs as found

    if as_json:
        from edgevision.report.json import document, dumps

        click.echo(dumps(document("tuning_logs", {"folder": str(folder), "logs": [_entry(log) for log in found(folder)]})),
                   nl=False)  # fmt: skip
        return
    from edgevision.report.console import stdout

    for log in found(folder):
        stdout().print(_table(log))
    if not found(folder):
        click.echo(f"no logs in {folder}; `edgevision tune MODEL --tuning-logs {folder}` makes one")


@logs.command()
@click.argument("sources", nargs=-1, required=True, metavar="FROM...", type=click.Path(path_type=Path))
@LOGS
def merge(sources: tuple[Path, ...], folder: Path) -> None:
    """Add the records of other folders FROM to --tuning-logs; those that are there already stay as they are."""
    from edgevision.tune.maintenance import merge as add

    for source in sources:
        for name, count in add(source, folder).items():
            click.echo(f"{name}: {count} records from {source}")


@logs.command()
@LOGS
@click.option("--keep", type=click.IntRange(min=1), default=3, show_default=True,
              help="Best schedules that stay of each workload.")  # fmt: skip
def prune(folder: Path, keep: int) -> None:
    """Leave out what no compile reads: trials that did not win. A later tuning run tries them again."""
    from edgevision.tune.maintenance import prune as cut

    for name, (before, after) in cut(folder, keep).items():
        click.echo(f"{name}: {after} of {before} records stay")


@logs.command()
@LOGS
def verify(folder: Path) -> None:
    """Check every line; exit with 1 where records are damaged or impossible."""
    from edgevision.target import load
    from edgevision.tune.maintenance import logs as found
    from edgevision.tune.maintenance import problems
    from edgevision.tuning_log import setting_of

    severe = 0
    for log in found(folder):
        click.echo(f"{log.name}: {len(log.records)} records")
        for problem in problems(log, setting_of(load("native"), 1)):
            severe += problem.severe
            click.echo(f"{log.name}: {problem.text}")
    if severe:
        raise DamagedLogError(folder, severe)


def _best(log: Log) -> list[tuple[str, str, int, float, float, str]]:
    """(workload, setting, trials, ratio, us, choice) of each workload in each setting, by name."""
    from edgevision.tuning_log import tuned

    rows = []
    for setting in sorted({record.setting for record in log.records}, key=str):
        ours = [record for record in log.records if record.setting == setting]
        what = {record.workload: record.what for record in ours}
        for key, ranked in tuned(ours, setting).ranked.items():
            trials = sum(1 for record in ours if record.workload == key)
            place = f"TVM {setting.tvm}, {setting.threads} thread{'' if setting.threads == 1 else 's'}"
            place += ", modelled" if ranked[0].how == "modelled" else ""
            rows.append((what[key], place, trials, ranked[0].ratio, ranked[0].us, str(ranked[0].choice)))
    return sorted(rows)


def _table(log: Log) -> Table:
    from rich.table import Table

    table = Table(title=f"{log.name}: {len(log.records)} records", title_justify="left")
    table.add_column("workload", overflow="fold")
    table.add_column("measured with")
    for column in ("trials", "ratio", "µs"):
        table.add_column(column, justify="right")
    table.add_column("schedule", overflow="fold")
    for what, place, trials, ratio, us, choice in _best(log):
        table.add_row(what, place, str(trials), f"{ratio:.3f}", f"{us:.1f}", choice)
    return table


def _entry(log: Log) -> dict[str, object]:
    rows: Sequence[tuple[str, str, int, float, float, str]] = _best(log)
    return {
        "name": log.name, "records": len(log.records), "damaged": list(log.damaged),
        "workloads": [
            {"what": what, "setting": place, "trials": trials, "ratio": ratio, "us": us, "schedule": choice}
            for what, place, trials, ratio, us, choice in rows
        ],
    }  # fmt: skip
