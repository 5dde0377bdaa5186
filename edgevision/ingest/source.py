"""read: a network from any source to a Model in the normal form."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard

import onnx

from edgevision.errors import InputError, ModelFileError
from edgevision.ingest.admission import admit, admit_folded
from edgevision.ingest.expansion import expand, without_functions
from edgevision.ingest.external_data import external_tensors
from edgevision.ingest.fold import fold, require_static
from edgevision.ingest.layouts import input_layout
from edgevision.ingest.legal import flaws
from edgevision.ingest.normalise import normalise
from edgevision.ingest.onnx_file import load, parse
from edgevision.ingest.proto_types import default_opset, spec_of
from edgevision.ingest.shapes import fix_inputs
from edgevision.ingest.simplify import simplify as run_onnxsim
from edgevision.ingest.spelling import spell, to_proto
from edgevision.model import Change, Model

ZOO_PREFIX = "zoo:"
InputShapes = Mapping[str, tuple[int, ...]]
Rewrite = Callable[[onnx.ModelProto], tuple[onnx.ModelProto, tuple[Change, ...]]]
"""A step over the graph before it is in the normal form: the graph that takes its place, and what was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What was given, as ONNX: the parsed model, what verification runs, and where errors point."""

    name: str
    where: str
    proto: onnx.ModelProto
    original: Path | bytes
    sha256: str
    provenance: Mapping[str, str] = field(default_factory=dict)


def read(
    source: Any,
    *,
    input_shapes: InputShapes | None = None,
    simplify: bool = True,
    rewrite: Rewrite | None = None,
) -> Model:
    """The network in ``source`` with static shapes, in the normal form of `edgevision.ingest.spelling`.

    ``source``: path of an .onnx file or of a .pt2 file of torch.export, "zoo:NAME", an onnx.ModelProto, or a
    torch.nn.Module (``input_shapes`` then gives its inputs). ``input_shapes`` maps input names to shapes, "" meaning
    the only input; an open leading dimension is 1 unless given. ``simplify=False`` leaves onnxsim out.
    ``rewrite`` is given the checked graph, its inputs static, before constants are folded and anything is simplified.

    Raises ModelFileError, ShapeError, UnknownNameError, UnsupportedError and UnsupportedOperatorError.
    """
    given = _open(source, input_shapes)
    proto = without_functions(given.proto)
    opset = default_opset(proto)
    admit(proto, given.where)
    proto = expand(proto)
    fix_inputs(proto, None if _is_module(source) else input_shapes)
    inputs = tuple(spec_of(value) for value in proto.graph.input)
    notes = []
    proto, rewritten = rewrite(proto) if rewrite is not None else (proto, ())
    _fold(proto, given.where)
    if simplify:
        proto, note = run_onnxsim(proto)
        notes += [note] if note else []
        _fold(proto, given.where)
    graph = spell(proto)
    changes = normalise(graph)
    normal = to_proto(graph, given.name)
    broken = flaws(normal)
    if broken:
        raise AssertionError(f"{given.where}: not in the normal form: {'; '.join(broken[:5])}")
    return Model(
        name=given.name,
        proto=normal,
        inputs=tuple(input_layout(spec, graph) for spec in inputs),
        outputs=tuple(graph.specs[tensor] for tensor in graph.outputs),
        opset=opset,
        sha256=given.sha256,
        original=given.original,
        original_inputs=inputs,
        changes=(*rewritten, *changes),
        notes=tuple(notes),
        provenance=given.provenance,
    )


def _open(source: Any, input_shapes: InputShapes | None) -> _Source:
    if isinstance(source, onnx.ModelProto):
        return _from_bytes(source.SerializeToString(), source.graph.name or "model", {"source": "onnx.ModelProto"})
    if _is_module(source):
        from edgevision.ingest.torch_module import export_module

        name = type(source).__name__.lower()
        return _from_bytes(export_module(source, input_shapes or {}), name, {"source": "torch.nn.Module"})
    if not isinstance(source, str | Path):
        raise InputError(
            f"a {type(source).__name__} is no network; give a path, 'zoo:NAME', an onnx.ModelProto or a torch.nn.Module"
        )
    if str(source).startswith(ZOO_PREFIX):
        return _from_zoo(str(source).removeprefix(ZOO_PREFIX))
    path = Path(source)
    if path.suffix == ".pt2" and path.is_file():
        from edgevision.ingest.torch_module import export_program_file

        return _from_bytes(export_program_file(path), path.stem, {"source": str(path.name)})
    file = load(path)
    return _Source(
        name=path.stem,
        where=str(path),
        proto=file.proto,
        original=path,
        sha256=file.sha256,
        provenance={"source": path.name},
    )


def _from_bytes(content: bytes, name: str, provenance: Mapping[str, str]) -> _Source:
    sha256 = hashlib.sha256(content).hexdigest()
    proto = parse(content, name)
    if next(external_tensors(proto), None) is not None:
        raise ModelFileError(
            name, "keeps weights in external data; give the path of its .onnx file, or load them into it"
        )
    return _Source(name=name, where=name, proto=proto, original=content, sha256=sha256, provenance=provenance)


def _from_zoo(name: str) -> _Source:
    from edgevision.zoo import export

    with TemporaryDirectory(prefix="edgevision-") as folder:
        path = Path(folder, "model.onnx")
        export(name, path)
        content = path.read_bytes()
    return _from_bytes(content, name, {"source": f"{ZOO_PREFIX}{name}"})


def _is_module(source: object) -> TypeGuard[Any]:
    """True for a torch.nn.Module or ExportedProgram: it can only be one if torch is loaded already."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, (torch.nn.Module, torch.export.ExportedProgram))


def _fold(proto: onnx.ModelProto, where: str) -> None:
    fold(proto, where)
    admit_folded(proto)
    require_static(proto)
