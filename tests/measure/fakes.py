"""The hand-written network of tests/runtime as an `Artifact`, and the same function in ONNX."""

from __future__ import annotations

from pathlib import Path

import onnx.parser

from edgevision.artifact import Artifact, Step
from edgevision.measure.reference import Reference
from edgevision.tensor import TensorSpec
from tests.runtime.fake_artifact import HOST, build

X = TensorSpec(name="x", shape=(1, 3, 4, 5), layout="NCHW")
K = TensorSpec(name="k", shape=(2,), dtype="int64")
Y = TensorSpec(name="y", shape=(1, 3, 4, 5), layout="NCHW")
TOTAL = TensorSpec(name="total", shape=(), dtype="int64")

ORIGINAL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,4,5] x, int64[2] k) => (float[1,3,4,5] y, int64 total) {
    two = Constant <value_float = 2.0> ()
    zero = Constant <value_int = 0> ()
    first = Gather(k, zero)
    offset = Cast <to = 1> (first)
    scaled = Mul(x, two)
    y = Add(scaled, offset)
    total = ReduceSum <keepdims = 0> (k)
}"""


def reference() -> Reference:
    return Reference(onnx.parser.parse_model(ORIGINAL).SerializeToString(), (X, K), (Y, TOTAL))


def artifact(folder: Path, *defines: str, target: str = HOST) -> Artifact:
    """A built artifact; everything but the library is only a name."""
    path = build(folder / f"fake.{target.split('-')[0]}.so", *defines, target=target)
    return Artifact(
        path=path,
        header=folder / "edgevision.h",
        bench=folder / "fake-bench",
        model=folder / "fake.onnx",
        manifest=folder / "fake.json",
        target="native",
        inputs=(X, K),
        outputs=(Y, TOTAL),
        sha256="c0ffee",
        model_sha256="ab12",
        weight_bytes=8,
        arena_bytes=252,
        file_bytes=path.stat().st_size,
        versions={"edgevision": "0.1.0"},
        steps=(
            Step(name="scale", ops=("Mul",), macs=60, schedule="default:elementwise"),
            Step(name="add", ops=("Add",), macs=0, schedule="fallback"),
        ),
    )
