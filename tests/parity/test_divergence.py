"""A wrong lowering is caught by verification, and the tensor that it spoils is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tvm import tirx

from edgevision.errors import VerificationError
from edgevision.lower.compute import elementwise, functions
from edgevision.pipeline import Options, compile_model


@pytest.fixture
def network(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) * 0.3).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("HardSwish", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"]),
        helper.make_node("Softplus", ["c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5, 8, 8])],
        [weight("w1", 8, 3, 3, 3), weight("w2", 5, 8, 1, 1)],
    )  # fmt: skip
    path = tmp_path / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_the_first_wrong_tensor_is_named_and_nothing_is_written(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(elementwise.UNARY, "HardSwish", lambda x, a: x * functions.hard_sigmoid(x, 1 / 6, 0.501))
    kept = tmp_path / "kept"
    with pytest.raises(VerificationError) as caught:
        compile_model(network, ["native"], Options(output=tmp_path / "out", measure=False, keep_failed=kept))
    assert caught.value.tensor == "b"
    assert "it reaches the output 'y'" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []
    assert (kept / "pieces" / "driver.c").exists()


def test_a_fault_of_fusion_alone_is_said_to_be_one(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgevision.schedule.tail import Tail

    right = Tail.value
    monkeypatch.setattr(
        Tail, "value", lambda self, at, anchored: right(self, at, anchored) * tirx.const(1.01, "float32")
        if self.last is not self.anchor else right(self, at, anchored),
    )  # fmt: skip
    with pytest.raises(VerificationError, match="fault lies in fusion") as caught:
        compile_model(network, ["native"], Options(output=tmp_path / "out", measure=False))
    assert caught.value.tensor == "y"


def test_the_right_network_passes(network: Path, tmp_path: Path) -> None:
    (outcome,) = compile_model(network, ["native"], Options(output=tmp_path / "out", measure=False)).outcomes
    assert outcome.verification.passed
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "edgevision.h", "network-bench", "network.json", "network.onnx", "network.so",
    ]  # fmt: skip
