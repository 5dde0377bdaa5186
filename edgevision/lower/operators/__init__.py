"""What can be lowered: ONNX operator -> the function that emits it. `edgevision ops` prints this table."""

from __future__ import annotations

from collections.abc import Callable

from edgevision.lower.compute.elementwise import BINARY, UNARY
from edgevision.lower.emitter import Emitter
from edgevision.lower.node import Node
from edgevision.lower.operators import (
    convolution,
    elementwise,
    indexing,
    movement,
    normalization,
    pooling,
    products,
    reduction,
    resize,
    sampling,
)  # fmt: skip

Emit = Callable[[Emitter, Node], None]

_REDUCTIONS = ("Max", "Min", "Sum", "Mean", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")

OPERATORS: dict[str, Emit] = {
    **dict.fromkeys(UNARY, elementwise.unary),
    **dict.fromkeys(BINARY, elementwise.binary),
    **{f"Reduce{kind}": reduction.reduce for kind in _REDUCTIONS},
    "Where": elementwise.where,
    "Cast": elementwise.cast,
    "Identity": elementwise.identity,
    "Conv": convolution.conv,
    "ConvTranspose": convolution.conv_transpose,
    "Gemm": products.gemm,
    "MatMul": products.matmul,
    "Einsum": products.einsum,
    "MaxPool": pooling.max_pool,
    "AveragePool": pooling.average_pool,
    "LpPool": pooling.lp_pool,
    "GlobalAveragePool": pooling.global_pool,
    "GlobalMaxPool": pooling.global_pool,
    "GlobalLpPool": pooling.global_pool,
    "BatchNormalization": normalization.batch_normalization,
    "InstanceNormalization": normalization.instance_normalization,
    "GroupNormalization": normalization.group_normalization,
    "LayerNormalization": normalization.layer_normalization,
    "edgevision::ChannelLayerNormalization": normalization.channel_layer_normalization,
    "RMSNormalization": normalization.rms_normalization,
    "LRN": normalization.local_response_normalization,
    "LpNormalization": normalization.lp_normalization,
    "Softmax": reduction.softmax,
    "LogSoftmax": reduction.softmax,
    "Hardmax": reduction.hardmax,
    "ArgMax": reduction.arg,
    "ArgMin": reduction.arg,
    "CumSum": reduction.cumulative_sum,
    "Reshape": movement.reshape,
    "Transpose": movement.transpose,
    "Concat": movement.concat,
    "Split": movement.split,
    "Slice": movement.slice_,
    "Pad": movement.pad,
    "Expand": movement.expand,
    "Tile": movement.tile,
    "Gather": indexing.gather,
    "GatherElements": indexing.gather_elements,
    "GatherND": indexing.gather_nd,
    "ScatterElements": indexing.scatter_elements,
    "ScatterND": indexing.scatter_nd,
    "TopK": indexing.top_k,
    "ReverseSequence": indexing.reverse_sequence,
    "OneHot": indexing.one_hot,
    "Trilu": indexing.trilu,
    "DepthToSpace": movement.depth_to_space,
    "SpaceToDepth": movement.space_to_depth,
    "edgevision::ChannelShuffle": movement.channel_shuffle,
    "Resize": resize.resize,
    "GridSample": sampling.grid_sample,
    "AffineGrid": sampling.affine_grid,
}
