"""`edgevision prune` and `edgevision.prune`: from file to file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import edgevision
from edgevision import ingest, zoo
from edgevision.counting import count
from edgevision.errors import EdgevisionError, InputError
from edgevision.pipeline import Options, compile_model
from edgevision.pruned_model import PruneOptions
from edgevision.pruning import ConflictError
from edgevision.report.json import SCHEMA
from edgevision.rewrite.prune import Filters
from edgevision.rewrite.prune.latency import LatencyBudgetError
from edgevision.zoo.saving import OutputError
from tests.cli.conftest import Command
from tests.measure.photographs import folder_of_images
from tests.pages import save_model
from tests.rewrite.nets import Net
from tests.rewrite.prune.styles import STYLES


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """[batch, 3, 32, 32] -> [batch, 10]: layers of 16 and 32 channels."""
    save_model(tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def widths(path: Path) -> dict[str, int]:
    proto = onnx.load(path)
    return {tensor.name: tensor.dims[0] for tensor in proto.graph.initializer if len(tensor.dims) == 4}


def test_a_file_becomes_a_smaller_file(model: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "out.onnx"
    printed, _ = command("prune", model, "-o", out, "--keep", 0.5, "--input-shape", "1,3,32,32", "--explain")
    assert "requested: 50.0% of the channels; achieved: 50.0%" in printed
    assert "10 channels stay: output 'scores' of the network" in printed
    assert printed.rstrip().endswith(str(out))
    assert sorted(widths(out).values()) == [8, 8, 16]
    onnx.checker.check_model(str(out), full_check=True)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.ones((1, 3, 32, 32), np.float32)})[0].shape == (1, 10)


def test_the_report_fits_the_schema(model: Path, tmp_path: Path, command: Command) -> None:
    import jsonschema

    for words in (("--macs", 0.6), ("--lossless",)):
        printed, _ = command("prune", model, "-o", tmp_path / "out.onnx", "--input-shape", "1,3,32,32", "--json", *words)
        report = json.loads(printed)
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(report)
        assert report["kind"] == "pruning"
    assert report["dead"] == {"removed": 0, "kept": 0, "near": []} and report["achieved"] == 1


def test_lossless_says_what_it_found(model: Path, tmp_path: Path, command: Command) -> None:
    proto = onnx.load(model)
    tensor = next(each for each in proto.graph.initializer if each.name == "pointwise")
    weight = numpy_helper.to_array(tensor).copy()
    weight[:9] = 0
    tensor.CopyFrom(numpy_helper.from_array(weight, "pointwise"))
    onnx.save(proto, model)
    out = tmp_path / "out.onnx"
    printed, _ = command("prune", model, "-o", out, "--lossless", "--input-shape", "1,3,32,32")
    assert "8 dead channels removed" in printed and "1 dead channels stay" in printed
    assert "nearly dead: 9 of 32 filters" in printed
    feeds = {"image": np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)}
    before, after = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for path in (model, out)
    )
    assert np.abs(before - after).max() <= 1e-6 * np.abs(before).max()


WRONG = {
    "nothing asked": ((), "none was given"),
    "two things asked": (("--keep", "0.5", "--macs", "0.5"), "--keep and --macs was given"),
    "a share above 1": (("--keep", "1.5"), "between 0 and 1"),
    "a budget out of reach": (("--macs", "0.01"), "is the least"),
    "a range for nothing": (("--keep", "0.5", "--input-range", "0,1"), "--input-range tells --lossless"),
    "a share of 0": (("--params", "0"), "between 0 and 1"),
    "a budget below the least": (("--macs", "0.05"), "0.323 is the least, at the narrowest widths allowed"),
    "nothing prunable": (("--keep", "0.5", "--round-to", "64"), "nothing can be pruned: every channel is frozen or in a layer"),
    "a frozen name that does not exist": (("--keep", "0.5", "--freeze", "Conv_9"), "unknown node or tensor to freeze"),
    "taylor without images": (("--keep", "0.5", "--importance", "taylor"), "give them with --data DIR"),
    "images for nothing": (("--keep", "0.5", "--data", "."), "--data is for --importance taylor"),
    "a target without figures": (("--latency", "60%", "--target", "armv7"), "Only 64-bit ARM has a model of its cycles"),
    "a target without milliseconds": (("--latency", "5ms", "--target", "arm64"), "give a share of the network's, --latency 60%"),
    "a share of time above 1": (("--latency", "160%"), "between 0 and 1"),
    "a target that does not exist": (("--latency", "5ms", "--target", "pi9"), "unknown target"),
    "a time that is none": (("--latency", "soon"), "not a time such as 12ms"),
    "an empty range": (("--lossless", "--input-range", "1,0"), "least and the largest"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_line_and_writes_nothing(
    words: tuple[str, ...], said: str, model: Path, command: Command
) -> None:
    _, error = command("prune", model, "-o", model.parent / "out.onnx", "--input-shape", "1,3,32,32", *words, status=2)
    assert said in error
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]


def test_images_that_do_not_fit_or_are_of_one_class(model: Path, tmp_path: Path, command: Command) -> None:
    words = ("-o", tmp_path / "out.onnx", "--input-shape", "1,3,32,32", "--keep", 0.5, "--importance", "taylor", "--data")
    _, error = command("prune", model, *words, folder_of_images(tmp_path / "one", classes=1, size=(32, 32)), status=2)
    assert "class" in error
    many = folder_of_images(tmp_path / "many", classes=11, per_class=2, size=(32, 32))
    _, error = command("prune", model, *words, many, status=2)
    assert "the labels go up to 10, but the network scores 10 classes" in error
    _, error = command("prune", model, *words, tmp_path / "none", status=2)
    assert "none" in error
    assert not (tmp_path / "out.onnx").exists()


def test_an_unreadable_image_is_named_skipped_and_counted(model: Path, tmp_path: Path, command: Command) -> None:
    folder = folder_of_images(tmp_path / "images", per_class=4, size=(32, 32))
    (folder / "2" / "1.png").write_bytes(b"not a picture")
    words = ("-o", tmp_path / "out.onnx", "--input-shape", "1,3,32,32", "--keep", 0.5, "--importance", "taylor")
    _, error = command("prune", model, *words, "--data", folder)
    assert "skipped" in error and "1.png" in error and "1 unreadable images skipped" in error
    assert (tmp_path / "out.onnx").exists()


def test_files_that_cannot_be_read_or_written(model: Path, tmp_path: Path) -> None:
    for source, output in ((tmp_path / "none.onnx", tmp_path / "out.onnx"), (model, tmp_path / "none" / "out.onnx")):
        with pytest.raises(EdgevisionError) as caught:
            edgevision.prune(source, output, keep=0.5, input_shapes={"image": (1, 3, 32, 32)})
        assert caught.value.exit_code == 2
    with pytest.raises(OutputError):
        edgevision.prune(model, tmp_path, keep=0.5)


def test_an_own_importance_from_python(model: Path) -> None:
    def falling(filters: Filters) -> NDArray[np.float64]:
        return np.arange(len(filters.weight), 0.0, -1.0)

    shapes = {"image": (1, 3, 32, 32)}
    first = edgevision.prune(model, keep=0.4, input_shapes=shapes, importance=falling)
    before, after = (
        next(numpy_helper.to_array(t) for t in proto.graph.initializer if list(t.dims[1:]) == [3, 3, 3])
        for proto in (first.model.proto, first.pruned.proto)
    )
    assert 0 < len(after) < len(before)
    assert np.array_equal(before[: len(after)], after)
    assert first.after.macs < first.before.macs
    with pytest.raises(ConflictError):
        edgevision.prune(model, keep=0.5, lossless=True)
    with pytest.raises(InputError):
        edgevision.prune(model, keep=2.0)


def test_gamma_is_read_from_the_original_file() -> None:
    """Ingest folds BatchNormalization into the weights; its scale still decides."""
    net = Net(dtype=np.float32)
    gamma = np.r_[np.full(8, 2.0), np.full(8, 1.0)]
    weight = net.random.standard_normal((16, 3, 1, 1))
    weight[:8] *= 1e-3
    x = net.node("Conv", net.input([1, 3, 6, 6]), net.constant(weight))
    rest = [net.constant(values) for values in (gamma, np.zeros(16), np.zeros(16), np.ones(16))]
    x = net.node("Relu", net.node("BatchNormalization", x, *rest))
    proto = net.model(net.conv(x, 16, 2, 1))
    result = edgevision.prune(proto, keep=0.5, importance="bn")
    assert "BatchNormalization" not in {node.op_type for node in result.model.proto.graph.node}
    (kept,) = (numpy_helper.to_array(t) for t in result.pruned.proto.graph.initializer if t.dims[:2] == [8, 3])
    assert np.abs(kept).max() < 0.1


@pytest.mark.large
@pytest.mark.parametrize("name", STYLES)
def test_a_pruned_network_compiles_and_verifies(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    edgevision.prune(STYLES[name](), out, keep=0.5)
    (outcome,) = compile_model(out, ["native"], Options(output=tmp_path / "built", measure=False)).outcomes
    assert outcome.verification.passed


def test_a_latency_that_cannot_be_measured_or_is_none(model: Path, command: Command) -> None:
    shape = ("--input-shape", "1,3,32,32")
    _, error = command("prune", model, "-o", model.parent / "o.onnx", *shape, "--latency", "1ms", "--target", "arm64", status=2)
    assert "arm64 has no latency in milliseconds here" in error
    _, error = command("prune", model, "-o", model.parent / "o.onnx", *shape, "--latency", "0ms", status=2)
    assert "positive time" in error
    _, error = command("prune", model, "-o", model.parent / "o.onnx", *shape, "--latency", "soon", status=2)
    assert "12ms" in error


@pytest.mark.large
@pytest.mark.timeout(1800)
def test_a_latency_on_this_machine(tmp_path: Path) -> None:
    """The whole way, with the compiler and the clock: a budget out of reach says how fast it got, and that one holds."""
    network = zoo.export("mobilenetv3-small", tmp_path / "network.onnx")
    with pytest.raises(LatencyBudgetError, match="fastest of") as caught:
        edgevision.prune(network, latency_ms=1e-3)
    result = edgevision.prune(network, tmp_path / "out.onnx", latency_ms=2 * caught.value.reached_ms)
    assert result.timed is not None
    assert 0.5 * result.timed.budget_ms < result.timed.achieved_ms <= result.timed.budget_ms < result.timed.full_ms
    assert result.after.macs < result.before.macs
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)


def test_compile_prunes_on_the_way(model: Path, tmp_path: Path) -> None:
    """The library computes the pruned network, is compared with it, and its manifest says what went."""
    chosen = PruneOptions(measure="macs", share=0.6)
    options = Options(output=tmp_path / "built", input_shapes={"image": (1, 3, 32, 32)}, measure=False, prune=chosen)
    (outcome,) = compile_model(model, ["native"], options).outcomes
    assert outcome.verification.passed
    written = json.loads(outcome.artifact.manifest.read_text())
    whole = ingest.read(model, input_shapes=options.input_shapes)
    assert 0 < sum(step.macs for step in outcome.artifact.steps) <= 0.6 * count(whole.proto).macs
    assert written["original"]["sha256"] == whole.sha256
    assert written["original"]["provenance"]["pruned"] == "macs=0.6 by l1"
    said = " ".join(written["notes"])
    assert "of the MACs stay" in said and "verified against the pruned network" in said
    stated = float(said.split("differ from the given network's by ")[1].split("%")[0]) / 100
    assert 0.01 < stated < 10
    assert any(change["rule"] == "prune macs=0.6 by l1" for change in written["changes"])


@pytest.mark.parametrize("said", ["macs", "macs=2", "macs=x", "latency=12ms", "flops=0.5"])
def test_compile_refuses_a_share_that_is_none(said: str, model: Path, command: Command) -> None:
    _, error = command("compile", model, "--prune", said, status=2)
    assert f"--prune {said}: give keep=, macs= or params=" in error
