"""Every operator in torch against the ONNX backend tests, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import onnx
import pytest
import torch

from edgevision import ingest
from edgevision.errors import EdgevisionError
from edgevision.rewrite.prune.finetune.operators import OPERATORS, UntrainableOperatorError, check
from edgevision.rewrite.prune.network import Network
from tests.conformance.cases import Case, node_cases, weighted_cases
from tests.rewrite.nets import Net

CASES = 3
"""Of each operator, evenly over all that the suites have."""
ELSEWHERE = {"BatchNormalization", "Clip", "Identity", "Slice", "edgevision:ChannelShuffle", "edgevision:ChannelLayerNormalization",
             "edgevision:Silu", "LayerNormalization", "Resize", "Pow"}  # fmt: skip
"""What `ingest` folds away, what these suites compute or use across a batch; compared in whole networks and below."""


@cache
def by_operator() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in (*node_cases(), *weighted_cases()):
        floats = all(getattr(each, "dtype", None) in (np.float32, np.int64) for each in (*case.inputs, *case.outputs))
        if len(case.model.graph.node) == 1 and floats and case.outputs[0].dtype == np.float32:
            found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


def answered(proto: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The normal-form ``proto`` node by node. Raises: UntrainableOperatorError."""
    network = Network(proto)
    values = {name: torch.from_numpy(network.constant(name).copy()) for name in network.tensors}
    values |= {name: torch.from_numpy(np.array(value)) for name, value in zip(network.inputs, inputs, strict=True)}
    for node in network.nodes:
        check(node)
        given = [values[name] for name in node.inputs if name]
        result = OPERATORS[node.op](node, given, network.shapes[node.output])
        values.update(zip(node.outputs, (result,) if isinstance(result, torch.Tensor) else result, strict=True))
    return [values[name].numpy() for name in network.outputs]


def compared(op: str) -> Iterator[str]:
    """Runs cases of ``op``; yields the names of those that were compared."""
    cases = by_operator().get(op.rpartition(":")[2], [])
    for case in cases[:: max(1, len(cases) // CASES)]:
        try:
            proto = ingest.read(case.model, simplify=False).proto
            got = answered(proto, case.inputs)
        except EdgevisionError:
            continue
        for mine, expected in zip(got, case.outputs, strict=True):
            np.testing.assert_allclose(mine, expected, max(case.rtol, 1e-4), max(case.atol, 1e-5), err_msg=case.name)
        if any(node.op_type == op for node in proto.graph.node):
            yield case.name


@pytest.mark.parametrize("op", sorted(OPERATORS.keys() - ELSEWHERE))
def test_an_operator_computes_what_the_backend_tests_say(op: str) -> None:
    assert list(compared(op))


RESIZES = [
    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"},
    {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    {"mode": "cubic", "coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.75},
]


def resize(**given: object) -> onnx.ModelProto:
    net = Net(dtype=np.float32)
    scales = net.constant(np.float32([1, 1, 2, 2]))
    return ingest.read(net.model(net.node("Resize", net.input([1, 2, 5, 4]), "", scales, **given)), simplify=False).proto


@pytest.mark.parametrize("given", RESIZES, ids=lambda given: "-".join(map(str, given.values())))
def test_resizes_are_onnx_resizes(given: dict[str, object]) -> None:
    from onnx.reference import ReferenceEvaluator

    proto = resize(**given)
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 4)).astype(np.float32)
    [expected] = ReferenceEvaluator(ingest.to_onnx(proto)).run(None, {"x": x})
    [got] = answered(proto, [x])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_other_resizes_are_refused() -> None:
    proto = resize(mode="linear", coordinate_transformation_mode="asymmetric")
    with pytest.raises(UntrainableOperatorError, match="torch has no linear resize with asymmetric coordinates"):
        answered(proto, [np.zeros((1, 2, 5, 4), np.float32)])


WRITTEN: dict[str, Callable[[Net, str], str]] = {
    "normalised rows": lambda net, x: net.node("LayerNormalization", x, net.normal(5), net.normal(5), axis=3),
    "normalised images": lambda net, x: net.node(
        "LayerNormalization", x, net.normal(3, 4, 5), net.normal(3, 4, 5), axis=1
    ),
    "bounded": lambda net, x: net.node("Clip", x, net.constant(np.float32(-0.5)), net.constant(np.float32(0.7))),
    "bounded above": lambda net, x: net.node("Clip", x, "", net.constant(np.float32(0.7))),
    "cut": lambda net, x: net.node("Slice", x, *(net.constant(each) for each in ([1, 0], [3, 4], [1, 3]))),
    "in steps": lambda net, x: net.node("Slice", x, *(net.constant(each) for each in ([0], [4], [2], [2]))),
    "square": lambda net, x: net.node("Pow", x, net.constant(np.float32(3))),
    "normalised by statistics": lambda net, x: net.norm(net.node("Relu", x), 3),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_operator_computes_what_the_reference_says(name: str) -> None:
    from onnx.reference import ReferenceEvaluator

    net = Net(dtype=np.float32)
    proto = ingest.read(net.model(WRITTEN[name](net, net.input([2, 3, 4, 5]))), simplify=False).proto
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    [expected] = ReferenceEvaluator(ingest.to_onnx(proto)).run(None, {"x": x})
    np.testing.assert_allclose(answered(proto, [x])[0], expected, rtol=1e-4, atol=1e-5)


def single(op: str, *shapes: Sequence[int], **attributes: object) -> Network:
    net = Net(dtype=np.float32)
    names = [net.input(shape, f"x{i}") for i, shape in enumerate(shapes)]
    return Network(ingest.read(net.model(net.node(op, *names, **attributes)), simplify=False).proto)


BATCHES = {
    "Softmax": ([[4, 3]], {"axis": 0}, {"axis": 1}),
    "Concat": ([[4, 3], [4, 3]], {"axis": 0}, {"axis": 1}),
    "Transpose": ([[4, 3, 2]], {"perm": [1, 0, 2]}, {"perm": [0, 2, 1]}),
}


@pytest.mark.parametrize("op", BATCHES)
def test_what_works_across_images_is_refused(op: str) -> None:
    shapes, across, within = BATCHES[op]
    with pytest.raises(UntrainableOperatorError, match=f"{op} at node .* works across the images of a batch"):
        check(single(op, *shapes, **across).nodes[0])
    check(single(op, *shapes, **within).nodes[0])


def test_an_operator_without_gradient_is_named() -> None:
    [node, *_] = single("Hardmax", [2, 3], axis=1).nodes
    with pytest.raises(UntrainableOperatorError, match=f"Hardmax at node '{node.name}' cannot be trained: edgevision has no"):
        check(node)
