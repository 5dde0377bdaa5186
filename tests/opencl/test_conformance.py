"""The tests of the onnx package on the OpenCL device: of every operator one in the default set, all of them in the large one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.conformance.cases import Case, exported_cases, node_cases, weighted_cases
from tests.conformance.checks import assert_agrees
from tests.conformance.test_node import AS_ONNXRUNTIME
from tests.conformance.unsupported import why_unsupported
from tests.opencl import device

QUICK = frozenset({
    "test_attention_3d_with_past_and_present", "test_averagepool_2d_ceil", "test_cumsum_2d_axis_1", "test_gather_elements_1",
    "test_maxpool_with_argmax_2d_precomputed_pads", "test_mod_mixed_sign_int8", "test_not_2d", "test_scatternd_add",
    "test_softplus_example", "test_top_k", "test_where_long_example", "test_xor_bcast4v3d",
})  # fmt: skip
"""What once failed, and the longest way through the schedules, beside the first case of each operator."""

NODES = [c for c in node_cases() if "_expanded" not in c.name and c.name not in AS_ONNXRUNTIME and not why_unsupported(c)]


def quick() -> frozenset[str]:
    first: dict[str, str] = {}
    for case in NODES:
        first.setdefault(case.model.graph.node[0].op_type, case.name)
    return QUICK | frozenset(first.values())


def parameters(cases: Sequence[Case], fast: frozenset[str]) -> Iterator[object]:
    for case in cases:
        yield pytest.param(case, id=case.name, marks=() if case.name in fast else pytest.mark.large)


@pytest.mark.parametrize("case", parameters(NODES, quick()))
def test_node(case: Case, pocl: None) -> None:
    assert_agrees(device.run(case.model, case.inputs), case)


@pytest.mark.large
@pytest.mark.parametrize("case", parameters([c for c in weighted_cases() if not why_unsupported(c)], frozenset()))
def test_with_constants(case: Case, pocl: None) -> None:
    assert_agrees(device.run(case.model, case.inputs), case)


@pytest.mark.large
@pytest.mark.parametrize("case", parameters([c for c in exported_cases() if not why_unsupported(c)], frozenset()))
def test_exported(case: Case, pocl: None) -> None:
    assert_agrees(device.run(case.model, case.inputs), case)


def test_the_quick_ones_exist() -> None:
    assert {case.name for case in NODES} >= QUICK
