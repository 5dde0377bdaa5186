"""Small networks as text, read and compared: what every test of ingest is made of."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper, parser

from edgevision.ingest import infer, read, to_onnx
from edgevision.ingest.legal import flaws
from edgevision.model import Model

# Rules reorder float32 arithmetic of a few terms: about ten roundings of 6e-8 each.
PARITY_RTOL = 1e-5


def network(body: str, *, opset: int = 17, **weights: np.ndarray) -> onnx.ModelProto:
    """A model from ONNX text: "(float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Relu(x) }", with initializers by name."""
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> net {body}')
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return proto


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 weights."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def inverted_residual(
    inputs: int, expanded: int, outputs: int, pixels: tuple[int, int]
) -> tuple[str, dict[str, np.ndarray]]:
    """1x1, ReLU, 3x3 depthwise, ReLU, 1x1: the text of `network` and its weights w1, w2, w3; tensors x, p, a, q, b, y."""
    h, w = pixels
    body = f"""(float[1,{inputs},{h},{w}] x) => (float[1,{outputs},{h},{w}] y) {{
        p = Conv (x, w1)
        a = Relu (p)
        q = Conv <group={expanded}, pads=[1,1,1,1]> (a, w2)
        b = Relu (q)
        y = Conv (b, w3)
    }}"""
    shapes = {"w1": (expanded, inputs, 1, 1), "w2": (expanded, 1, 3, 3), "w3": (outputs, expanded, 1, 1)}
    return body, {name: random(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def run(proto: onnx.ModelProto | bytes, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs in onnxruntime, its graph optimisations off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    content = proto if isinstance(proto, bytes) else proto.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feed)


def feed_for(model: Model, seed: int = 1) -> dict[str, np.ndarray]:
    """Random inputs of the original: floats of deviation 3, so that clips clip; small integers; booleans."""
    rng = np.random.default_rng(seed)
    feed = {}
    for spec in model.original_inputs:
        if spec.dtype.startswith("float"):
            feed[spec.name] = (3 * rng.standard_normal(spec.shape)).astype(spec.dtype)
        else:
            feed[spec.name] = rng.integers(0, 2, spec.shape).astype(spec.dtype)
    return feed


def relative_error(result: np.ndarray, reference: np.ndarray) -> float:
    """max |a - b| / max |b|; infinite for another shape or type, NaN in other places, or a reference of zeros only."""
    if result.shape != reference.shape or result.dtype != reference.dtype:
        return float("inf")
    if not np.issubdtype(reference.dtype, np.floating):
        return 0.0 if np.array_equal(result, reference) else float("inf")
    a, b = result.astype(np.float64), reference.astype(np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    top = np.abs(b).max(initial=0.0)
    return float(np.abs(a - b).max(initial=0.0) / top) if top else float("inf")


def checked(source: Any, *, simplify: bool = False, **options: Any) -> Model:
    """The model that `read` makes of ``source``: legal, its shapes inferred alike, computing what the original
    computes."""
    model = read(source, simplify=simplify, **options)
    assert flaws(model.proto) == []
    plain = to_onnx(model.proto)
    onnx.checker.check_model(plain, full_check=True)
    inferred = infer(model.proto)
    assert [*inferred.graph.value_info] == [*model.proto.graph.value_info]
    assert [*inferred.graph.output] == [*model.proto.graph.output]
    feed = feed_for(model)
    original = model.original if isinstance(model.original, bytes) else model.original.read_bytes()
    for ours, theirs in zip(run(plain, feed), run(original, feed), strict=True):
        assert relative_error(ours, theirs) <= PARITY_RTOL
    return model


def operators(model: Model) -> list[str]:
    """Operators in order."""
    return [node.op_type for node in model.proto.graph.node]


def counted(model: Model) -> Counter[str]:
    """How often each operator occurs."""
    return Counter(operators(model))


def attributes(model: Model, op: str) -> dict[str, Any]:
    """Attributes of the only node of an operator."""
    (node,) = [node for node in model.proto.graph.node if node.op_type == op]
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def fired(model: Model) -> dict[str, int]:
    """How often each rule fired."""
    return {change.rule: change.count for change in model.changes if change.count}


def refused(model: Model, rule: str) -> tuple[str, ...]:
    """Why a rule declined."""
    return next((change.refusals for change in model.changes if change.rule == rule), ())
