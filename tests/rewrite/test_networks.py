"""Published networks in training form: how many operators are left, and that the whole agrees."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgevision import zoo
from edgevision.counting import count
from edgevision.rewrite.reparam import reparameterize
from edgevision.rewrite.reparam.rewriting import Reparameterized
from tests.graphs import cached
from tests.rewrite.nets import ops


def rewritten(proto: onnx.ModelProto) -> Reparameterized:
    """Reparameterized, valid, and proven: the float64 error below 1e-12, the float32 error below 1e-5."""
    result = reparameterize(proto)
    onnx.checker.check_model(result.proto, full_check=True)
    proof = result.certificate
    assert proof is not None
    assert proof.undone == ()
    assert proof.error64 < 1e-12
    assert proof.error32 < max(1e-5, 2 * proof.original_error32)
    return result


def exported(name: str, tmp_path: Path) -> onnx.ModelProto:
    zoo.export(name, tmp_path / "model.onnx", form="train")
    return onnx.load(tmp_path / "model.onnx")


def test_repvgg_a0_has_half_its_convolutions_and_no_add_or_norm(tmp_path: Path) -> None:
    proto = exported("repvgg-a0", tmp_path)
    assert (ops(proto)["Conv"], ops(proto)["BatchNormalization"], ops(proto)["Add"]) == (44, 61, 39)
    result = rewritten(proto)
    left = ops(result.proto)
    assert (left["Conv"], left.get("BatchNormalization", 0), left.get("Add", 0)) == (22, 0, 0)
    assert count(result.proto).macs == 1_361_451_008
    assert count(result.proto).parameters == 8_309_384


PARNET = {"parnet-s": 4_733_857_280, "parnet-m": 8_581_882_048, "parnet-l": 13_324_101_824, "parnet-xl": 20_715_596_224}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.large) if n != "parnet-s" else n for n in PARNET])
def test_parnet_keeps_no_norm_and_one_affine_a_gated_block(name: str, tmp_path: Path) -> None:
    result = rewritten(exported(name, tmp_path))
    left = ops(result.proto)
    assert "BatchNormalization" not in left
    assert "AveragePool" not in left
    assert left["Conv"] == 22 + 22  # one a block and one a gate: 14 gated streams, 8 gated blocks
    per_channel = [node for node in result.proto.graph.node
                   if node.op_type in ("Mul", "Add") and any(_is_column(result.proto, each) for each in node.input)]  # fmt: skip
    print(f"{name}: {len(per_channel)} Mul and Add with one value a channel, "
          f"{len(_maps(result.proto))} bias maps, {count(result.proto).macs} MACs")  # fmt: skip
    assert Counter(node.op_type for node in per_channel) == {"Mul": 14, "Add": 14}
    assert len(_maps(result.proto)) == 2
    assert count(result.proto).macs == PARNET[name]


def _shape(proto: onnx.ModelProto, name: str) -> list[int]:
    return next((list(t.dims) for t in proto.graph.initializer if t.name == name), [])


def _is_column(proto: onnx.ModelProto, name: str) -> bool:
    shape = _shape(proto, name)
    return len(shape) == 4 and shape[1] > 1 and shape[2:] == [1, 1]


def _maps(proto: onnx.ModelProto) -> list[str]:
    return [node.name for node in proto.graph.node if node.op_type == "Add"
            and any(len(s := _shape(proto, each)) == 4 and s[2] > 1 for each in node.input)]  # fmt: skip


FEWEST = {"mobileone-s0": 43, "repghost-1.0": 95, "ghostnetv3-1.0": 137, "fastvit-t8": 52, "repvit-m1": 103}
"""Convolutions that timm.utils.reparameterize_model of timm 1.0.31 leaves."""


@pytest.mark.parametrize("name", [n if n == "mobileone-s0" else pytest.param(n, marks=pytest.mark.large) for n in FEWEST])
def test_no_more_convolutions_are_left_than_by_the_authors_own_merge(name: str) -> None:
    left = ops(rewritten(onnx.load(cached(name))).proto)
    assert left["Conv"] <= FEWEST[name]
    assert "BatchNormalization" not in left


def depthwise_taps(proto: onnx.ModelProto) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for node in proto.graph.node:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Conv" and given["group"] > 1:
            found[tuple(given["kernel_shape"])] += 1
    return found


@pytest.mark.large
@pytest.mark.timeout(3600)
def test_replknet_folds_every_small_kernel() -> None:
    proto = onnx.load(cached("replknet-31b"))
    before, after = depthwise_taps(proto), depthwise_taps(rewritten(proto).proto)
    assert (before[5, 5], after[5, 5]) == (24, 0)
    assert [after[k, k] for k in (31, 29, 27, 13)] == [2, 2, 18, 2]


@pytest.mark.large
@pytest.mark.timeout(3600)
def test_slak_folds_and_crops_and_keeps_strips_apart() -> None:
    after = depthwise_taps(rewritten(onnx.load(cached("slak-t"))).proto)
    assert {size: after[size] for size in ((51, 5), (5, 51), (49, 5), (5, 49), (27, 5), (5, 27))} == {
        (51, 5): 3, (5, 51): 3, (49, 5): 3, (5, 49): 3, (27, 5): 9, (5, 27): 9,
    }  # fmt: skip


@pytest.mark.large
@pytest.mark.parametrize("how", ["default", "preserve", "dynamo, optimized", "dynamo"])
@pytest.mark.parametrize(("name", "convolutions"), [("repvgg_a0", (44, 22)), ("mobileone_s0", (191, 43))])
def test_every_export_setting(name: str, convolutions: tuple[int, int], how: str, tmp_path: Path) -> None:
    import torch

    from tests.graphs.from_timm import timm_network

    more = {"opset_version": 17, "dynamo": False}
    if how == "preserve":
        more["training"] = torch.onnx.TrainingMode.PRESERVE
    elif how != "default":
        more = {"opset_version": 18, "dynamo": True, "optimize": how != "dynamo", "external_data": False, "verbose": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = timm_network(name, 64)
        torch.onnx.export(network, (torch.zeros(1, 3, 64, 64),), tmp_path / "model.onnx", **more)
    proto = onnx.load(tmp_path / "model.onnx")
    left = ops(rewritten(proto).proto)
    assert (ops(proto)["Conv"], left["Conv"]) == convolutions
    assert (left.get("BatchNormalization", 0), left.get("Add", 0)) == (0, 0)


# --- size ------------------------------------------------------------------------------------------------------------


def large_graph(nodes_wanted: int = 5000, channels: int = 64) -> onnx.ModelProto:
    """RepVGG blocks until there are so many nodes: about 100 MB."""
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(*shape: int) -> str:
        value = random.uniform(0.5, 1.0, shape).astype(np.float32)
        constants.append(numpy_helper.from_array(value, f"c{len(constants)}"))
        return constants[-1].name

    def node(op: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [f"t{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def norm(x: str) -> str:
        return node("BatchNormalization", x, *(constant(channels) for _ in range(4)))

    x = "x"
    while len(nodes) < nodes_wanted:
        dense = norm(node("Conv", x, constant(channels, channels, 3, 3), pads=[1, 1, 1, 1]))
        total = node("Add", dense, norm(node("Conv", x, constant(channels, channels, 1, 1))))
        x = node("Relu", node("Add", total, norm(x)))
    values = [helper.make_tensor_value_info(name, 1, [1, channels, 28, 28]) for name in ("x", x)]
    graph = helper.make_graph(nodes, "large", values[:1], values[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


_MEASURE = """
import resource, sys, onnx
from edgevision.rewrite.reparam import reparameterize
def resident(key):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(key)) * 1024
warm = reparameterize(onnx.load(sys.argv[1]), prove=False)
del warm
base = resident("VmRSS")
proto = onnx.load(sys.argv[2])
open("/proc/self/clear_refs", "w").write("5")
result = reparameterize(proto, prove=False)
assert result.changed
print(resident("VmHWM") - base)
"""


def test_five_thousand_nodes_take_less_than_ten_seconds_and_three_times_the_model(tmp_path: Path) -> None:
    proto = large_graph()
    assert len(proto.graph.node) >= 5000
    started = time.process_time()
    result = reparameterize(proto, prove=False)
    assert time.process_time() - started < 10
    assert ops(result.proto) == {"Conv": 625, "Relu": 625}
    onnx.save(proto, tmp_path / "large.onnx")
    onnx.save(large_graph(8), tmp_path / "small.onnx")
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    done = subprocess.run([sys.executable, "-c", _MEASURE, small, large], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 3 * large.stat().st_size
