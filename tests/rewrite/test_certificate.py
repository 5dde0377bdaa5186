"""The proof: it finds what is wrong, takes it back, and its comparator rejects what it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from edgevision.rewrite.reparam import reparameterize, rewriting
from edgevision.rewrite.reparam.certificate import relative_error
from edgevision.rewrite.reparam.emit import Emitted
from edgevision.rewrite.reparam.feeds import random_feeds
from edgevision.rewrite.reparam.interpreter import Interpreter
from tests.rewrite.nets import EXACT, Net, error, evaluated, feeds_of, ops
from tests.rewrite.test_blocks import repvgg
from tests.rewrite.test_property import SETTINGS, graphs

REFERENCE = np.linspace(-1.0, 1.0, 12).reshape(3, 4)


@pytest.mark.parametrize("wrong", [
    REFERENCE * 1.01, REFERENCE * 1000, REFERENCE * 0, REFERENCE * np.nan, REFERENCE[:2], REFERENCE.T, -REFERENCE,
    np.where(REFERENCE == 1.0, np.inf, REFERENCE),
], ids=["x1.01", "x1000", "zeros", "NaN", "shorter", "transposed", "negative", "infinite"])  # fmt: skip
def test_the_comparator_rejects(wrong: np.ndarray[Any, Any]) -> None:
    error = relative_error(REFERENCE, wrong)
    assert error > 1e-5
    assert error == np.inf or (wrong.shape == REFERENCE.shape and np.isfinite(wrong).all())


def test_the_comparator_takes_equals_also_where_they_are_no_numbers() -> None:
    odd = np.array([1.0, np.nan, np.inf, -np.inf])
    assert relative_error(odd, odd.copy()) == 0
    assert relative_error(odd, np.array([1.0, np.nan, -np.inf, np.inf])) == np.inf
    assert relative_error(np.full(3, np.nan), np.full(3, np.nan)) == 0
    assert relative_error(np.zeros(3), np.zeros(3)) == 0
    assert relative_error(np.zeros(3), np.full(3, 1e-300)) == np.inf
    assert relative_error(np.arange(3), np.arange(3)) == 0
    assert relative_error(np.arange(3), np.arange(3) + 1) == np.inf


def blocks(count: int = 4) -> onnx.ModelProto:
    net = Net(dtype=np.float32)
    x = net.input([1, 6, 8, 8])
    for _ in range(count):
        x = repvgg(net, x)
    pooled = net.node("Flatten", net.node("GlobalMaxPool", x))
    return net.model(net.node("Gemm", pooled, net.normal(5, 6), net.normal(5), transB=1))


def test_the_certificate_of_a_good_rewriting() -> None:
    result = reparameterize(blocks())
    proof = result.certificate
    assert proof is not None
    assert proof.holds
    assert len(proof.regions) == 4
    assert all(region.error64 <= EXACT and region.error32 <= 1e-5 for region in proof.regions)
    assert 0 < proof.error32 <= 1e-5
    assert proof.error64 <= EXACT
    assert (proof.inputs, proof.given, proof.undone, proof.offending) == (1, 0, (), ())


def test_given_inputs_are_compared_on_too() -> None:
    proto = blocks(1)
    proof = reparameterize(proto, feeds=random_feeds(proto, 5, 2), random_inputs=3, seed=9).certificate
    assert proof is not None
    assert (proof.inputs, proof.given, proof.seed) == (5, 2, 9)


def test_a_model_that_does_not_change_needs_no_certificate() -> None:
    result = reparameterize(reparameterize(blocks(), prove=False).proto)
    assert not result.changed
    assert result.certificate is None


def spoil(emitted: Emitted, name: str) -> None:
    """Move every weight of an initializer a little."""
    (tensor,) = (t for t in emitted.proto.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.001, name))


def test_a_region_that_does_not_agree_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = blocks()
    bad = reparameterize(proto, prove=False).regions[2].output
    emit = rewriting.emit

    def spoilt(*arguments: Any, **more: Any) -> Emitted:
        emitted = emit(*arguments, **more)
        if bad in emitted.kernels:
            spoil(emitted, emitted.kernels[bad][0])
        return emitted

    monkeypatch.setattr(rewriting, "emit", spoilt)
    result = reparameterize(proto)
    assert result.certificate is not None
    assert bad in result.certificate.undone
    assert result.certificate.holds
    assert ops(result.proto)["BatchNormalization"] == 1
    assert error(proto, result.proto) <= 1e-5


def test_a_fault_that_no_region_shows_is_found_by_bisection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever one region is rewritten, the classifier, which belongs to none, is spoilt."""
    proto = blocks()
    bad = reparameterize(proto, prove=False).regions[1].output
    classifier = next(node for node in proto.graph.node if node.op_type == "Gemm").input[1]
    emit = rewriting.emit

    def spoilt(*arguments: Any, **more: Any) -> Emitted:
        emitted = emit(*arguments, **more)
        if bad in emitted.kernels:
            spoil(emitted, classifier)
        return emitted

    monkeypatch.setattr(rewriting, "emit", spoilt)
    result = reparameterize(proto)
    assert result.certificate is not None
    assert bad in result.certificate.undone
    assert result.certificate.holds
    assert error(proto, result.proto) <= 1e-5


def test_when_nothing_agrees_the_original_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = blocks()
    emit = rewriting.emit

    def spoilt(*arguments: Any, **more: Any) -> Emitted:
        emitted = emit(*arguments, **more)
        for names in emitted.kernels.values():
            spoil(emitted, names[0])
        return emitted

    monkeypatch.setattr(rewriting, "emit", spoilt)
    result = reparameterize(proto)
    assert result.proto is proto
    assert result.certificate is not None
    assert len(result.certificate.undone) >= 4


def test_growth_is_what_int8_will_feel() -> None:
    """A large centre tap on a flat kernel: the range over the root mean square grows."""
    net = Net(dtype=np.float32)
    x = net.input([1, 4, 6, 6])
    flat = net.conv(x, 4, 4, 3, weight=net.constant(np.ones((4, 4, 3, 3))), pads=[1] * 4)
    y = net.node("Add", flat, net.conv(x, 4, 4, 1, weight=net.constant(np.full((4, 4, 1, 1), 9.0))))
    proof = reparameterize(net.model(y)).certificate
    assert proof is not None
    rms = np.sqrt((8 + 100) / 9)
    assert proof.regions[0].growth == pytest.approx(10 / rms)


@settings(max_examples=60, **SETTINGS)
@given(graphs(), st.integers(0, 3))
def test_the_interpreter_agrees_with_onnx_reference(case: tuple[onnx.ModelProto, dict[str, int]], seed: int) -> None:
    proto, extents = case
    feeds = feeds_of(proto, seed, **extents)
    found = Interpreter(proto, np.float64).final(feeds)
    for value, expected in zip(proto.graph.output, evaluated(proto, feeds), strict=True):
        assert relative_error(expected, found[value.name]) <= EXACT
