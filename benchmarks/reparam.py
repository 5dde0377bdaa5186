"""What reparameterization makes of each published block, and what onnxsim and onnxruntime make of the same files.

python -m benchmarks.reparam [NAME...] prints the table of docs/reparam.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxsim

from edgevision import zoo
from edgevision.counting import count
from edgevision.rewrite.reparam import reparameterize
from tests.graphs import cached
from tests.rewrite.nets import Net
from tests.rewrite.test_blocks import conv_bn

CONVOLUTIONS = ("Conv", "FusedConv", "ConvTranspose")


def from_zoo(name: str) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        zoo.export(name, Path(folder, "model.onnx"), form="train")
        return onnx.load(Path(folder, "model.onnx"))


def from_tests(name: str) -> onnx.ModelProto:
    return onnx.load(cached(name))


def acnet() -> onnx.ModelProto:
    """Four asymmetric blocks in a row: 3x3 + 1x3 + 3x1, each with its BatchNormalization (Ding et al., ICCV 2019)."""
    net = Net(dtype=np.float32)
    x = net.input([1, 32, 28, 28], "input")
    for _ in range(4):
        x = net.node("Relu", net.node("Sum", *(conv_bn(net, x, 32, 32, kernel) for kernel in ((3, 3), (1, 3), (3, 1)))))
    return net.model(x)


def diverse_branches() -> onnx.ModelProto:
    """Four diverse branch blocks in a row (Ding et al., CVPR 2021), the padding in the first convolution of a branch."""
    net = Net(dtype=np.float32)
    x = net.input([1, 32, 28, 28], "input")
    padded = {"pads": [1, 1, 1, 1]}
    for _ in range(4):
        chain = net.norm(net.conv(net.norm(net.conv(x, 32, 32, 1, **padded), 32), 32, 32, 3), 32)
        pooled = net.node("AveragePool", net.norm(net.conv(x, 32, 32, 1, **padded), 32), kernel_shape=[3, 3], strides=[1, 1])
        parts = [conv_bn(net, x, 32, 32, 3), conv_bn(net, x, 32, 32, 1), chain, net.norm(pooled, 32)]
        x = net.node("Relu", net.node("Sum", *parts))
    return net.model(x)


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "RepVGG-A0": partial(from_zoo, "repvgg-a0"),
    "ACNet, 4 blocks": acnet,
    "DBB, 4 blocks": diverse_branches,
    "MobileOne-S0": partial(from_tests, "mobileone-s0"),
    "RepGhost-1.0": partial(from_tests, "repghost-1.0"),
    "GhostNetV3-1.0": partial(from_tests, "ghostnetv3-1.0"),
    "FastViT-T8": partial(from_tests, "fastvit-t8"),
    "RepViT-M1": partial(from_tests, "repvit-m1"),
    "RepLKNet-31B": partial(from_tests, "replknet-31b"),
    "SLaK-T": partial(from_tests, "slak-t"),
    "ParNet-S": partial(from_zoo, "parnet-s"),
    "ParNet-M": partial(from_zoo, "parnet-m"),
    "ParNet-L": partial(from_zoo, "parnet-l"),
    "ParNet-XL": partial(from_zoo, "parnet-xl"),
}


def operators(proto: onnx.ModelProto) -> Counter[str]:
    return Counter("Conv" if node.op_type in CONVOLUTIONS else node.op_type for node in proto.graph.node)


def by_onnxsim(proto: onnx.ModelProto) -> int:
    simplified, _ = onnxsim.simplify(proto)
    return operators(simplified)["Conv"]


def by_onnxruntime(proto: onnx.ModelProto) -> int:
    """Convolutions after onnxruntime's extended graph optimizations."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(folder, "optimized.onnx"))
        options.log_severity_level = 3
        onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return operators(onnx.load(options.optimized_model_filepath))["Conv"]


def row(name: str, proto: onnx.ModelProto) -> str:
    started = time.perf_counter()
    reparameterize(proto, prove=False)
    seconds = time.perf_counter() - started
    result = reparameterize(proto)
    before, after = operators(proto), operators(result.proto)
    proof = result.certificate
    errors = "-" if proof is None else f"{proof.error64:.0e} | {proof.error32:.0e}"
    counts = " | ".join(f"{before[op]} → {after[op]}" for op in ("Conv", "BatchNormalization", "Add", "Mul"))
    macs = " → ".join(f"{count(each).macs / 1e6:,.1f}" for each in (proto, result.proto))
    return (f"| {name} | {counts} | {macs} | {by_onnxsim(proto)} | {by_onnxruntime(proto)} | {errors} "
            f"| {seconds:.1f} |")  # fmt: skip


def main() -> None:
    print("| network | Conv | BatchNormalization | Add | Mul | MACs, M | Conv left by onnxsim | by onnxruntime "
          "| error in float64 | in float32 | s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in sys.argv[1:] or MODELS:
        print(row(name, MODELS[name]()), flush=True)


if __name__ == "__main__":
    main()
