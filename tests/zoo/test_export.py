"""The exported file: its structure in both forms, its function in onnxruntime, its bytes, and every way to fail."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgevision import zoo
from edgevision.errors import InputError, UnknownNameError
from edgevision.zoo import saving

# Conv, BatchNormalization and Add of RepVGG-A0 as the authors train it, and merged.
REPVGG_A0 = {"train": (44, 61, 39), "deploy": (22, 0, 0)}


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("form", REPVGG_A0)
def test_the_form_survives_the_export(form, tmp_path):
    model = onnx.load(zoo.export("repvgg-a0", tmp_path / "net.onnx", form=form))
    ops = Counter(node.op_type for node in model.graph.node)
    assert (ops["Conv"], ops["BatchNormalization"], ops["Add"]) == REPVGG_A0[form]
    trained = [a.i for node in model.graph.node for a in node.attribute if a.name == "training_mode"]
    assert not any(trained)


@pytest.mark.parametrize("name", ["ghostnet-0.5", "mobilenetv1-1.0", "mobilenetv3-small", "parnet-s"])
@pytest.mark.parametrize("form", ["train", "deploy"])
def test_the_file_computes_what_the_module_does(name, form, tmp_path, built):
    path = zoo.export(name, tmp_path / "net.onnx", form=form, batch=2)
    model = onnx.load(path)
    assert model.opset_import[0].version >= 17
    assert [(value.name, _shape(value)) for value in model.graph.input] == [("input", [2, 3, 224, 224])]
    assert [(value.name, _shape(value)) for value in model.graph.output] == [("output", [2, 1000])]
    x = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"input": x})
    with torch.inference_mode():
        expected = built(name, form)(torch.from_numpy(x)).numpy()
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-4
    assert np.abs(got[0] - got[1]).max() / np.abs(got).max() > 1e-2


@pytest.mark.parametrize("form", ["train", "deploy"])
def test_the_same_seed_gives_the_same_bytes_in_another_process(form, tmp_path):
    here = zoo.export("mobilenetv1-1.0", tmp_path / "here.onnx", form=form)
    there = tmp_path / "there.onnx"
    code = (
        "import sys; from pathlib import Path; from edgevision import zoo; "
        "zoo.export('mobilenetv1-1.0', Path(sys.argv[1]), form=sys.argv[2])"
    )
    done = subprocess.run([sys.executable, "-c", code, there, form], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert here.read_bytes() == there.read_bytes()
    assert here.read_bytes() != zoo.export("mobilenetv1-1.0", there, form=form, seed=1).read_bytes()


def test_asymmetric_padding_is_one_pad_with_constant_amounts(tmp_path):
    model = onnx.load(zoo.export("mobilenetv1-1.0", tmp_path / "net.onnx"))
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    pads = [node for node in model.graph.node if node.op_type == "Pad"]
    assert len(pads) == 5
    for node in pads:
        assert onnx.numpy_helper.to_array(constants[node.input[1]]).tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert not {"ConstantOfShape", "Cast", "Transpose"} & {node.op_type for node in model.graph.node}


def test_listing_and_asking_for_names_import_no_torch():
    code = (
        "import sys, edgevision.cli.zoo, edgevision.zoo as zoo; zoo.names(); zoo.entries(); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'onnx', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_torch_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "find_spec", lambda name: None)
    with pytest.raises(zoo.MissingTorchError, match=r"pip install 'edgevision\[torch\]'") as caught:
        zoo.export("ghostnet-1.0", tmp_path / "net.onnx")
    assert caught.value.exit_code == 4 and caught.value.name == "ghostnet-1.0"


WRONG_ARGUMENTS = {
    "name": (
        {"name": "ghostnet-1.1"},
        UnknownNameError,
        "unknown network 'ghostnet-1.1'; did you mean 'ghostnet-1.3', 'ghostnet-1.0'",
    ),
    "form": ({"form": "deployed"}, UnknownNameError, "unknown form 'deployed'; did you mean 'deploy'"),
    "seed": ({"seed": -1}, InputError, "seed -1"),
    "batch": ({"batch": 0}, InputError, "batch 0"),
}


@pytest.mark.parametrize(("change", "error", "message"), WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
def test_a_wrong_argument_is_refused_before_any_work(change, error, message, tmp_path):
    arguments = {"name": "ghostnet-1.0", "output": tmp_path / "net.onnx"} | change
    with pytest.raises(error, match=message.replace(".", r"\.")) as caught:
        zoo.export(arguments.pop("name"), arguments.pop("output"), **arguments)
    assert caught.value.exit_code == 2 and not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(zoo.OutputError, match="it is a folder"):
        zoo.export("mobilenetv3-small", tmp_path)
    with pytest.raises(zoo.OutputError, match="there is no folder") as caught:
        zoo.export("mobilenetv3-small", tmp_path / "missing" / "net.onnx")
    assert caught.value.path == tmp_path / "missing" / "net.onnx"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(monkeypatch, tmp_path):
    output = tmp_path / "net.onnx"
    output.write_bytes(b"old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(zoo.OutputError, match="No space left on device"):
        zoo.export("mobilenetv3-small", output)
    assert output.read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_a_read_only_folder_is_refused_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(saving.os, "access", lambda path, mode: False)
    with pytest.raises(zoo.OutputError, match="is read-only"):
        zoo.export("parnet-xl", tmp_path / "net.onnx")
