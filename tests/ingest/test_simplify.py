"""onnxsim may crash, hang, fail or write nonsense: the model is read all the same, and says so."""

import sys

import onnx
import pytest

from edgevision.ingest import read
from edgevision.ingest.simplify import simplify
from tests.ingest.nets import checked, network, operators, random

NET = network(
    "(float[1,4,5,5] x) => (float[1,6,5,5] y) { h = Conv(x, w) i = Identity(h) y = Relu(i) }", w=random(6, 4, 1, 1)
)
HEAD = "import os, signal, sys, time, onnx\nbefore, after = sys.argv[1:]\nmodel = onnx.load(before)\n"
SAVE = "open(after, 'wb').write(model.SerializeToString())"
CHILDREN = {
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "onnxsim crashed (SIGSEGV): went on without it"),
    "exception": ("raise RuntimeError('no luck')", "onnxsim failed (RuntimeError: no luck): went on without it"),
    "silence": ("sys.exit(3)", "onnxsim failed (exit code 3): went on without it"),
    "nothing written": ("pass", "onnxsim failed (exit code 0): went on without it"),
    "half a file": ("open(after, 'wb').write(model.SerializeToString()[:-9])", "wrote a file that does not parse"),
    "hang": ("time.sleep(60)", "onnxsim took over 0.5 s: went on without it"),
    "other input": (
        f"model.graph.input[0].name = 'z'; model.graph.node[0].input[0] = 'z'; {SAVE}",
        "onnxsim's result has other inputs",
    ),
    "other shape": (f"model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2; {SAVE}", "has other inputs"),
    "other output": (
        f"model.graph.output[0].name = 'z'; model.graph.node[-1].output[0] = 'z'; {SAVE}",
        "has other outputs",
    ),
    "newer opset": (f"model.opset_import[0].version = 23; {SAVE}", "has opset 23"),
    "foreign operator": (f"model.graph.node[-1].domain = 'com.acme'; {SAVE}", "holds com.acme::Relu"),
    "quantized": (f"model.graph.node[-1].op_type = 'DynamicQuantizeLinear'; {SAVE}", "is quantized"),
    "invalid": (f"model.graph.node[-1].input[0] = 'nothing'; {SAVE}", "is not valid ONNX"),
}


@pytest.mark.parametrize(("script", "note"), CHILDREN.values(), ids=CHILDREN)
def test_a_bad_end_is_noted(tmp_path, script, note):
    child = tmp_path / "child.py"
    child.write_text(HEAD + script)
    proto, found = simplify(NET, child=child, time_limit_s=0.5 if "sleep" in script else 60)
    assert note in found
    assert proto is NET


def test_a_good_end_is_taken(tmp_path):
    child = tmp_path / "child.py"
    child.write_text(HEAD + "model.graph.node[-1].op_type = 'Abs'\n" + SAVE)
    proto, note = simplify(NET, child=child)
    assert note == ""
    assert proto.graph.node[-1].op_type == "Abs"


def test_without_onnxsim(monkeypatch):
    monkeypatch.setattr("edgevision.ingest.simplify.find_spec", lambda name: None)
    model = read(NET)
    assert model.notes == ("onnxsim is not installed: went on without it",)
    assert operators(model) == ["Conv", "Relu"]


def test_a_large_model_goes_without(monkeypatch):
    monkeypatch.setattr("edgevision.ingest.simplify.PROTOBUF_LIMIT_BYTES", 2 * 6 * 4 * 4 - 1)
    assert read(NET).notes == ("the model is over 1 GiB: went on without onnxsim",)


def test_onnxsim_itself():
    """The real one, in its process: nothing to note, and nothing of it loaded here."""
    model = checked(NET, simplify=True)
    assert model.notes == ()
    assert operators(model) == ["Conv", "Relu"]
    assert "onnxsim" not in sys.modules


def test_the_original_is_what_was_given():
    assert onnx.load_from_string(read(NET).original) == NET
