"""What an .onnx file holds, without compiling it: tensors, operators, multiply-accumulates, bytes a layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from rich.console import Group, RenderableType
from rich.table import Column, Table

from edgevision.counting import Counts, NodeCount, count
from edgevision.report.json import Json, document
from edgevision.report.table import size, thousands


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """``inputs`` and ``outputs`` are (name, dtype, shape), open extents by their names."""

    path: Path
    sha256: str
    opset: int
    producer: str
    inputs: tuple[tuple[str, str, tuple[int | str, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int | str, ...]], ...]
    operators: dict[str, int]
    counts: Counts


def inspect_model(path: Path, proto: onnx.ModelProto, sha256: str) -> Inspection:
    """Look at ``proto``, which was read from ``path``."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    counts = count(proto)
    return Inspection(
        path=path,
        sha256=sha256,
        opset=max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0),
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        inputs=tuple(_tensor(value) for value in proto.graph.input if value.name not in weights),
        outputs=tuple(_tensor(value) for value in proto.graph.output),
        operators=dict(sorted(Counter(node.op for node in counts.per_node).items(), key=lambda op: (-op[1], op[0]))),
        counts=counts,
    )


def inspection_report(found: Inspection) -> Json:
    """What ``edgevision inspect --json`` prints for a model."""
    return document(
        "inspection",
        {
            "file": str(found.path),
            "sha256": found.sha256,
            "opset": found.opset,
            "producer": found.producer,
            "inputs": [{"name": n, "dtype": d, "shape": list(s)} for n, d, s in found.inputs],
            "outputs": [{"name": n, "dtype": d, "shape": list(s)} for n, d, s in found.outputs],
            "operators": found.operators,
            "macs": found.counts.macs,
            "parameters": found.counts.parameters,
            "weight_bytes": found.counts.weight_bytes,
            "uncounted": list(found.counts.uncounted),
            "layers": [_layer(node) for node in found.counts.per_node],
        },
    )


def inspection_view(found: Inspection) -> RenderableType:
    """The same for people: the layers are those that hold weights or multiply."""
    facts = Table("", Column(overflow="fold"), title=str(found.path), title_justify="left", show_header=False)
    for label, text in _facts(found):
        facts.add_row(label, text)
    layers = Table(title="layers with weights or multiplications", title_justify="left")
    layers.add_column("layer", overflow="fold")
    layers.add_column("operator")
    for column in ("output", "MACs", "parameters", "weights", "result"):
        layers.add_column(column, justify="right", no_wrap=True)
    for node in found.counts.per_node:
        if node.parameters or node.macs != 0:
            layers.add_row(*_cells(node))
    return Group(facts, layers)


def _layer(node: NodeCount) -> Json:
    """``output_shape``, ``macs`` and ``output_bytes`` are None where the shape is open."""
    return {
        "name": node.name,
        "op": node.op,
        "output_shape": None if node.output_shape is None else list(node.output_shape),
        "macs": node.macs,
        "parameters": node.parameters,
        "weight_bytes": node.weight_bytes,
        "output_bytes": node.output_bytes,
    }


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    for label, tensors in (("input", found.inputs), ("output", found.outputs)):
        for name, dtype, shape in tensors:
            yield label, f"{name}: {dtype}[{','.join(map(str, shape))}]"
    yield "opset", f"{found.opset}" + (f", written by {found.producer}" if found.producer else "")
    yield "operators", ", ".join(f"{number} {op}" for op, number in found.operators.items())
    uncounted = found.counts.uncounted
    open_layers = f" (and {len(uncounted)} layers whose shapes are open)" if uncounted else ""
    yield "MACs", f"{found.counts.macs:,}{open_layers}"
    yield "parameters", f"{found.counts.parameters:,}"
    yield "weights", size(found.counts.weight_bytes)
    yield "SHA-256", found.sha256


def _cells(layer: NodeCount) -> tuple[str, ...]:
    return (
        layer.name,
        layer.op,
        "?" if layer.output_shape is None else "x".join(map(str, layer.output_shape)) or "1",
        "?" if layer.macs is None else thousands(layer.macs),
        thousands(layer.parameters),
        size(layer.weight_bytes),
        "?" if layer.output_bytes is None else size(layer.output_bytes),
    )


def _tensor(value: onnx.ValueInfoProto) -> tuple[str, str, tuple[int | str, ...]]:
    kind = value.type.tensor_type
    if not kind.elem_type:
        return value.name, value.type.WhichOneof("value") or "unknown", ()
    shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim)
    dtype = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
    return value.name, {"float": "float32", "double": "float64"}.get(dtype, dtype), shape
