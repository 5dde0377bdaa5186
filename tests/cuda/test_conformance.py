"""The node tests of the onnx package as CUDA kernels on the CPU, many cases in one library."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.cases import Case, node_cases
from tests.conformance.checks import assert_agrees
from tests.conformance.test_node import AS_ONNXRUNTIME
from tests.conformance.unsupported import why_unsupported
from tests.cuda import on_cpu
from tests.opencl.test_conformance import QUICK

KNOWN = {c.name: c for c in node_cases() if "_expanded" not in c.name and c.name not in AS_ONNXRUNTIME and not why_unsupported(c)}
BATCH = 40
LONG = sorted(KNOWN.keys() - QUICK)
LIBRARIES = [sorted(QUICK), *(LONG[i : i + BATCH] for i in range(0, len(LONG), BATCH))]
"""The cases of each library; the first is built by every run of the tests."""

CASES = [
    pytest.param(name, number, id=name, marks=() if number == 0 else pytest.mark.large)
    for number, names in enumerate(LIBRARIES)
    for name in names
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., object]:
    made: dict[int, object] = {}

    def get(number: int):
        if number not in made:
            prepared = {name: on_cpu.prepare(KNOWN[name].model, f"c{i}_") for i, name in enumerate(LIBRARIES[number])}
            made[number] = prepared, on_cpu.build(list(prepared.values()), tmp_path_factory.mktemp("kernels"))
        return made[number]

    return get


@pytest.mark.parametrize(("name", "number"), CASES)
def test_node(name: str, number: int, library: Callable[..., object]) -> None:
    case: Case = KNOWN[name]
    prepared, kernels = library(number)
    assert_agrees(on_cpu.run(prepared[name], kernels, case.inputs), case)
