"""The lowering, in order: emit -> classify -> fuse -> extract. Each phase can be dumped."""

from __future__ import annotations

from pathlib import Path

import tvm
from tvm import relax

from edgevision.errors import UnsupportedOperatorError
from edgevision.lower.depth import limit_fused_depth
from edgevision.lower.emitter import Emitter
from edgevision.lower.extract import extract
from edgevision.lower.node import read
from edgevision.lower.operators import OPERATORS
from edgevision.lower.placed import Placed
from edgevision.model import Model
from edgevision.program import Program


def lower(model: Model, dump_ir: Path | None = None) -> Program:
    """One PrimFunc a fused workload, channels last, on static shapes.

    ``dump_ir`` receives the module after each phase as NN-name.py.

    Raises:
        UnsupportedOperatorError: the graph holds an operator, or a use of one, that nothing here lowers.
    """
    module = emit(model)
    phases = (
        ("classify", relax.transform.AnnotateTIROpPattern()),
        ("limit", limit_fused_depth),
        ("fuse", relax.transform.FuseOps(fuse_opt_level=2)),
        ("join", relax.transform.FuseTIR()),
        ("tidy", relax.transform.DeadCodeElimination()),
    )
    _dump(dump_ir, 0, "emit", module)
    for number, (name, phase) in enumerate(phases, start=1):
        module = phase(module)
        _dump(dump_ir, number, name, module)
    return extract(module, model)


def check(model: Model) -> None:
    """Raise for the first operator that has no lowering, before any work is done."""
    nodes = [read(proto) for proto in model.proto.graph.node]
    unknown = [node for node in nodes if node.op not in OPERATORS]
    if unknown:
        alone = len(unknown) == len(nodes)
        reason = "this is not an image network: nothing in it can be lowered" if alone else ""
        raise UnsupportedOperatorError(unknown[0].op, unknown[0].name, model.opset, reason)


def emit(model: Model) -> tvm.IRModule:
    """The graph as one Relax function `main` of tensor-expression calls."""
    check(model)
    e = Emitter(model)
    inputs = [relax.Var(f"input_{i}", relax.TensorType(spec.shape, spec.dtype)) for i, spec in enumerate(model.inputs)]
    for var, spec in zip(inputs, model.inputs, strict=True):
        e.values[spec.name] = Placed(var=var, shape=spec.shape, dtype=spec.dtype)
    with e.builder.function("main", inputs):
        with e.builder.dataflow():
            for proto in model.proto.graph.node:
                node = read(proto)
                OPERATORS[node.op](e, node)
            bound = e.builder.emit_output(relax.Tuple(e.separate([spec.name for spec in model.outputs])))
        e.builder.emit_func_output(bound)
    return e.builder.get()


def _dump(folder: Path | None, number: int, name: str, module: tvm.IRModule) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number:02d}-{name}.py").write_text(module.script(show_meta=False))
