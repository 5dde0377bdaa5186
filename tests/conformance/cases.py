"""The ONNX backend tests as cases for this compiler: models that others wrote, with inputs and expected outputs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, version_converter
from onnx.backend.test import loader

from edgevision.ingest.admission import NEWEST_OPSET, OLDEST_OPSET
from edgevision.ingest.spelling.moved import MOVED

# What a model file holds as constants and a node test hands over as inputs: shapes, axes, bounds, counts.
NEEDS_CONSTANTS = {op: frozenset(inputs) for op, inputs in MOVED.items() if op != "Clip"} | {
    "AffineGrid": frozenset({1}),
    "CenterCropPad": frozenset({1}),
    "ConstantOfShape": frozenset({0}),
    "Dropout": frozenset({1, 2}),
    "MelWeightMatrix": frozenset(range(5)),
    "Range": frozenset({0, 1, 2}),
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow"), frozenset({0})),
}
# Operators whose other inputs are weights or tables in most models. As inputs they take other paths than as constants.
TAKES_WEIGHTS = frozenset({
    "Add", "And", "BatchNormalization", "BitShift", "BitwiseAnd", "Conv", "ConvTranspose", "Div", "Equal", "Gather",
    "GatherElements", "GatherND", "Gemm", "Greater", "GridSample", "GroupNormalization", "InstanceNormalization",
    "LayerNormalization", "Less", "MatMul", "Max", "Min", "Mod", "Mul", "OneHot", "Or", "PRelu", "Pow",
    "RMSNormalization", "ScatterElements", "ScatterND", "Sub", "Where", "Xor",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``model`` on ``inputs`` gives ``outputs`` within |a - b| <= atol + rtol |b|."""

    name: str
    model: onnx.ModelProto
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    rtol: float
    atol: float

    def __str__(self) -> str:
        return self.name


@cache
def node_cases() -> tuple[Case, ...]:
    """One operator each, shapes and the like constant, everything else an input."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # divisions by zero that are part of the tests
        generated = collect_testcases(None)
    frozen = {test.name: set(_constants_needed(test.model)) for test in generated}
    return tuple(_from_node_test(test, frozen[test.name] | frozen.get(_base(test.name), set())) for test in generated)


@cache
def weighted_cases() -> tuple[Case, ...]:
    """The node tests of TAKES_WEIGHTS with every input but the first constant."""
    found = []
    for case in node_cases():
        (node, *more), graph = case.model.graph.node, case.model.graph
        if more or node.op_type not in TAKES_WEIGHTS or len(graph.input) < 2:
            continue
        names = {value.name for value in graph.input[1:]}
        if graph.input[0].name == node.input[0] and all(isinstance(v, np.ndarray) for v in case.inputs):
            found.append(_frozen(case, names))
    return tuple(found)


@cache
def exported_cases() -> tuple[Case, ...]:
    """Small models that PyTorch exported."""
    tests = [
        test
        for kind in ("simple", "pytorch-operator", "pytorch-converted")
        for test in loader.load_model_tests(kind=kind)
    ]
    return tuple(_from_folder(test.name, Path(test.model_dir), test.rtol, test.atol) for test in tests)


def _base(name: str) -> str:
    """The test whose operator this one spells out."""
    return name.partition("_expanded")[0]


def _from_node_test(test: Any, constants: set[str]) -> Case:
    inputs, outputs = test.data_sets[0]
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    _set_opset(model)
    case = Case(
        name=test.name, model=model, inputs=tuple(map(_array, inputs)), outputs=tuple(map(_array, outputs)),
        rtol=test.rtol, atol=test.atol,
    )  # fmt: skip
    return _frozen(case, constants)


def _constants_needed(model: onnx.ModelProto) -> Iterator[str]:
    for node in model.graph.node:
        for index in NEEDS_CONSTANTS.get(node.op_type, ()):
            if index < len(node.input) and node.input[index]:
                yield node.input[index]


def _frozen(case: Case, names: set[str]) -> Case:
    """The case with these graph inputs as initializers."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    given = dict(zip([value.name for value in model.graph.input], case.inputs, strict=True))
    model.ir_version = max(model.ir_version, 4)  # until then an initializer had to be an input too
    kept = [value for value in model.graph.input if value.name not in names]
    model.graph.initializer.extend(numpy_helper.from_array(given[n], n) for n in given if n in names)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return Case(
        name=case.name, model=model, inputs=tuple(given[value.name] for value in kept), outputs=case.outputs,
        rtol=case.rtol, atol=case.atol,
    )  # fmt: skip


def _set_opset(model: onnx.ModelProto) -> None:
    """Operators that changed after the newest opset read here are tried as what they were in it.

    The oldest tests are raised to the oldest opset: what they use has not changed between the two.
    """
    for entry in model.opset_import:
        if entry.domain == "":
            entry.version = min(max(entry.version, OLDEST_OPSET), NEWEST_OPSET)


def _from_folder(name: str, folder: Path, rtol: float, atol: float) -> Case:
    model = onnx.load(folder / "model.onnx")
    if model.opset_import and 0 < model.opset_import[0].version < OLDEST_OPSET:
        model = version_converter.convert_version(model, OLDEST_OPSET)
    inputs, outputs = (_tensors(folder / "test_data_set_0", kind) for kind in ("input", "output"))
    return Case(name=name, model=model, inputs=inputs, outputs=outputs, rtol=rtol, atol=atol)


def _tensors(folder: Path, kind: str) -> tuple[np.ndarray, ...]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    files = (folder / f"{kind}_{i}.pb" for i in range(count))
    return tuple(numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes())) for file in files)


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
