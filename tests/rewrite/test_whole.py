"""Whole models: what is kept, the command line, and the step inside compile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

import edgevision
from edgevision import pipeline
from edgevision.cli.main import edgevision as command
from edgevision.rewrite.reparam import reparameterize
from tests.rewrite.nets import EAGER, EXACT, Net, error, ops, rewritten
from tests.rewrite.test_blocks import conv_bn, repvgg


def model(opset: int = 17, shape: tuple[int | str, ...] = ("n", 6, "h", "w")) -> onnx.ModelProto:
    net = Net(opset=opset, dtype=np.float32)
    return net.model(repvgg(net, repvgg(net, net.input(list(shape)))))


@pytest.mark.parametrize("opset", range(9, 24))
def test_every_opset(opset: int) -> None:
    net = Net(opset=opset)
    x = net.input([1, 6, 8, 8])
    y = net.node("AveragePool", conv_bn(net, repvgg(net, x), 6, 6, 1), kernel_shape=[2, 2], strides=[2, 2])
    if opset >= 11:
        y = net.node("Pad", y, net.constant([0, 0, 1, 0, 0, 0, 0, 1]))
    else:
        y = net.node("Pad", y, pads=[0, 0, 1, 0, 0, 0, 0, 1])
    proto = net.model(net.conv(y, 6, 4, 3))
    if opset >= 14:
        result = rewritten(proto)
    else:  # onnx.reference 1.23 normalises by the batch there
        result = reparameterize(proto, cost=EAGER)
        onnx.checker.check_model(result.proto, full_check=True)
        assert result.certificate is not None
        assert result.certificate.error64 <= EXACT
        assert not result.certificate.undone
    assert result.proto.opset_import[0].version == opset
    assert "BatchNormalization" not in ops(result.proto)


def test_the_border_and_the_metadata_stay() -> None:
    proto = model()
    proto.producer_name, proto.doc_string = "somebody", "a net"
    helper.set_model_props(proto, {"classes": "cat,dog"})
    unused = onnx.numpy_helper.from_array(np.ones(3, np.float32), "never read")
    proto.graph.initializer.append(unused)
    result = reparameterize(proto)
    after = result.proto
    for name in ("ir_version", "producer_name", "doc_string", "metadata_props", "opset_import"):
        assert getattr(after, name) == getattr(proto, name)
    for name in ("input", "output", "name"):
        assert getattr(after.graph, name) == getattr(proto.graph, name)
    assert "never read" in [tensor.name for tensor in after.graph.initializer]
    assert len(after.graph.initializer) == 5
    assert error(proto, after, n=2, h=9, w=7) <= 1e-5


def test_the_same_model_gives_the_same_bytes() -> None:
    one, other = (reparameterize(model(), prove=False).proto.SerializeToString(deterministic=True) for _ in "ab")
    assert one == other


def test_a_rewritten_model_is_not_rewritten_again() -> None:
    once = reparameterize(model(), prove=False).proto
    assert reparameterize(once, prove=False).proto is once


def test_names_of_the_model_are_not_taken_twice() -> None:
    """A tensor that is called what a new weight would be called."""
    proto = model()
    output = reparameterize(proto, prove=False).regions[0].output
    proto.graph.node.append(helper.make_node("Relu", ["x"], [f"{output}/weight"]))
    proto.graph.output.append(helper.make_tensor_value_info(f"{output}/weight", 1, ["n", 6, "h", "w"]))
    result = reparameterize(proto, prove=False)
    onnx.checker.check_model(result.proto)
    assert error(proto, result.proto, n=1, h=5, w=5) <= 1e-5


def test_the_package_offers_it() -> None:
    assert edgevision.reparameterize(model(), prove=False).changed


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(command, [str(a) for a in ("reparam", *arguments)], catch_exceptions=False,
                                standalone_mode=False)  # fmt: skip
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(model(), path)
    return path


def test_the_command_writes_the_model_and_prints_what_became_less(file: Path) -> None:
    out = file.parent / "out.onnx"
    printed = run(file, "-o", out, "--explain")
    assert ops(onnx.load(out)) == {"Conv": 2, "Relu": 2}
    assert "agrees with the original" in printed
    assert "rewritten: " in printed


def test_the_command_says_without_being_asked_that_something_was_left_alone(tmp_path: Path) -> None:
    net = Net(dtype=np.float32)
    onnx.save(net.model(net.norm(net.conv(net.input([1, 3, 5, 5]), 3, 4), 4, training_mode=1)), tmp_path / "training.onnx")
    printed = run(tmp_path / "training.onnx", "-o", tmp_path / "out.onnx")
    assert "merges declined: 0, operators left alone: 1; --explain says why" in printed
    assert "export the model in eval() mode" in run(tmp_path / "training.onnx", "-o", tmp_path / "out.onnx", "--explain")
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "training.onnx").read_bytes()


def test_the_command_says_the_same_in_json(file: Path) -> None:
    image = file.parent / "image.npy"
    np.save(image, np.random.default_rng(0).standard_normal((1, 6, 9, 9)).astype(np.float32))
    report = json.loads(run(file, "-o", file.parent / "out.onnx", "--json", "-i", image))
    assert report["kind"] == "reparameterization"
    assert (report["before"]["operators"]["Conv"], report["after"]["operators"]) == (4, {"Conv": 2})
    assert report["certificate"]["holds"]
    assert (report["certificate"]["inputs"], report["certificate"]["given"]) == (2, 1)
    assert len(report["regions"]) == 2


def test_a_file_in_which_nothing_changes_is_written_as_the_same_bytes(file: Path) -> None:
    once, twice = file.parent / "once.onnx", file.parent / "twice.onnx"
    run(file, "-o", once)
    odd = once.read_bytes() + b"\x72\x00"  # an empty metadata entry: parsing and writing again need not keep such bytes
    once.write_bytes(odd)
    run(once, "-o", twice)
    assert twice.read_bytes() == odd


def test_external_weights_that_stay_are_brought_along(file: Path) -> None:
    once = file.parent / "once.onnx"
    run(file, "-o", once)
    beside = file.parent / "beside"
    beside.mkdir()
    onnx.save(onnx.load(once), beside / "external.onnx", save_as_external_data=True, size_threshold=0)
    run(beside / "external.onnx", "-o", file.parent / "whole.onnx")
    assert error(onnx.load(once), onnx.load(file.parent / "whole.onnx"), n=1, h=5, w=5) == 0


@pytest.mark.parametrize("arguments", [("nowhere/out.onnx",), ("out.onnx", "-i", "a.npy", "-i", "b.npy")])
def test_bad_arguments_are_input_errors(file: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(edgevision.errors.InputError):  # type: ignore[attr-defined]
        run(file, "-o", file.parent / arguments[0], *arguments[1:])


@pytest.mark.parametrize("reparam", [True, False])
def test_compile_reads_the_merged_model_unless_asked_not_to(file: Path, reparam: bool) -> None:
    options = pipeline.Options(input_shapes={"": (1, 6, 8, 8)}, reparam=reparam, simplify=False)
    read = pipeline.read(file, options)
    assert ops(read.proto)["Conv"] == (2 if reparam else 4)
    counts = {change.rule: change.count for change in read.changes}
    assert counts.get("reparameterize", 0) == (2 if reparam else 0)
    assert counts.get("fold-batch-norm", 0) == (0 if reparam else 4)
    assert read.original == file


def test_compile_merges_what_only_fixed_extents_allow(tmp_path: Path) -> None:
    net = Net(dtype=np.float32)
    x = net.input([1, 4, "h", "w"])
    dense = conv_bn(net, x, 4, 4, 3, strides=[2, 2])
    pooled = net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    onnx.save(net.model(net.node("Add", dense, conv_bn(net, pooled, 4, 4, 1))), tmp_path / "m.onnx")
    read = pipeline.read(tmp_path / "m.onnx", pipeline.Options(input_shapes={"": (1, 4, 8, 8)}, simplify=False))
    assert ops(read.proto) == {"Conv": 1}
