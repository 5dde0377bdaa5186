"""`edgevision check`: the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgevision.cli.quantity import BYTES, MILLISECONDS, SHARE, Quantity

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", metavar="MODEL|ARTIFACT")
@click.option("--baseline", type=FILE, metavar="FILE", help="What to compare with: base.json (--save) or an artifact's .so.")
@click.option("--allow", type=Quantity("share", SHARE, zero=True), default="3%", show_default=True, metavar="SHARE",
              help="How much slower than the baseline is still right.")  # fmt: skip
@click.option("--budget", type=Quantity("time", MILLISECONDS), metavar="TIME", help="What one run may take: 12ms.")
@click.option("--budget-memory", type=Quantity("size", BYTES), metavar="SIZE", help="Resident memory of its process: 60MB.")
@click.option("--budget-size", type=Quantity("size", BYTES), metavar="SIZE", help="Bytes of the library: 20MB.")
@click.option("-d", "--device", default="local", show_default=True, help="Where to measure (`edgevision devices list`).")
@click.option("--devices", type=FILE, metavar="FILE", help="The devices' file, in place of devices.toml.")
@click.option("--cores", default="", help="Cores to bind to: numbers (4,5) or a set of the device's entry (big).")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="How many compute a run.")
@click.option("--limit", "limit_s", type=click.FloatRange(1, 3600), default=110.0, show_default=True,
              help="Seconds after which an open question stays open.")  # fmt: skip
@click.option("--risk", type=click.FloatRange(1e-6, 0.2), default=0.01, show_default=True,
              help="How often a candidate that is exactly as slow as allowed may fail; and may pass.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides who runs first when.")
@click.option("--modelled", is_flag=True, help="No device: instructions and modelled cycles of 64-bit ARM, one thread.")
@click.option("--core", "cpus", multiple=True, default=("neoverse-n1", "cortex-a55"), show_default=True,
              help="A core to model; repeatable.")  # fmt: skip
@click.option("-t", "--target", default="", help="What a model is compiled for [default: what the baseline is].")
@click.option("--input-shape", "shapes", multiple=True, metavar="[NAME:]N,C,H,W", help="Fix an input's open dimensions.")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path),
              help="Where a model is compiled to [default: build/check].")  # fmt: skip
@click.option("--save", type=FILE, metavar="FILE", help="Make this the baseline of later checks, unless it fails.")
@click.option("--history", type=FILE, multiple=True, metavar="FILE", help="An earlier --json for the reports; repeatable.")
@click.option("--json", "json_file", type=FILE, metavar="FILE", help="Write everything as JSON (docs/json.md).")
@click.option("--junit", type=FILE, metavar="FILE", help="Write JUnit XML.")
@click.option("--markdown", type=FILE, metavar="FILE", help="Write Markdown, for a comment on a pull request.")
@click.option("--html", type=FILE, metavar="FILE", help="Write one HTML page that needs no network.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def check(source: str, quiet: bool, **given: Any) -> int:
    """Is MODEL, or its ARTIFACT, still fast enough?

    Ends with 0 for PASS, 1 for FAIL, 5 for INCONCLUSIVE: what was asked cannot be known on this device at this time.
    """
    from edgevision import checking
    from edgevision.cli.compile_ import stages
    from edgevision.cli.report import Files, read, write
    from edgevision.report import console
    from edgevision.report.check import check_report, check_view

    earlier = [read(path) for path in given["history"]]
    with stages(quiet=quiet) as progress:
        gated = checking.check(source, _ask(given), progress)
    document = check_report(gated)
    files = Files(**{kind: given[kind] for kind in ("junit", "markdown", "html")}, json=given["json_file"])
    write([*earlier, document], files)
    console.stdout().print(check_view(gated))
    return gated.verdict.exit_code


def _ask(given: dict[str, Any]) -> Any:
    from edgevision.checking import Ask
    from edgevision.ingest import parse_input_shapes
    from edgevision.measure.bout import Plan
    from edgevision.pipeline import Options
    from edgevision.report.gate import Terms

    shapes = parse_input_shapes(given["shapes"]) if given["shapes"] else None
    return Ask(
        baseline=given["baseline"], device=given["device"], devices=given["devices"], cores=given["cores"],
        target=given["target"],
        terms=Terms(allow=given["allow"], budget_ms=given["budget"], risk=given["risk"], limit_s=given["limit_s"]),
        plan=Plan(threads=given["threads"], seed=given["seed"]),
        memory_bytes=given["budget_memory"], size_bytes=given["budget_size"],
        modelled=given["modelled"], cpus=given["cpus"], save=given["save"],
        options=Options(output=given["output"], input_shapes=shapes),
    )  # fmt: skip
