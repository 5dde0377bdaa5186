"""The command line: one file a verb, imported when it is called, so that `edgevision --help` loads no compiler."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

import click

from edgevision import __version__
from edgevision.errors import EdgevisionError

INTERRUPTED = 130

VERBS: dict[str, str] = {
    "compile": "Compile a network for one or more targets; verify and time each artifact.",
    "reparam": "Merge linear branches of a model into single convolutions, exactly, with the proof.",
    "prune": "Remove channels: a share of them, of the MACs or the parameters, or only dead ones.",
    "finetune": "Train a pruned network again, with the unpruned one as its teacher.",
    "inspect": "What a model or an artifact holds.",
    "evaluate": "Top-1 and top-5 accuracy of a model and its artifact, side by side.",
    "tune": "Find the fastest schedules for a network on this machine.",
    "logs": "Look at, join, cut and check tuning logs.",
    "run": "Run an artifact on arrays from .npy files.",
    "bench": "Time an artifact on this machine or on devices.",
    "devices": "List, probe and add devices: by ssh, adb, under qemu or here.",
    "check": "The gate: is a network still fast enough? Against a baseline, budgets, or a model of cores.",
    "report": "What checks and measurements wrote, as a table, JUnit XML, Markdown or an HTML page.",
    "cost": "Count instructions and model cycles on 64-bit ARM cores, without one.",
    "ops": "List the operators that can be compiled.",
    "targets": "List the targets.",
    "zoo": "List and export the networks that ship with edgevision.",
    "doctor": "What this machine has for compiling and checking, and what it lacks.",
}
"""Verb -> its line in --help. The verb `x` is the click command `x` of `edgevision.cli.x`."""


class _Verbs(click.Group):
    """Imports a verb's module when the verb is called; help needs only the lines above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        name = f"{cmd_name}_" if cmd_name in ("compile",) else cmd_name
        command: click.Command = getattr(import_module(f"edgevision.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgevision")
def edgevision() -> None:
    """Compile vision networks to self-contained, verified libraries for phones and boards."""


def _end(number: int, _: object) -> None:
    """A polite kill unwinds the stack, so that half-made files go away."""
    sys.exit(128 + number)


def main() -> None:
    """Entry point: errors that a user can act on are one line and an exit code; anything else keeps its traceback."""
    signal.signal(signal.SIGTERM, _end)
    try:
        code = edgevision.main(standalone_mode=False)
    except EdgevisionError as error:
        click.echo(f"edgevision: {error}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        click.echo("edgevision: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
