"""Shuffles in front of convolutions go into their weights; what is left says which channels each group reads, in rising order."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from edgevision.model import Model
from tests.ingest.nets import checked, counted, fired, network, operators, random, refused

CHANNELS = 12


def shuffled(body: str, *, groups: int = 3, result: str = "float[1,12,6,6] y", more: str = "", **weights: np.ndarray) -> Model:
    """``body`` reads ``s``, the channels of ``x`` shuffled."""
    size = CHANNELS // groups
    split, whole = np.array((1, groups, size, 6, 6), np.int64), np.array((1, CHANNELS, 6, 6), np.int64)
    mixed = "a = Reshape(x, split) b = Transpose<perm = [0, 2, 1, 3, 4]>(a) s = Reshape(b, whole)"
    text = f"(float[1,12,6,6] x{more}) => ({result}) {{ {mixed} {body} }}"
    return checked(network(text, split=split, whole=whole, **weights))


def orders(model: Model) -> list[list[int]]:
    """The indices of every Gather."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.proto.graph.initializer}
    return [arrays[node.input[1]].tolist() for node in model.proto.graph.node if node.op_type == "Gather"]


DENSE = random(12, 12, 1, 1)
ABSORBED = {
    "a convolution": ("y = Conv(s, w)", {"w": DENSE}),
    "with a window": ("y = Conv<pads = [1, 1, 1, 1]>(s, w)", {"w": random(12, 12, 3, 3)}),
    "transposed": ("y = ConvTranspose(s, w)", {"w": DENSE}),
    "two": ("c = Conv(s, w) d = Conv(s, v) y = Add(c, d)", {"w": DENSE, "v": random(12, 12, 1, 1, seed=1)}),
    "an activation between": ("r = Relu(s) y = Conv(r, w)", {"w": DENSE}),
    "a pool between": ("r = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(s) y = Conv(r, w)", {"w": DENSE}),
    "a depthwise convolution between": (
        "r = Conv<pads = [1, 1, 1, 1], group = 12>(s, d, q) y = Conv(r, w)",
        {"d": random(12, 1, 3, 3), "q": random(12), "w": DENSE},
    ),
    "a constant a channel between": ("r = Add(s, c) y = Conv(r, w)", {"c": random(12, 1, 1), "w": DENSE}),
    "a constant a channel and pixel between": ("r = Mul(s, c) y = Conv(r, w)", {"c": random(1, 12, 6, 6), "w": DENSE}),
    "one constant between": ("r = Add(s, c) y = Conv(r, w)", {"c": random(1), "w": DENSE}),
    "a slope a channel between": ("r = PRelu(s, c) y = Conv(r, w)", {"c": random(12, 1, 1), "w": DENSE}),
    "its own gate between": ("g = Exp(s) r = Mul(s, g) y = Conv(r, w)", {"w": DENSE}),
    "another shuffle": (
        "r = Relu(s) c = Reshape(r, split) d = Transpose<perm = [0, 2, 1, 3, 4]>(c) e = Reshape(d, whole) y = Conv(e, w)",
        {"w": DENSE},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "weights"), ABSORBED.values(), ids=ABSORBED)
def test_weights_take_the_order(body, weights):
    model = shuffled(body, **weights)
    assert not {"ChannelShuffle", "Gather", "Transpose"} & {*operators(model)}
    assert fired(model)["order-into-weights"]


def test_a_gate_of_one_channel_is_no_obstacle():
    model = shuffled("r = Mul(s, g) y = Conv(r, w)", more=", float[1,1,6,6] g", w=DENSE)
    assert operators(model) == ["Mul", "Conv"]


@pytest.mark.parametrize(("op", "shape"), [("Conv", (12, 6, 1, 1)), ("ConvTranspose", (12, 6, 1, 1))])
def test_groups_leave_which_channels_each_reads(op, shape):
    """x in 3 groups of 4, shuffled: channels 0 4 8 1 5 9 | 2 6 10 3 7 11."""
    model = shuffled(f"y = {op}<group = 2>(s, w)", w=random(*shape))
    assert operators(model) == ["Gather", op]
    assert orders(model) == [[0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]]


def test_readers_in_other_groups_agree_on_the_finest():
    """Groups of six and of four channels: within parts of two, which neither mixes with others, 8 4 is sorted."""
    body = "c = Conv<group = 2>(s, w) d = Conv<group = 3>(s, v) y = Add(c, d)"
    model = shuffled(body, w=random(12, 6, 1, 1), v=random(12, 4, 1, 1))
    assert orders(model) == [[0, 4, 1, 8, 5, 9, 2, 6, 3, 10, 7, 11]]


def test_a_shuffle_that_its_groups_see_sorted_stays():
    """Two readers, groups of six and of four channels; 0 6 | 1 7 | 2 8 | ... is in rising order in every part of two."""
    body = "c = Conv<group = 2>(s, w) d = Conv<group = 3>(s, v) y = Add(c, d)"
    model = shuffled(body, groups=2, w=random(12, 6, 1, 1), v=random(12, 4, 1, 1))
    assert operators(model)[0] == "ChannelShuffle"


