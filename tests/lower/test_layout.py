"""Channels last throughout: no transpose inside a network, and what has to move moves right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevision import ingest
from edgevision.lower.phases import lower
from tests import graphs
from tests.lower.programs import agreeing, images, operators, program, random

IMAGE = "(float[2,12,6,5] x)"
X = images(2, 12, 6, 5)


@pytest.mark.parametrize("source", ["zoo:ghostnet-0.5", "zoo:mobilenetv3-small", "zoo:parnet-s", "zoo:repvgg-a0"])
def test_a_zoo_network_transposes_its_input_alone(source: str) -> None:
    lowered = lower(ingest.read(source, simplify=False))
    assert lowered.calls[0].step.ops == ("transpose",)
    assert operators(lowered)["transpose"] == 1


def test_convnext_transposes_its_input_alone() -> None:
    lowered = lower(ingest.read(Path(graphs.cached("convnext-atto")), simplify=False))
    assert operators(lowered)["transpose"] == 1


def conv(inner: str, result: str) -> str:
    """``inner`` from a to b between two 1x1 convolutions."""
    return f"{IMAGE} => (float[{result}] y) {{ a = Conv(x, w) {inner} y = Conv(b, v) }}"


# Nodes between two convolutions, channels that come out, initializers. None needs a transpose.
KEEPS: dict[str, tuple[str, int, dict[str, np.ndarray]]] = {
    "per channel": ("b = Mul(a, k)", 12, {"k": random(12, 1, 1)}),
    "one number": ("b = Mul(a, k)", 12, {"k": random()}),
    "one number of four axes": ("b = Mul(a, k)", 12, {"k": random(1, 1, 1, 1)}),
    "along the rows": ("b = Add(a, k)", 12, {"k": random(1, 5)}),
    "along the columns": ("b = Add(a, k)", 12, {"k": random(6, 1)}),
    "last axis": ("b = Add(k, a)", 12, {"k": random(5)}),
    "an image": ("b = Sub(a, k)", 12, {"k": random(6, 5)}),
    "per image and channel": ("b = Sub(k, a)", 12, {"k": random(2, 12, 1, 1)}),
    "everything": ("b = Div(a, k)", 12, {"k": 2 + np.abs(random(2, 12, 6, 5))}),
    "two images": ("c = Neg(a) b = Max(a, c)", 12, {}),
    "gate": ("g = GlobalAveragePool(a) h = Sigmoid(g) b = Mul(a, h)", 12, {}),
    "computed per channel": ("g = ReduceMax<axes = [0, 2, 3], keepdims = 0>(a) r = Reshape(g, s) b = Add(a, r)", 12,
                             {"s": np.array([12, 1, 1])}),
    "concat channels": ("c = Relu(a) b = Concat<axis = 1>(a, c)", 24, {}),
    "concat rows": ("b = Concat<axis = 2>(a, a)", 12, {}),
    "concat constant": ("b = Concat<axis = 1>(a, k)", 15, {"k": random(2, 3, 6, 5)}),
    "split": ("c, d = Split<axis = 1>(a, s) b = Concat<axis = 1>(d, c)", 12, {"s": np.array([5, 7])}),
    "slice": ("b = Slice(a, f, t, i, s)", 4, {"f": np.array([1, 5]), "t": np.array([11, 0]), "i": np.array([1, 2]),
                                             "s": np.array([3, -2])}),
    "pad": ("b = Pad(a, p, c)", 13, {"p": np.array([0, 1, 2, 0, 0, 0, 0, 3]), "c": np.float32(1.5)}),
    "reflect": ('b = Pad<mode = "reflect">(a, p)', 12, {"p": np.array([0, 0, 2, 1, 0, 0, 0, 3])}),
    "gather channels": ("b = Gather<axis = 1>(a, i)", 5, {"i": np.array([3, -1, 0, 0, 7])}),
    "gather rows": ("b = Gather<axis = 2>(a, i)", 12, {"i": np.array([5, 0])}),
    "tile": ("b = Tile(a, r)", 24, {"r": np.array([1, 2, 1, 3])}),
    "expand": ("g = GlobalMaxPool(a) b = Expand(g, s)", 12, {"s": np.array([2, 12, 3, 4])}),
    "depth to space": ("b = DepthToSpace<blocksize = 2>(a)", 3, {}),
    "depth to space CRD": ('b = DepthToSpace<blocksize = 2, mode = "CRD">(a)', 3, {}),
    "shuffle": ("r = Reshape(a, s) t = Transpose<perm = [0, 2, 1, 3, 4]>(r) b = Reshape(t, u)", 12,
                {"s": np.array([2, 3, 4, 6, 5]), "u": np.array([2, 12, 6, 5])}),
    "softmax over channels": ("b = Softmax<axis = 1>(a)", 12, {}),
    "cumulative sum": ("b = CumSum(a, i)", 12, {"i": np.array(1)}),
    "where": ("c = Greater(a, k) b = Where(c, a, k)", 12, {"k": random()}),
    "cast": ("c = Cast<to = 11>(a) b = Cast<to = 1>(c)", 12, {}),
    "lrn": ("b = LRN<size = 3>(a)", 12, {}),
    "instance norm": ("b = InstanceNormalization(a, s, t)", 12, {"s": random(12), "t": random(12, seed=1)}),
    "leading unit axis": ("b = PRelu(a, k)", 12, {"k": random(12, 1, 1)}),
    "spatial reshape and back": ("c = Reshape(a, s) d = Relu(c) b = Reshape(d, u)", 12,
                                 {"s": np.array([2, 12, 30]), "u": np.array([2, 12, 6, 5])}),
}  # fmt: skip


@pytest.mark.parametrize("name", KEEPS)
def test_between_convolutions_nothing_is_transposed(name: str) -> None:
    inner, channels, weights = KEEPS[name]
    weights = {"w": random(12, 12, 1, 1), "v": random(4, channels, 1, 1, seed=3), **weights}
    lowered = agreeing(conv(inner, "2,4,H,W"), X, **weights)
    assert operators(lowered)["transpose"] == 2, "one for the input, one for the output"


# Orders that channels last does not keep: correct all the same.
MOVES = {
    "rows for columns": ("b = Transpose<perm = [0, 1, 3, 2]>(a)", 12, {}),
    "channels for rows": ("b = Transpose<perm = [0, 2, 1, 3]>(a)", 6, {}),
    "channels and rows together": ("c = Reshape(a, s) d = Relu(c) b = Reshape(d, u)", 12,
                                   {"s": np.array([2, 72, 5]), "u": np.array([2, 12, 6, 5])}),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_moves_right(name: str) -> None:
    inner, channels, weights = MOVES[name]
    weights = {"w": random(12, 12, 1, 1), "v": random(4, channels, 1, 1, seed=3), **weights}
    assert operators(agreeing(conv(inner, "2,4,H,W"), X, **weights))["transpose"] > 2


FLAT = {
    "flatten": "f = Flatten(a) y = Gemm(f, g, h)",
    "reshape": "f = Reshape(a, s) y = Gemm(f, g, h)",
    "activation between": "f = Flatten(a) r = Relu(f) e = Mul(r, two) y = Gemm(e, g, h)",
    "two branches": "f = Flatten(a) r = Tanh(f) e = Add(r, f) y = Gemm(e, g, h)",
}


@pytest.mark.parametrize("nodes", FLAT.values(), ids=FLAT)
def test_the_weights_behind_a_flattened_image_are_relaid(nodes: str) -> None:
    weights = {"w": random(12, 12, 1, 1), "g": random(360, 7), "h": random(7), "s": np.array([2, -1]), "two": np.float32(2)}
    used = {name: np.asarray(value) for name, value in weights.items() if name in nodes.replace("Gemm(", "") or name in "wgh"}
    body = f"{IMAGE} => (float[2,7] y) {{ a = Conv(x, w) {nodes} }}"
    assert operators(agreeing(body, X, **used))["transpose"] == 1


NOT_FLAT = {
    "an output": "y = Flatten(a)",
    "another axis": "y = Flatten<axis = 2>(a)",
    "a bias along the row": "f = Flatten(a) y = Add(f, b)",
    "a computed matrix": "f = Flatten(a) t = Transpose(f) y = MatMul(f, t)",
    "transposed": "f = Flatten(a) y = Gemm<transA = 1>(f, d)",
    "sum over the row": "f = Flatten(a) y = CumSum(f, i)",
}


@pytest.mark.parametrize("nodes", NOT_FLAT.values(), ids=NOT_FLAT)
def test_a_flattened_image_that_is_no_factor_is_put_in_order(nodes: str) -> None:
    weights = {"b": random(360), "d": random(2, 3), "i": np.array(1)}
    used = {name: value for name, value in weights.items() if f", {name})" in nodes}
    body = f"{IMAGE} => (float[M,N] y) {{ a = Conv(x, w) {nodes} }}"
    agreeing(body, X, w=random(12, 12, 1, 1), **used)


def test_transposes_of_an_image_that_is_channels_last_already_are_free() -> None:
    nodes = "a = Conv(x, w) t = Transpose<perm = [0, 2, 3, 1]>(a) y = Reshape(t, s)"
    body = f"{IMAGE} => (float[2,30,12] y) {{ {nodes} }}"
    weights = {"w": random(12, 12, 1, 1), "s": np.array([2, 30, 12])}
    assert operators(agreeing(body, X, **weights))["transpose"] == 1


def test_an_image_of_one_channel_or_one_pixel_is_never_transposed() -> None:
    one_pixel = "(float[2,12,1,1] x) => (float[2,3,1,1] y) { y = Conv(x, w) }"
    one_channel = "(float[2,1,6,5] x) => (float[2,1,6,5] y) { y = Conv(x, w) }"
    for body, weight, x in ((one_pixel, random(3, 12, 1, 1), X[:, :, :1, :1]), (one_channel, random(1, 1, 1, 1), X[:, :1])):
        assert operators(agreeing(body, x, w=weight))["transpose"] == 0


def test_an_operand_that_does_not_broadcast_is_refused() -> None:
    from edgevision.errors import UnsupportedOperatorError

    with pytest.raises(UnsupportedOperatorError, match=r"'s' of shape \(12,\) does not broadcast to \(2, 12, 6, 5\)"):
        program(f"{IMAGE} => (float[2,12,6,5] y) {{ y = PRelu(x, s) }}", s=random(12))
