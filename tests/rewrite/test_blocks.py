"""The published blocks, small and in float64: what comes out, and that it computes the same to 1e-12 everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgevision.rewrite.reparam import CostModel, reparameterize
from tests.rewrite.nets import EAGER, EXACT, FRUGAL, Net, feeds_of, ops, rewritten, said

DEFAULT = CostModel()


def kernels(proto: onnx.ModelProto) -> list[tuple[int, ...]]:
    """Kernel sizes of the convolutions, sorted."""
    return sorted(
        tuple(helper.get_attribute_value(a))
        for node in proto.graph.node if node.op_type in ("Conv", "ConvTranspose")
        for a in node.attribute if a.name == "kernel_shape"
    )  # fmt: skip


def conv_bn(net: Net, x: str, inputs: int, outputs: int, kernel: int | tuple[int, int], **more: object) -> str:
    sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
    pads = [k // 2 for k in sizes] * 2
    return net.norm(net.conv(x, inputs, outputs, kernel, pads=pads, **more), outputs)  # type: ignore[arg-type]


def repvgg(net: Net, x: str, channels: int = 6) -> str:
    y = net.node("Add", conv_bn(net, x, channels, channels, 3), conv_bn(net, x, channels, channels, 1))
    return net.node("Relu", net.node("Add", y, net.norm(x, channels)))


@pytest.mark.parametrize("shape", [[1, 6, 9, 8], ["n", 6, "h", "w"]], ids=["static", "open"])
def test_repvgg_is_one_convolution(shape: list[int | str]) -> None:
    net = Net()
    y = repvgg(net, repvgg(net, net.input(shape)))
    result = rewritten(net.model(y), DEFAULT, n=2, h=7, w=5)
    assert ops(result.proto) == {"Conv": 2, "Relu": 2}
    assert kernels(result.proto) == [(3, 3), (3, 3)]


def test_mobileone_with_four_branches_a_scale_and_a_bare_norm_is_one_depthwise_convolution() -> None:
    net = Net()
    x = net.input([1, 8, 10, 10])
    total = net.norm(x, 8)
    total = net.node("Add", conv_bn(net, x, 8, 8, 1, group=8), total)
    for _ in range(4):
        total = net.node("Add", total, conv_bn(net, x, 8, 8, 3, group=8))
    zero = net.node("Add", total, net.constant(np.zeros((1, 8, 1, 1))))
    result = rewritten(net.model(net.node("Relu", zero)), DEFAULT)
    assert ops(result.proto) == {"Conv": 1, "Relu": 1}
    assert helper.get_attribute_value(next(a for a in result.proto.graph.node[0].attribute if a.name == "group")) == 8


def test_acnet_is_one_convolution() -> None:
    net = Net()
    x = net.input([1, 4, 8, 8])
    parts = [conv_bn(net, x, 4, 4, kernel, strides=[2, 2]) for kernel in ((3, 3), (1, 3), (3, 1))]
    result = rewritten(net.model(net.node("Sum", *parts)), DEFAULT)
    assert ops(result.proto) == {"Conv": 1}


def test_diverse_branch_block_is_one_convolution() -> None:
    """1x1, 1x1-3x3 with the padding in the 1x1, 1x1-average pool likewise, 3x3: Ding et al., CVPR 2021."""
    net = Net()
    x = net.input([1, 4, 9, 9])
    padded = {"pads": [1, 1, 1, 1]}
    first = net.norm(net.conv(x, 4, 4, 1, **padded), 4)
    chain = net.norm(net.conv(first, 4, 4, 3), 4)
    pooled = net.norm(net.conv(x, 4, 4, 1, **padded), 4)
    pooled = net.norm(net.node("AveragePool", pooled, kernel_shape=[3, 3]), 4)
    y = net.node("Sum", conv_bn(net, x, 4, 4, 3), conv_bn(net, x, 4, 4, 1), chain, pooled)
    assert ops(rewritten(net.model(y), DEFAULT).proto) == {"Conv": 1}


def test_a_norm_behind_a_norm_is_one_affine_in_the_convolution() -> None:
    net = Net()
    x = net.input([1, 4, 6, 6])
    y = net.norm(net.norm(conv_bn(net, x, 4, 4, 3, group=4), 4), 4)
    assert ops(rewritten(net.model(y), DEFAULT).proto) == {"Conv": 1}


def test_a_norm_spelled_as_arithmetic_goes_into_the_convolution() -> None:
    net = Net()
    y = net.conv(net.input([1, 3, 6, 6]), 3, 5, 3)
    column = (5, 1, 1)
    variance = net.node("Sqrt", net.node("Add", net.constant(net.random.uniform(1, 2, column)), net.constant(1e-5)))
    y = net.node("Div", net.node("Sub", y, net.normal(*column)), variance)
    y = net.node("Add", net.node("Mul", net.normal(*column), y), net.normal(*column))
    assert ops(rewritten(net.model(net.node("Relu", y)), DEFAULT).proto) == {"Conv": 1, "Relu": 1}


@pytest.mark.parametrize("size", [7, 12])
def test_replknet_folds_its_small_kernel(size: int) -> None:
    """Large 13 and small 5; on 7 pixels 13 = 2 * 7 - 1 just fits."""
    net = Net()
    x = net.input([1, 4, size, size])
    y = net.node("Add", conv_bn(net, x, 4, 4, 13, group=4), conv_bn(net, x, 4, 4, 5, group=4))
    assert kernels(rewritten(net.model(y), FRUGAL).proto) == [(13, 13)]


def slak(size: int, kernel: int) -> onnx.ModelProto:
    net = Net()
    x = net.input([1, 2, size, size])
    parts = [conv_bn(net, x, 2, 2, k, group=2) for k in ((kernel, 5), (5, kernel), (5, 5))]
    return net.model(net.node("Add", net.node("Add", parts[0], parts[1]), parts[2]))


def test_slak_keeps_its_strips_apart_and_folds_the_small_kernel() -> None:
    """535 taps become 510; one 51 x 51 kernel would have 2601."""
    result = rewritten(slak(56, 51), CostModel())
    assert kernels(result.proto) == [(5, 51), (51, 5)]
    (declined,) = [each for each in result.declined if "stay apart" in each.reason]
    assert declined.kept_us is not None
    assert declined.merged_us is not None
    assert declined.kept_us < declined.merged_us


def test_slak_crops_what_never_reads_the_input() -> None:
    """47 x 5 on 14 pixels: 27 x 5, so 235 taps become 135."""
    assert kernels(rewritten(slak(14, 47), FRUGAL).proto) == [(5, 27), (27, 5)]


def test_zero_rims_are_dropped() -> None:
    net = Net()
    weight = net.random.standard_normal((4, 4, 5, 5))
    weight[:, :, 0] = weight[:, :, :, 4] = weight[:, :, :, 3] = 0
    y = net.conv(net.input([1, 4, 9, 9]), 4, 4, 5, weight=net.constant(weight), pads=[2, 2, 2, 2])
    result = rewritten(net.model(y), DEFAULT)
    assert kernels(result.proto) == [(4, 3)]


@pytest.mark.parametrize(("size", "convolutions"), [((8, 6), 1), ((8, 7), 2), ((7, 8), 2)])
def test_parnet_downsampling_merges_for_even_extents(size: tuple[int, int], convolutions: int) -> None:
    net = Net()
    x = net.input([1, 4, *size])
    dense = conv_bn(net, x, 4, 6, 3, strides=[2, 2])
    pooled = net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    if convolutions == 1:
        y = net.node("Add", dense, conv_bn(net, pooled, 4, 6, 1))
        assert ops(rewritten(net.model(y), DEFAULT).proto) == {"Conv": 1}
    else:
        narrow = net.node("Slice", dense, net.constant([0, 0]), net.constant([size[0] // 2, size[1] // 2]),
                          net.constant([2, 3]))  # fmt: skip
        y = net.node("Add", narrow, conv_bn(net, pooled, 4, 6, 1))
        assert ops(rewritten(net.model(y), EAGER).proto)["Conv"] == 2


def test_parnet_gate_takes_its_side_of_the_norm() -> None:
    net = Net()
    x = net.input([1, 16, 12, 12])
    skip = net.norm(x, 16)
    gate = net.node("Sigmoid", net.conv(net.node("GlobalAveragePool", skip), 16, 16, 1))
    y = net.node("Add", conv_bn(net, x, 16, 16, 3), net.node("Mul", skip, gate))
    result = rewritten(net.model(y), DEFAULT)
    assert ops(result.proto) == {"Mul": 2, "Add": 2, "GlobalAveragePool": 1, "Conv": 2, "Sigmoid": 1}


def test_norms_before_a_shuffle_and_a_padded_convolution_become_a_bias_map() -> None:
    net = Net()
    streams = [net.norm(net.input([1, 8, 10, 10], name), 8) for name in ("x", "y")]
    both = net.node("Concat", *streams, axis=1)
    split = net.node("Reshape", both, net.constant([1, 2, 8, 10, 10]))
    mixed = net.node("Reshape", net.node("Transpose", split, perm=[0, 2, 1, 3, 4]), net.constant([1, 16, 10, 10]))
    y = conv_bn(net, mixed, 16, 8, 3, group=2)
    result = rewritten(net.model(y), EAGER)
    counts = ops(result.proto)
    assert "BatchNormalization" not in counts
    assert (counts["Conv"], counts["Add"]) == (1, 1)
    assert [8, 10, 10] in [list(t.dims[1:]) for t in result.proto.graph.initializer]


def test_a_chain_of_pointwise_and_spatial_convolutions_is_one_where_that_pays() -> None:
    net = Net()
    x = net.input([1, 4, 9, 9])
    y = net.conv(net.conv(x, 4, 4, 1), 4, 4, 3, pads=[1, 1, 1, 1], bias=True)
    z = net.conv(net.conv(x, 4, 4, 3, pads=[1, 1, 1, 1], bias=True), 4, 4, 1, bias=True)
    assert ops(rewritten(net.model(y, z), DEFAULT).proto) == {"Conv": 2}


def test_a_bottleneck_stays() -> None:
    """64 -> 4 -> 64: one dense convolution would multiply eight times as much."""
    net = Net()
    y = net.conv(net.conv(net.input([1, 64, 16, 16]), 64, 4, 1), 4, 64, 1)
    result = rewritten(net.model(y), FRUGAL)
    assert not result.changed
    assert "it costs more" in said(result)


def test_an_unpadded_pool_goes_before_a_pointwise_convolution() -> None:
    net = Net()
    y = net.node("AveragePool", net.conv(net.input([1, 8, 8, 8]), 8, 16, 1, bias=True), kernel_shape=[2, 2], strides=[2, 2])
    result = rewritten(net.model(y), FRUGAL)
    assert [node.op_type for node in result.proto.graph.node] == ["AveragePool", "Conv"]


def test_a_pointwise_convolution_moves_behind_a_global_pool_and_into_the_classifier() -> None:
    net = Net()
    y = net.conv(net.input([1, 8, 8, 8]), 8, 16, 1, bias=True)
    flat = net.node("Flatten", net.node("GlobalAveragePool", y))
    y = net.node("Gemm", flat, net.normal(5, 16), net.normal(5), transB=1)
    assert ops(rewritten(net.model(y), DEFAULT).proto) == {"GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}


def test_layer_scale_behind_a_transpose_goes_into_the_matrix() -> None:
    net = Net()
    x = net.node("Transpose", net.input([1, 4, 6, 5]), perm=[0, 2, 3, 1])
    y = net.node("Add", net.node("MatMul", net.node("Erf", x), net.normal(4, 8)), net.normal(8))
    y = net.node("Mul", net.node("Transpose", y, perm=[0, 3, 1, 2]), net.normal(8, 1, 1))
    assert ops(rewritten(net.model(y), DEFAULT).proto) == {"Transpose": 2, "Erf": 1, "MatMul": 1, "Add": 1}


def conv_transpose_and_norm(group: int, dtype: type[np.floating[Any]] = np.float64) -> onnx.ModelProto:
    net = Net(dtype=dtype)
    x = net.node("Mul", net.input([1, 4, 5, 5]), net.normal(4, 1, 1))
    y = net.node("ConvTranspose", x, net.normal(4, 3, 3, 3), net.normal(3 * group), strides=[2, 2], group=group,
                 pads=[1, 0, 1, 1], output_padding=[1, 1])  # fmt: skip
    return net.model(net.norm(y, 3 * group))


def test_conv_transpose_takes_the_norm_behind_it_and_the_factor_before_it() -> None:
    assert ops(rewritten(conv_transpose_and_norm(1), DEFAULT).proto) == {"ConvTranspose": 1}


def test_conv_transpose_with_groups_does_too() -> None:
    """onnx.reference knows no such groups: onnxruntime is the oracle, in float32."""
    proto = conv_transpose_and_norm(2, np.float32)
    result = reparameterize(proto)
    assert ops(result.proto) == {"ConvTranspose": 1}
    assert result.certificate is not None
    assert result.certificate.error64 <= EXACT
    feeds = feeds_of(proto)
    a, b = (onnxruntime.InferenceSession(m.SerializeToString()).run(None, feeds)[0] for m in (proto, result.proto))
    np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * np.abs(a).max())


def test_equal_conv_transposes_of_one_input_are_one() -> None:
    net = Net()
    x = net.input([1, 4, 5, 5])
    parts = [net.node("ConvTranspose", x, net.normal(4, 3, 2, 2), net.normal(3), strides=[2, 2]) for _ in "ab"]
    assert ops(rewritten(net.model(net.node("Add", *parts)), DEFAULT).proto) == {"ConvTranspose": 1}


def test_a_norm_behind_a_concat_goes_into_its_branches() -> None:
    net = Net()
    x, y = net.input([1, 4, 6, 6]), net.input([1, 2, 6, 6], "y")
    both = net.node("Concat", net.conv(x, 4, 4), net.conv(y, 2, 3), axis=1)
    assert ops(rewritten(net.model(net.norm(both, 7)), DEFAULT).proto) == {"Conv": 2, "Concat": 1}


def test_a_norm_before_a_split_goes_into_what_reads_the_parts() -> None:
    net = Net()
    parts = net.node("Split", net.norm(net.input([1, 6, 7, 7]), 6), outputs=2, axis=1)
    outputs = [net.node("Relu", net.conv(part, 3, 4, 3)) for part in parts]
    assert ops(rewritten(net.model(*outputs), DEFAULT).proto) == {"Split": 1, "Conv": 2, "Relu": 2}


def test_a_norm_that_three_unpadded_convolutions_read_goes_into_all() -> None:
    net = Net()
    x = net.norm(net.input([1, 4, 7, 7]), 4)
    outputs = [net.node("Relu", net.conv(x, 4, 4, kernel)) for kernel in (1, 3, 3)]
    assert ops(rewritten(net.model(*outputs), DEFAULT).proto) == {"Conv": 3, "Relu": 3}


def test_zero_padding_goes_into_the_convolution() -> None:
    net = Net()
    y = net.conv(net.node("Pad", net.input([1, 3, 6, 6]), net.constant([0, 0, 0, 1, 0, 0, 2, 1])), 3, 4, 3, strides=[2, 2])
    assert ops(rewritten(net.model(y), DEFAULT).proto) == {"Conv": 1}


def test_dilated_kernels_merge_on_a_common_grid() -> None:
    net = Net()
    x = net.input([1, 2, 12, 12])
    y = net.node("Sum", net.conv(x, 2, 2, 3, dilations=[4, 4], pads=[4] * 4), net.conv(x, 2, 2, 5, dilations=[2, 2], pads=[4] * 4))
    result = rewritten(net.model(y), EAGER)
    assert kernels(result.proto) == [(5, 5)]


def test_what_is_added_twice_is_doubled() -> None:
    net = Net()
    x = net.conv(net.input([1, 2, 5, 5]), 2, 2)
    assert ops(rewritten(net.model(net.node("Relu", net.node("Add", x, x))), DEFAULT).proto) == {"Conv": 1, "Relu": 1}


def test_identity_dropout_and_additions_of_zero_are_taken_out() -> None:
    net = Net()
    x = net.node("Identity", net.node("Sigmoid", net.input([1, 2, 5, 5])))
    x = net.node("Add", net.node("Dropout", x), net.constant(np.zeros((1, 2, 1, 1))))
    assert ops(rewritten(net.model(net.node("Relu", x)), DEFAULT).proto) == {"Sigmoid": 1, "Relu": 1}


def test_three_dimensional_and_one_dimensional_convolutions_merge_too() -> None:
    for rank in (1, 3):
        net = Net()
        x = net.input([1, 3, *[7] * rank])
        a = net.conv(x, 3, 4, (3,) * rank, pads=[1] * 2 * rank)
        y = net.norm(net.node("Add", a, net.conv(x, 3, 4, (1,) * rank)), 4)
        assert ops(rewritten(net.model(y), DEFAULT).proto) == {"Conv": 1}


def test_weights_keep_the_type_of_the_model() -> None:
    net = Net(dtype=np.float16)
    x = net.input([1, 3, 6, 6])
    proto = net.model(conv_bn(net, x, 3, 4, 3))
    result = reparameterize(proto, prove=False)
    assert ops(result.proto) == {"Conv": 1}
    assert {numpy_helper.to_array(t).dtype.name for t in result.proto.graph.initializer} == {"float16"}
