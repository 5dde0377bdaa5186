"""The node tests of the onnx package on the OpenCL device."""

from __future__ import annotations

import pytest

from tests.conformance.cases import Case, node_cases
from tests.conformance.checks import assert_agrees
from tests.conformance.test_node import AS_ONNXRUNTIME
from tests.conformance.unsupported import why_unsupported
from tests.opencl import device

QUICK = frozenset({
    "test_averagepool_2d_ceil", "test_cumsum_2d_axis_1", "test_gather_elements_1", "test_isnan",
    "test_maxpool_with_argmax_2d_precomputed_pads", "test_not_2d", "test_scatternd_add", "test_top_k", "test_where_long_example",
    "test_xor_bcast4v3d",
})  # fmt: skip

CASES = [
    pytest.param(case, id=case.name, marks=() if case.name in QUICK else pytest.mark.large)
    for case in node_cases()
    if "_expanded" not in case.name and case.name not in AS_ONNXRUNTIME and not why_unsupported(case)
]


@pytest.mark.parametrize("case", CASES)
def test_node(case: Case, pocl: None) -> None:
    assert_agrees(device.run(case.model, case.inputs), case)


def test_the_quick_ones_exist() -> None:
    names = {parameter.id for parameter in CASES}
    assert names >= QUICK
