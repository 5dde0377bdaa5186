"""A sample of the node tests in one linked library: inputs and outputs of every type, kernels of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest

from edgevision import runtime, target
from edgevision.ingest.admission import NEWEST_OPSET
from edgevision.link import package
from tests import executor
from tests.conformance.cases import Case, exported_cases, node_cases, weighted_cases
from tests.conformance.checks import assert_agrees

NODES = (
    "test_add_uint8", "test_and_bcast4v2d", "test_argmax_keepdims_random_select_last_index", "test_averagepool_3d_default",
    "test_cast_DOUBLE_to_FLOAT", "test_convtranspose_group_2", "test_cumsum_2d_axis_1", "test_div_int16",
    "test_einsum_batch_matmul", "test_gridsample_bilinear", "test_isinf", "test_maxpool_with_argmax_2d_precomputed_pads",
    "test_mod_mixed_sign_float32", "test_onehot_negative_indices", "test_resize_upsample_scales_cubic",
    "test_scatter_elements_with_reduction_max", "test_scatternd_add", "test_softmax_axis_1", "test_split_variable_parts_2d_opset18",
    "test_top_k", "test_where_long_example",
)  # fmt: skip
WEIGHTED = ("test_basic_conv_with_padding", "test_gemm_all_attributes", "test_layer_normalization_4d_axis2")
EXPORTED = ("test_Conv2d_depthwise_strided", "test_Conv3d_groups", "test_PixelShuffle")


def sample() -> list[Case]:
    named = ((NODES, node_cases()), (WEIGHTED, weighted_cases()), (EXPORTED, exported_cases()))
    return [next(case for case in cases if case.name == name) for names, cases in named for name in names]


def side_by_side(cases: Sequence[Case]) -> onnx.ModelProto:
    """One model that holds the graphs of all, names prefixed by the case's number."""
    whole = onnx.ModelProto(ir_version=10, graph=onnx.GraphProto(name="sample"))
    whole.opset_import.append(onnx.helper.make_opsetid("", NEWEST_OPSET))
    for number, case in enumerate(cases):
        graph = onnx.compose.add_prefix(case.model, f"{number}/").graph
        for field in ("node", "input", "output", "initializer"):
            getattr(whole.graph, field).extend(getattr(graph, field))
    return whole


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pieces, finished = (tmp_path_factory.mktemp(name) for name in ("pieces", "finished"))
    _, program = executor.compiled(side_by_side(sample()))
    return package.link(program, target.load("native"), pieces, finished, name="sample", bench=False).path


@pytest.mark.parametrize("threads", [1, 2])
def test_a_linked_library_passes(library: Path, threads: int) -> None:
    cases = sample()
    results = runtime.load(library, threads=threads).run(*(array for case in cases for array in case.inputs))
    for case in cases:
        own, results = results[: len(case.outputs)], results[len(case.outputs) :]
        assert_agrees(own, case)
    assert not results
