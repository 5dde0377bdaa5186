"""Find the first tensor of a graph that an artifact computes wrongly: compile once more with every tensor as an
output."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from edgevision import ingest
from edgevision import target as targets
from edgevision.artifact import Step
from edgevision.errors import EdgevisionError, VerificationError
from edgevision.latency import TensorError
from edgevision.link import package
from edgevision.lower.phases import lower
from edgevision.measure.compare import ALLOWED, compare
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import Case, Reference
from edgevision.model import Model
from edgevision.overflow import Overflow, overflow
from edgevision.program import Program
from edgevision.schedule.apply import schedule
from edgevision.schedule.gpu import half
from edgevision.tensor import TensorSpec


def explain(error: VerificationError, model: Model, reference: Reference, program: Program) -> VerificationError:
    """``error`` of the scheduled ``program`` with the first diverging tensor in the place of the output, where it can be found on
    this machine.

    The graph is compiled natively with every tensor as an output, which also switches fusion off: a fault that goes
    away with it lies in fusion or in the other target's code, and the text says so. Where that is right and ``program`` stores
    its tensors in half precision, that is what is not enough, and the step that overflows is looked for.
    """
    case = reference.cases(1)[0]
    try:
        found = first_divergence(model, case, reference)
        if found is None and program.dtype == half.HALF:
            return _of_half(error, model, reference, overflow(program, case.inputs))
    except EdgevisionError as failure:
        return VerificationError(
            error.tensor, error.error, error.allowed, error.how, f"looking closer failed: {failure}"
        )
    if found is None:
        where = "with every tensor as an output it agrees here: the fault lies in fusion or in the target's code"
        return VerificationError(error.tensor, error.error, error.allowed, error.how, where)
    return VerificationError(
        found.name, found.error, found.allowed, error.how, f"it reaches the output {error.tensor!r}"
    )


def _of_half(error: VerificationError, model: Model, reference: Reference, found: Overflow | None) -> VerificationError:
    if found is None:
        detail = "computed in float32 it agrees: half precision is too coarse for it, compile it with --dtype float32"
        return VerificationError(error.tensor, error.error, error.allowed, error.how, detail)
    name, largest = _largest_of(found.step, model, reference)
    detail = (
        f"half precision ends at {half.LARGEST:.0f} and step {found.step.name!r} ({' '.join(found.step.ops)}) goes beyond it in "
        f"{found.count} of {found.size} elements{f', up to {largest:.3g}' if name else ''}; compile it with --dtype float32, or "
        "scale the weights in front of it down"
    )
    return VerificationError(name or error.tensor, error.error, error.allowed, error.how, detail)


def _largest_of(step: Step, model: Model, reference: Reference) -> tuple[str, float]:
    """The first tensor of the graph that is beyond half precision behind an operator that went into ``step``, and how large it
    gets; ("", 0.0) where there is none: a sum inside the step may be."""
    case, specs = reference.cases(1)[0], _all_tensors(model)
    makers = {name: node.op_type.lower() for node in model.proto.graph.node for name in node.output}
    for spec, array in zip(specs, _in_onnxruntime(model, specs, case, reference), strict=True):
        largest = float(np.abs(array).max(initial=0.0)) if "float" in spec.dtype else 0.0
        if largest > half.LARGEST and makers[spec.name] in step.ops:
            return spec.name, largest
    return "", 0.0


def first_divergence(model: Model, case: Case, reference: Reference) -> TensorError | None:
    """The first tensor in the graph's order that is off, the rewritten graph in onnxruntime being the judge; the
    outputs are judged against the original. None if nothing is off."""
    specs = _all_tensors(model)
    wide = replace(model, outputs=specs)
    expected = _in_onnxruntime(model, specs, case, reference)
    actual = _in_artifact(wide, case)
    finals = dict(zip((s.name for s in model.outputs), case.expected, strict=True))
    for spec, a, e in zip(specs, actual, expected, strict=True):
        found = compare(spec.name, a, finals.get(spec.name, e), ALLOWED)
        if not found.error <= found.allowed:
            return found
    return None


def _all_tensors(model: Model) -> tuple[TensorSpec, ...]:
    """Every node's outputs, in order; a tensor that ends in one of the graph's outputs keeps its place."""
    types = {v.name: v.type.tensor_type for v in (*model.proto.graph.value_info, *model.proto.graph.output)}
    names = [name for node in model.proto.graph.node for name in node.output if name in types]
    return tuple(
        TensorSpec(
            name=name,
            shape=tuple(d.dim_value for d in types[name].shape.dim),
            dtype=str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(types[name].elem_type))),
        )
        for name in names
    )


def _in_onnxruntime(
    model: Model, specs: Sequence[TensorSpec], case: Case, reference: Reference
) -> Sequence[np.ndarray]:
    """The rewritten graph, which takes what the artifact takes."""
    proto = ingest.to_onnx(model.proto)
    types = {s.name: s for s in specs}
    del proto.graph.output[:]
    for name, spec in types.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, spec.shape))
    wide = Reference(proto.SerializeToString(), model.inputs, tuple(specs), threads=2, seed=reference.seed)
    return wide.run(case.inputs)


def _in_artifact(wide: Model, case: Case) -> Sequence[np.ndarray]:
    target = targets.load("native")
    with tempfile.TemporaryDirectory(prefix="edgevision-") as name:
        folder = Path(name)
        artifact = package.link(schedule(lower(wide), target), target, folder, folder, name="closer", bench=False)
        return LocalDevice(how="native").execute(artifact, [case.inputs])[0]