def test_a_global_pool_comes_before_the_order():
    model = shuffled("p = GlobalAveragePool(s) c = Conv<group = 2>(p, w) y = Mul(x, c)", w=random(12, 6, 1, 1))
    assert operators(model) == ["GlobalAveragePool", "Gather", "Conv", "Mul"]


def test_an_order_in_front_of_a_concatenation_goes_behind_it():
    model = shuffled("j = Concat<axis = 1>(x, s) y = Conv(j, w)", w=random(12, 24, 1, 1))
    assert operators(model) == ["Concat", "Conv"]
    assert fired(model)["order-behind-concat"] == 1


def test_two_orders_around_a_concatenation_are_one():
    """As ParNet has them: concat(x, s), shuffled again in two groups, read by a convolution of two."""
    twice = {"pairs": np.array((1, 2, 12, 6, 6), np.int64), "both": np.array((1, 24, 6, 6), np.int64)}
    mixed = "j = Concat<axis = 1>(x, s) c = Reshape(j, pairs) d = Transpose<perm = [0, 2, 1, 3, 4]>(c) e = Reshape(d, both)"
    model = shuffled(f"{mixed} y = Conv<group = 2>(e, w)", groups=2, w=random(12, 12, 1, 1), **twice)
    assert operators(model) == ["Concat", "Gather", "Conv"]
    lower = [0, 1, 2, 3, 4, 5, 12, 13, 14, 18, 19, 20]
    assert orders(model) == [[*lower, *(i for i in range(24) if i not in lower)]]


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("j = Concat<axis = 2>(x, s) c = Conv(j, w) y = Neg(c)", "float[1,12,12,6] y"),
        ("j = Concat<axis = 1>(x, s) y = Conv<group = 2>(j, w)", "float[1,12,6,6] y"),
    ],
    ids=["of rows", "read in groups"],
)
def test_a_near_miss_of_a_concatenation_keeps_the_order_in_front(body, result):
    model = shuffled(body, result=result, w=random(12, 12, 1, 1))
    assert operators(model)[:3] == ["ChannelShuffle", "Concat", "Conv"]


def test_an_order_that_others_read_stays_in_front_of_a_concatenation():
    model = shuffled("j = Concat<axis = 1>(x, s) c = Conv(j, w) y = Add(c, s)", w=random(12, 24, 1, 1))
    assert operators(model) == ["ChannelShuffle", "Concat", "Conv", "Add"]
    shuffle, concat = model.proto.graph.node[:2]
    assert shuffle.output[0] in concat.input


NEAR_MISSES = {
    "another tensor": ("r = Add(s, x) y = Conv(r, w)", "joins it with 'x'"),
    "an operator across channels": ("r = Softmax<axis = 1>(s) y = Conv(r, w)", "Softmax"),
    "an order of pixels": ("r = Transpose<perm = [0, 1, 3, 2]>(s) y = Conv(r, w)", "Transpose"),
    "an output": ("y = Conv(s, w) z = Identity(s)", "output of the model"),
    "computed weights": ("k = Mul(w, g) y = Conv(s, k)", "Conv"),
}


@pytest.mark.parametrize(("body", "reason"), NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_keeps_its_shuffle(body, reason):
    result = "float[1,12,6,6] y, float[1,12,6,6] z" if " z " in body else "float[1,12,6,6] y"
    model = shuffled(body, result=result, more=", float[12,12,1,1] g" if " g)" in body else "", w=DENSE)
    assert counted(model)["ChannelShuffle"] == 1
    assert reason in refused(model, "order-into-weights")[0]


def gathered(order: list[int], *, axis: int = 1, rank: int = 4) -> Model:
    shape = (1, 12, 6, 6)[:rank]
    tail = ",".join(map(str, shape))
    counts = [*shape]
    counts[axis] = len(order)
    result = ",".join(map(str, counts))
    conv = "y = Conv(g, w)" if axis == 1 and rank == 4 else "y = Neg(g)"
    weights = {"w": random(12, len(order), 1, 1)} if "Conv" in conv else {}
    border = f"(float[{tail}] x) => (float[{'1,12,6,6' if weights else result}] y)"
    return checked(network(f"{border} {{ g = Gather<axis = {axis}>(x, i) {conv} }}", i=np.array(order, np.int64), **weights))


def test_a_gather_of_all_channels_is_an_order():
    assert operators(gathered([*range(6, 12), *range(6)])) == ["Conv"]


@pytest.mark.parametrize("order", [[*range(6)], [0, 0, *range(2, 12)]], ids=["some channels", "one twice"])
def test_another_gather_of_channels_stays(order):
    assert operators(gathered(order)) == ["Gather", "Conv"]


@pytest.mark.parametrize(("axis", "rank"), [(2, 4), (1, 2)])
def test_a_gather_of_something_else_stays(axis, rank):
    assert "Gather" in operators(gathered([5, 0, 1, 2, 3, 4] if axis == 2 else [*range(6, 12), *range(6)], axis=axis, rank=rank))
