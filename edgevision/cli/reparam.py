"""`edgevision reparam`: merge what is linear, and prove that nothing changed."""

from __future__ import annotations

from collections import Counter
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import onnx
    from rich.table import Table

    from edgevision.counting import Counts
    from edgevision.rewrite.reparam import Reparameterized

SHOWN = ("Conv", "ConvTranspose", "BatchNormalization", "Add", "Mul", "AveragePool", "Gemm", "MatMul")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The .onnx file to write.")
@click.option("-i", "--input", "inputs", type=click.Path(path_type=Path), multiple=True, metavar="FILE.npy", help=(
    "Real arrays to compare on beside random ones, one for each input of the graph, in order."))  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random input.")
@click.option("--no-prove", is_flag=True, help="Leave out the comparison with the original.")
@click.option("--explain", is_flag=True, help="Print every region, every merge that was declined, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/reparam.md) instead of tables.")
def reparam(
    model: Path, output: Path, inputs: tuple[Path, ...], seed: int, no_prove: bool, explain: bool, as_json: bool
) -> None:
    """Rewrite every linear region of MODEL (.onnx) as the cheapest exact one that is found, and prove it.

    Branches of one input merge into one convolution; BatchNormalization and constants go into weights. Names, open
    axes, opset and metadata stay. A model in which nothing changes is written as the same bytes.
    """
    from edgevision.ingest import onnx_file
    from edgevision.rewrite.reparam import reparameterize
    from edgevision.zoo.saving import check_output, save, save_bytes

    check_output(output)
    file = onnx_file.load(model)
    result = reparameterize(file.proto, prove=not no_prove, feeds=_feeds(file.proto, inputs), seed=seed)
    if result.changed or _has_external_data(model):
        save(result.proto, output)
    else:
        save_bytes(model.read_bytes(), output)
    if as_json:
        from edgevision.report.json import dumps

        click.echo(dumps(_report(model, output, file.proto, result)), nl=False)
        return
    _print(file.proto, result, explain=explain)
    click.echo(output)


def _feeds(proto: onnx.ModelProto, paths: tuple[Path, ...]) -> list[dict[str, Any]]:
    from edgevision.errors import InputError
    from edgevision.npy import read_array
    from edgevision.rewrite.reparam.feeds import inputs_of

    if not paths:
        return []
    names = [value.name for value in inputs_of(proto)]
    if len(paths) != len(names):
        raise InputError(f"the graph has {len(names)} inputs ({', '.join(names)}), but {len(paths)} --input were given")
    return [dict(zip(names, map(read_array, paths), strict=True))]


def _has_external_data(model: Path) -> bool:
    import onnx

    from edgevision.ingest.external_data import external_tensors

    return next(external_tensors(onnx.load(model, load_external_data=False)), None) is not None


def _counts(proto: onnx.ModelProto) -> tuple[dict[str, int], Counts]:
    from edgevision.counting import count

    found = Counter(node.op_type for node in proto.graph.node)
    return {op: found[op] for op in SHOWN if found[op]}, count(proto)


def _report(model: Path, output: Path, before: onnx.ModelProto, result: Reparameterized) -> dict[str, Any]:
    from edgevision.report.json import document

    sides = {}
    for side, proto, modelled in (("before", before, result.before_us), ("after", result.proto, result.after_us)):
        operators, counts = _counts(proto)
        sides[side] = {"operators": operators, "macs": counts.macs, "weight_bytes": counts.weight_bytes,
                       "modelled_us": modelled}  # fmt: skip
    proof = result.certificate
    return document("reparameterization", {
        "model": str(model), "output": str(output), "changed": result.changed, **sides,
        "certificate": None if proof is None else {
            "holds": proof.holds, "error64": _finite(proof.error64), "error32": _finite(proof.error32),
            "original_error32": _finite(proof.original_error32), "limit64": proof.limit64, "limit32": proof.limit32,
            "inputs": proof.inputs, "given": proof.given, "seed": proof.seed, "undone": list(proof.undone),
        },
        "regions": _regions(result),
        "declined": [{"nodes": list(d.nodes), "reason": d.reason, "kept_us": d.kept_us, "merged_us": d.merged_us}
                     for d in result.declined],
        "refusals": [{"node": node, "reason": reason} for node, reason in result.refusals],
    })  # fmt: skip


def _regions(result: Reparameterized) -> list[dict[str, Any]]:
    proofs = {} if result.certificate is None else {proof.output: proof for proof in result.certificate.regions}
    found = []
    for region in result.regions:
        proof = proofs.get(region.output)
        found.append({
            "output": region.output, "nodes": list(region.sources), "reads": list(region.reads),
            "error64": None if proof is None else _finite(proof.error64),
            "error32": None if proof is None else _finite(proof.error32),
            "range_growth": None if proof is None or not proof.growth else proof.growth,
        })  # fmt: skip
    return found


def _finite(error: float) -> float | None:
    return float(f"{error:.2e}") if isfinite(error) else None


def _print(before: onnx.ModelProto, result: Reparameterized, *, explain: bool) -> None:
    from edgevision.report.console import stdout

    console = stdout()
    console.print(_table(before, result))
    proof = result.certificate
    if proof is not None:
        verdict = "agrees" if proof.holds else "DOES NOT AGREE"
        inputs = "1 input" if proof.inputs == 1 else f"{proof.inputs} inputs"
        click.echo(f"{verdict} with the original: error {proof.error64:.1e} in float64, {proof.error32:.1e} in float32 "
                   f"(the original's own: {proof.original_error32:.1e}), {inputs}")  # fmt: skip
        for name in proof.undone:
            click.echo(f"taken back, because it did not agree: {name}")
    if explain:
        _explain(result)
    elif result.declined or result.refusals:
        click.echo(f"merges declined: {len(result.declined)}, operators left alone: {len(result.refusals)}; --explain says why")


def _table(before: onnx.ModelProto, result: Reparameterized) -> Table:
    from rich.table import Table

    table = Table("", title=f"{len(result.regions)} regions rewritten", title_justify="left")
    for column in ("before", "after"):
        table.add_column(column, justify="right")
    (old, old_counts), (new, new_counts) = _counts(before), _counts(result.proto)
    for op in SHOWN:
        if op in old or op in new:
            table.add_row(op, str(old.get(op, 0)), str(new.get(op, 0)))
    table.add_row("MACs", f"{old_counts.macs:,}", f"{new_counts.macs:,}")
    table.add_row("weights, kB", f"{old_counts.weight_bytes / 1e3:,.1f}", f"{new_counts.weight_bytes / 1e3:,.1f}")
    table.add_row("modelled us, one A76", f"{result.before_us:,.1f}", f"{result.after_us:,.1f}")
    return table


def _explain(result: Reparameterized) -> None:
    for region in _regions(result):
        growth = f", kernel range x{region['range_growth']:.2f}" if region["range_growth"] else ""
        click.echo(f"rewritten: {region['output']} from {', '.join(region['nodes'])}{growth}")
    for each in result.declined:
        costs = "" if each.kept_us is None else f" ({each.kept_us:.1f} us kept, {each.merged_us:.1f} us merged)"
        click.echo(f"declined: {', '.join(each.nodes)}: {each.reason}{costs}")
    for node, reason in result.refusals:
        click.echo(f"left alone: {node}: {reason}")
