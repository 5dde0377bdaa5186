"""`edgevision finetune` and `edgevision.finetune`: from a pruned file to a trained one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from PIL import Image

import edgevision
from edgevision import finetuning, ingest
from edgevision.cli.finetune import _progress
from edgevision.errors import EdgevisionError, InputError
from edgevision.finetuning import MissingTorchError, TorchDiffersError
from edgevision.report.json import SCHEMA
from edgevision.rewrite.prune.finetune.checkpoint import CheckpointError
from edgevision.rewrite.prune.finetune.recipe import Recipe
from edgevision.rewrite.prune.finetune.training import Step
from edgevision.zoo.saving import OutputError
from tests.cli.conftest import Command
from tests.rewrite.nets import Net

CLASSES, SIDE = 4, 8
QUICK = ("--epochs", "2", "--batch", "16", "--threads", "1", "--no-flip", "--shift", "0")


def network(path: Path, width: int, *, batch: int = 1) -> Path:
    """[batch, 1, 8, 8] -> 4 classes."""
    net = Net(dtype=np.float32)
    x = net.node("Relu", net.conv(net.input([batch, 1, SIDE, SIDE]), 1, width, 3, bias=True, pads=[1] * 4, strides=[2, 2]))
    x = net.node("Relu", net.conv(x, width, width, 1, bias=True))
    x = net.node("Flatten", net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    onnx.save(net.model(net.node("Gemm", x, net.normal(CLASSES, width * 4), transB=1)), path)
    return path


def pictures(folder: Path, per_class: int, seed: int, classes: int = CLASSES) -> Path:
    """Grey images with one bright quarter: its place is the class."""
    random = np.random.default_rng(seed)
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True)
        for number in range(per_class):
            image = random.integers(0, 128, (SIDE, SIDE), np.uint8)
            row, column = divmod(label, 2)
            image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 127
            Image.fromarray(image).save(folder / str(label) / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    pictures(folder / "train", 48, 0)
    pictures(folder / "val", 16, 1)
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    path = folder / "teacher.onnx"
    recipe = Recipe(epochs=6, batch=16, shift=0, flip=False)
    done = edgevision.finetune(network(folder / "fresh.onnx", 32), path, data=data, recipe=recipe, fresh=True, threads=1)
    assert done.after.share > 0.9 and done.scratch is None
    return path


@pytest.fixture
def pruned(teacher: Path, tmp_path: Path) -> Path:
    path = tmp_path / "pruned.onnx"
    edgevision.prune(teacher, path, macs=0.4)
    return path


def test_a_pruned_network_recovers(pruned: Path, teacher: Path, data: Path, tmp_path: Path, command: Command) -> None:
    output = tmp_path / "out.onnx"
    out, err = command("finetune", pruned, "--teacher", teacher, "--data", data, "-o", output, "--from-scratch", "--json", *QUICK)
    report = json.loads(out)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(report)
    assert report["images"] == 64 and report["trained_on"] == 192 and report["recipe"]["epochs"] == 2
    assert report["fine_tuned"]["top1"] > max(0.9, report["before"]["top1"])
    low, high = report["fine_tuned"]["interval"]
    assert low < report["fine_tuned"]["top1"] <= high
    assert report["from_scratch"]["correct"] > 0 and Path(report["scratch_output"]).name == "out.scratch.onnx"
    assert "fine-tuning: epoch 2 of 2" in err and "from scratch: epoch 1 of 2" in err
    table = json.loads((tmp_path / "out.widths.json").read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(table)
    assert table["layers"] == report["layers"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.onnx", "out.scratch.onnx", "out.widths.json", "pruned.onnx"
    ]  # fmt: skip
    first, second = (onnx.load(path).graph for path in (pruned, output))
    assert {(t.name, *t.dims) for t in first.initializer} == {(t.name, *t.dims) for t in second.initializer}
    assert first.node == second.node


def test_the_table_says_which_to_keep(pruned: Path, data: Path, tmp_path: Path, command: Command) -> None:
    out, _ = command("finetune", pruned, "--data", data, "-o", tmp_path / "out.onnx", "--from-scratch", "--limit", "64", *QUICK)
    assert "teacher" not in out and "before" in out and "from scratch" in out
    assert "64 images that training did not see" in out
    assert "keep: " in out and str(tmp_path / "out.scratch.onnx") in out


@pytest.mark.large
def test_a_killed_run_resumes_to_the_same_bits(pruned: Path, teacher: Path, data: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=16, batch=16, checkpoint_steps=1)
    whole = edgevision.finetune(pruned, tmp_path / "whole.onnx", teacher=teacher, data=data, recipe=recipe, threads=1)
    output = tmp_path / "killed.onnx"
    checkpoint = tmp_path / "killed.onnx.checkpoint"
    script = tmp_path / "again.py"
    script.write_text(
        "import edgevision\nfrom edgevision.rewrite.prune.finetune.recipe import Recipe\n"
        f"edgevision.finetune({str(pruned)!r}, {str(output)!r}, teacher={str(teacher)!r}, data={str(data)!r}, threads=1,\n"
        "    recipe=Recipe(epochs=16, batch=16, checkpoint_steps=1), resume=True)\n"
    )
    kills = 0
    for after_s in np.random.default_rng().uniform(0.0, 0.2, 2):
        kills += killed_script(script, float(after_s), checkpoint)
    assert kills == 2 and not output.exists()
    steps: list[int] = []
    edgevision.finetune(
        pruned, output, teacher=teacher, data=data, recipe=recipe, threads=1, resume=True,
        progress=lambda name, step: steps.append(step.step),
    )  # fmt: skip
    assert 1 < steps[0] <= steps[-1] == 16 * 12
    assert output.read_bytes() == whole.output.read_bytes()
    assert not checkpoint.exists()


def killed_script(script: Path, after_s: float, checkpoint: Path) -> bool:
    """Kills it ``after_s`` after it has written a new checkpoint; whether it was still running."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    process = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
            break
        time.sleep(0.002)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def test_another_run_does_not_resume(pruned: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"

    def stop(name: str, step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edgevision.finetune(pruned, output, data=data, recipe=Recipe(epochs=1, checkpoint_steps=1), threads=1, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.onnx.checkpoint", "pruned.onnx"]
    with pytest.raises(CheckpointError, match="a run with another --lr; start anew without --resume"):
        edgevision.finetune(
            pruned, output, data=data, recipe=Recipe(epochs=1, lr=0.3, checkpoint_steps=1), threads=1, resume=True
        )


def test_a_damaged_image_is_named_skipped_and_counted(pruned: Path, tmp_path: Path, command: Command) -> None:
    images = pictures(tmp_path / "images", 20, 0)
    (images / "1" / "3.png").write_bytes(b"no image")
    out, err = command("finetune", pruned, "--data", images, "-o", tmp_path / "out.onnx", *QUICK)
    assert "skipped " in err and "3.png: " in err and "1 unreadable images skipped" in out


@pytest.fixture
def refused(pruned: Path, tmp_path: Path) -> Callable[..., None]:
    def check(error: type[EdgevisionError], message: str, code: int = 2, **given: object) -> None:
        arguments = {"source": pruned, "output": tmp_path / "out.onnx", "epochs": 1, "threads": 1, **given}
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(error, match=message) as raised:
            edgevision.finetune(**arguments)  # type: ignore[arg-type]
        assert raised.value.exit_code == code and sorted(tmp_path.rglob("*")) == before

    return check


def test_data_that_do_not_fit_are_refused(refused: Callable[..., None], data: Path, tmp_path: Path) -> None:
    """Other images that cannot be used: tests/measure/test_labelled.py."""
    more = pictures(tmp_path / "more", 3, 0)
    (more / "3").rename(more / "9")
    refused(InputError, "labels go up to 9, but the network scores 4", data=more)
    refused(OutputError, "there is no folder", data=data, output=tmp_path / "none" / "out.onnx")


def test_another_teacher_is_refused(refused: Callable[..., None], data: Path, tmp_path: Path) -> None:
    net = Net(dtype=np.float32)
    flat = net.node("Flatten", net.input([1, 1, SIDE, SIDE]))
    onnx.save(net.model(net.node("Gemm", flat, net.normal(5, SIDE**2), transB=1)), tmp_path / "five.onnx")
    refused(InputError, "give different tensors.*give the network that was pruned", data=data, teacher=tmp_path / "five.onnx")


def test_a_network_that_mixes_images_is_refused(refused: Callable[..., None], data: Path, tmp_path: Path) -> None:
    """Its Reshape leads images into each other, which is seen when several are run at once."""
    net = Net(dtype=np.float32)
    x = net.node("Reshape", net.input([2, 1, SIDE, SIDE]), net.constant([1, 2 * SIDE**2]))
    x = net.node("MatMul", x, net.normal(2 * SIDE**2, 2 * CLASSES))
    onnx.save(net.model(net.node("Reshape", x, net.constant([2, CLASSES]))), tmp_path / "mixed.onnx")
    refused(TorchDiffersError, "differ from onnxruntime's", 3, data=data, source=tmp_path / "mixed.onnx")


def test_a_batch_of_several_images_is_trained(data: Path, tmp_path: Path) -> None:
    source = network(tmp_path / "batch.onnx", 8, batch=3)
    done = edgevision.finetune(source, tmp_path / "out.onnx", data=data, recipe=Recipe(epochs=1, batch=16), fresh=True, threads=1)
    assert done.after.images == 64 and done.after.correct != done.before.correct
    assert ingest.read(done.output).inputs[0].shape == (3, 1, SIDE, SIDE)


def test_without_torch_the_extra_is_named(refused: Callable[..., None], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuning, "find_spec", lambda name: None)
    refused(MissingTorchError, r"pip install 'edgevision\[torch\]'", 4, data=data)


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    step = Step(step=3, steps=6, epoch=1, epochs=2, loss=0.25)
    with _progress() as show:
        show("fine-tuning", step)
    assert capsys.readouterr().err == "fine-tuning: epoch 1 of 2, loss 0.250\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with _progress() as show:
        show("fine-tuning", step)
    printed = capsys.readouterr()
    assert "epoch 1/2, loss 0.250" in printed.err and printed.out == ""


def test_help_and_import_need_no_torch() -> None:
    code = "import sys, edgevision.finetuning, edgevision.cli.finetune; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
