"""What each operator does to channels: which are free, exactness when they go, and a near miss for each guard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from edgevision import ingest
from edgevision.errors import InputError
from edgevision.rewrite.prune.channels import Channels, analyse
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.prune.remove import FrozenChannelError, remove
from tests.rewrite.nets import Net
from tests.rewrite.prune.oracle import EXACT, check_shapes, error

Middle = Callable[[Net, str], str]
CHANNELS, SIDE = 8, 6


def between(middle: Middle) -> tuple[Network, Channels]:
    """A convolution that makes 8 channels, ``middle`` on [1, 8, 6, 6], a 1x1 convolution of what comes, one output."""
    net = Net(dtype=np.float32)
    y = middle(net, net.conv(net.input([1, 3, SIDE, SIDE]), 3, CHANNELS, 3, bias=True, pads=[1] * 4))
    channels = onnx.shape_inference.infer_shapes(net.model(y)).graph.output[0].type.tensor_type.shape.dim[1].dim_value
    network = Network(ingest.read(net.model(net.conv(y, channels, 2, 1)), simplify=False).proto)
    return network, analyse(network)


def free(channels: Channels) -> set[int]:
    """Classes of the first layer that may go."""
    return set(channels.classes(channels.layers[0].ids).tolist()) - channels.frozen.keys()


def _computed_weight(net: Net, x: str) -> str:
    weight = net.node("Relu", net.input([8, 8, 1, 1], "w"))
    return net.node("Conv", x, weight)


def _slice(net: Net, x: str, start: int, end: int, step: int = 1) -> str:
    return net.node("Slice", x, *(net.constant([value]) for value in (start, end, 1, step)))


def _slice_image_too(net: Net, x: str, step: int) -> str:
    return net.node("Slice", x, *(net.constant(v) for v in ([0, 1], [8, 5], [1, 2], [step, 1])))


def _two(net: Net, op: str, x: str) -> str:
    other = net.conv("x", 3, CHANNELS, 1, bias=True)
    return net.node(op, x, net.node("Relu", other))


def _flat(net: Net, x: str) -> str:
    y = net.node("Gemm", net.node("Flatten", x), net.normal(6, CHANNELS * SIDE * SIDE), net.normal(6), transB=1)
    return net.node("Reshape", y, net.constant([1, 6, 1, 1]))


def _shuffle(net: Net, x: str, groups: int = 2) -> str:
    """The Softmax of rows keeps it apart from the convolution behind, whose weights would take it up."""
    y = net.node("Reshape", x, net.constant([1, groups, CHANNELS // groups, SIDE, SIDE]))
    y = net.node("Reshape", net.node("Transpose", y, perm=[0, 2, 1, 3, 4]), net.constant([1, 8, SIDE, SIDE]))
    return net.node("Softmax", y, axis=2)


def _pad_channels(net: Net, x: str, mode: str) -> str:
    return net.node("Pad", x, net.constant([0, 1, 1, 0, 0, 2, 0, 0]), mode=mode)


def _resize(net: Net, x: str) -> str:
    return net.node("Resize", x, "", net.constant(np.array([1, 1, 2, 2], np.float32)), mode="linear")


def _resize_channels(net: Net, x: str) -> str:
    return net.node("Resize", x, "", net.constant(np.array([1, 2, 1, 1], np.float32)), mode="nearest")


def _reordered(net: Net, x: str, split: list[int], order: list[int]) -> str:
    """Reshape, Transpose, Reshape back to [1, 8, 6, 6]: eight channels of 36 pixels in another order."""
    mixed = net.node("Transpose", net.node("Reshape", x, net.constant(split)), perm=order)
    return net.node("Reshape", mixed, net.constant([1, 8, 6, 6]))


FOLLOWED: dict[str, Middle] = {
    "BatchNormalization": lambda net, x: net.norm(net.node("Relu", x), CHANNELS),
    "InstanceNormalization": lambda net, x: net.node("InstanceNormalization", x, net.normal(8), net.normal(8)),
    "PRelu": lambda net, x: net.node("PRelu", x, net.normal(8, 1, 1)),
    "PRelu of one slope": lambda net, x: net.node("PRelu", x, net.normal(1)),
    "constant map": lambda net, x: net.node("Add", net.node("Relu", x), net.normal(1, 8, SIDE, SIDE)),
    "depthwise": lambda net, x: net.conv(x, 8, 8, 3, group=8, bias=True),
    "depthwise with multiplier": lambda net, x: net.conv(x, 8, 24, 3, group=8),
    "ConvTranspose": lambda net, x: net.node("ConvTranspose", x, net.normal(8, 4, 2, 2), net.normal(4), strides=[2, 2]),
    "depthwise ConvTranspose": lambda net, x: net.node("ConvTranspose", x, net.normal(8, 2, 2, 2), group=8),
    "MatMul": lambda net, x: net.node(
        "Transpose", net.node("MatMul", net.node("Transpose", x, perm=[0, 3, 2, 1]), net.normal(8, 4)), perm=[0, 3, 2, 1]
    ),
    "Flatten and Gemm": _flat,
    "Add": lambda net, x: _two(net, "Add", x),
    "Where": lambda net, x: net.node("Where", net.node("Greater", x, net.constant(0.1)), x, net.normal(8, 1, 1)),
    "a mask of one channel": lambda net, x: net.node("Mul", x, net.conv("x", 3, 1, 1)),
    "Concat": lambda net, x: net.node("Concat", x, "x", x, axis=1),
    "Concat of rows": lambda net, x: net.node("Concat", x, net.node("Relu", x), axis=2),
    "Split": lambda net, x: net.node("Concat", *reversed(net.node("Split", x, outputs=2, axis=1)), axis=1),
    "Slice": lambda net, x: _slice(net, x, 1, 7),
    "Slice in steps": lambda net, x: _slice(net, x, 0, 8, 3),
    "Slice of image and channels": lambda net, x: _slice_image_too(net, x, 1),
    "Gather": lambda net, x: net.node("Gather", x, net.constant([5, 0, 2, 2]), axis=1),
    "Concat with a constant": lambda net, x: net.node("Concat", x, net.normal(1, 4, SIDE, SIDE), axis=1),
    "Add of a Concat with a constant": lambda net, x: net.node(
        "Add", net.node("Concat", x, net.normal(1, 4, SIDE, SIDE), axis=1), net.conv("x", 3, CHANNELS + 4, 1)
    ),
    "Gather of rows": lambda net, x: net.node("Gather", x, net.constant([5, 0]), axis=2),
    "shuffle": _shuffle,
    "Pad of channels": lambda net, x: _pad_channels(net, x, "constant"),
    "Tile": lambda net, x: net.node("Tile", x, net.constant([1, 2, 1, 1])),
    "DepthToSpace": lambda net, x: net.node("DepthToSpace", x, blocksize=2, mode="DCR"),
    "DepthToSpace CRD": lambda net, x: net.node("DepthToSpace", x, blocksize=2, mode="CRD"),
    "SpaceToDepth": lambda net, x: net.node("SpaceToDepth", x, blocksize=2),
    "Resize": _resize,
    "MaxPool": lambda net, x: net.node("MaxPool", x, kernel_shape=[2, 2]),
    "ReduceMax of rows": lambda net, x: net.node("ReduceMax", x, axes=[2], keepdims=1),
    "Softmax of rows": lambda net, x: net.node("Softmax", x, axis=2),
}
FROZEN: dict[str, tuple[Middle, str]] = {
    "computed weights": (_computed_weight, "computed weights"),
    "Softmax of channels": (lambda net, x: net.node("Softmax", x, axis=1), "compares them"),
    "mean of channels": (lambda net, x: net.node("Add", x, net.node("ReduceMean", x, axes=[1])), "reduces over them"),
    "LRN": (lambda net, x: net.node("LRN", x, size=3), "normalises across them"),
    "Slice of image, channels in steps": (lambda net, x: _slice_image_too(net, x, 2), "in steps and cuts other axes"),
    "Pad that repeats channels": (lambda net, x: _pad_channels(net, x, "reflect"), "repeats channels"),
    "Resize of channels": (_resize_channels, "between channels"),
    "Reshape over two axes": (
        lambda net, x: net.node("Reshape", net.node("Softplus", net.node("Reshape", x, net.constant([1, 4, 2, 36]))),
                                net.constant([1, 8, 6, 6])), "over several axes"),  # fmt: skip
    "a shuffle that turns the image too": (lambda net, x: _reordered(net, x, [1, 2, 4, 6, 6], [0, 2, 1, 4, 3]), "over several"),
    "a pixel shuffle in no order": (lambda net, x: _reordered(net, x, [1, 2, 2, 2, 6, 6], [0, 2, 4, 1, 5, 3]), "several axes"),
    "an unknown operator": (lambda net, x: net.node("Einsum", x, equation="nchw->nchw"), "is not followed"),
}


@pytest.mark.parametrize("middle", FOLLOWED.values(), ids=FOLLOWED)
def test_channels_are_followed_and_go_exactly(middle: Middle) -> None:
    network, channels = between(middle)
    candidates = sorted(free(channels))
    assert candidates
    removed = candidates[1:-1:2] or candidates[:1]
    pruned = remove(network, channels, removed)
    check_shapes(pruned)
    assert error(pruned, network, channels, removed) <= EXACT
    assert sum(np.prod(t.dims) for t in pruned.graph.initializer) < sum(
        np.prod(t.dims) for t in network.proto.graph.initializer
    )


@pytest.mark.parametrize(("middle", "reason"), FROZEN.values(), ids=FROZEN)
def test_channels_that_cannot_be_followed_stay_and_say_why(middle: Middle, reason: str) -> None:
    _, channels = between(middle)
    assert not free(channels)
    assert reason in channels.frozen[int(channels.classes(channels.layers[0].ids)[0])]


def test_an_unknown_operator_is_named() -> None:
    assert between(FROZEN["an unknown operator"][0])[1].unknown == ("Einsum",)


def test_what_add_unites_is_one() -> None:
    _, channels = between(FOLLOWED["Add"])
    first, second = channels.layers[:2]
    assert channels.classes(first.ids).tolist() == channels.classes(second.ids).tolist()


def test_what_concat_joins_is_not() -> None:
    def two(net: Net, x: str) -> str:
        return net.node("Concat", x, net.conv("x", 3, CHANNELS, 1), axis=1)

    _, channels = between(two)
    first, second = channels.layers[:2]
    assert not set(channels.classes(first.ids).tolist()) & set(channels.classes(second.ids).tolist())


def test_a_shuffle_stays_a_shuffle_when_the_survivors_form_one() -> None:
    network, channels = between(_shuffle)
    ids = channels.layers[0].ids

    def ops(*gone: int) -> set[str]:
        return {node.op_type for node in remove(network, channels, channels.classes(ids[list(gone)]).tolist()).graph.node}

    assert "ChannelShuffle" in ops(1, 5) and "Gather" not in ops(1, 5)
    assert "Gather" in ops(1, 6) and "ChannelShuffle" not in ops(1, 6)
    assert "Gather" in ops(1)


def test_blocks_must_keep_equal_counts() -> None:
    network, channels = between(lambda net, x: net.conv(x, 8, 8, 1, group=2))
    ids = channels.layers[0].ids
    balanced = channels.classes(ids[[0, 5]]).tolist()
    assert error(remove(network, channels, balanced), network, channels, balanced) <= EXACT
    with pytest.raises(InputError, match=r"\[3, 4\]"):
        remove(network, channels, channels.classes(ids[[0]]).tolist())


def test_a_tensor_keeps_a_channel() -> None:
    network, channels = between(lambda net, x: _slice(net, x, 0, 2))
    with pytest.raises(InputError, match="no channel of tensor"):
        remove(network, channels, channels.classes(channels.layers[0].ids[:2]).tolist())


def test_outputs_and_inputs_stay() -> None:
    network, channels = between(FOLLOWED["MaxPool"])
    assert set(channels.classes(channels.layers[-1].ids).tolist()) <= channels.frozen.keys()
    with pytest.raises(FrozenChannelError, match="output"):
        remove(network, channels, [int(channels.classes(channels.layers[-1].ids)[0])])


def test_weights_that_two_nodes_share_are_cut_for_each() -> None:
    net = Net(dtype=np.float32)
    x = net.conv(net.input([1, 3, SIDE, SIDE]), 3, 8, 1, bias=True)
    y = net.conv("x", 3, 8, 1, bias=True)
    weight = net.normal(2, 8, 1, 1)
    proto = net.model(net.conv(x, 8, 2, weight=weight), net.conv(y, 8, 2, weight=weight))
    network = Network(ingest.read(proto, simplify=False).proto)
    channels = analyse(network)
    removed = channels.classes(channels.layers[0].ids[:3]).tolist()
    pruned = remove(network, channels, removed)
    check_shapes(pruned)
    assert error(pruned, network, channels, removed) <= EXACT
