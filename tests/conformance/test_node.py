"""The node tests of the onnx package: one operator each, every attribute, every type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgevision.lower.operators import OPERATORS
from tests import executor
from tests.conformance.cases import Case, node_cases
from tests.conformance.checks import check, parameters
from tests.conformance.unsupported import why_unsupported

# onnxruntime, which artifacts are verified against, and PyTorch scale by the whole output extent; the node tests by the
# fractional one, scale * extent.
AS_ONNXRUNTIME = (
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
)
# Operators that no node test runs, tested in tests/lower.
WITHOUT_NODE_TEST = frozenset({"GlobalLpPool", "Swish"})


WHOLE = [case for case in node_cases() if "_expanded" not in case.name]


@pytest.mark.parametrize("case", parameters(WHOLE))
def test_node(case: Case, record_property: Callable[[str, object], None]) -> None:
    if case.name in AS_ONNXRUNTIME:
        found, wanted = executor.run(case.model, case.inputs), executor.onnxruntime_outputs(case.model, case.inputs)
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-6)
        assert np.abs(found[0] - case.outputs[0]).max() > 0.1
    else:
        check(case, record_property)


def test_every_operator_passes_a_node_test() -> None:
    supported = [case for case in node_cases() if not why_unsupported(case)]
    passing = {node.op_type for case in supported for node in case.model.graph.node}
    assert {op for op in OPERATORS if "::" not in op} - passing == WITHOUT_NODE_TEST
