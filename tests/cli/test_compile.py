"""`edgevision compile` as a user meets it: what it prints, its exit codes, and one sentence for everything that goes
wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgevision.cli import main
from tests.ingest.nets import network, random

GOOD = "(float[1,3,8,8] x) => (float[1,4,6,6] y) { c = Conv(x, w) y = Relu(c) }"


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Call the command line in this process."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["edgevision", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        captured = capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.onnx"
    onnx.save(network(GOOD, w=random(4, 3, 3, 3)), path)
    return path


def save(tmp_path: Path, body: str, **weights: np.ndarray) -> Path:
    path = tmp_path / "bad.onnx"
    onnx.save(network(body, **weights), path)
    return path


def test_a_compile_prints_a_table_and_the_path(run: Callable[..., Result], good: Path, tmp_path: Path) -> None:
    result = run("compile", good, "-o", tmp_path / "out", "--profile")
    assert result.code == 0
    assert "native, 3 inputs" in result.out
    assert str(tmp_path / "out" / "good.so") in result.out
    assert "reading the model" in result.err


def test_json_is_json_and_quiet_is_quiet(run: Callable[..., Result], good: Path, tmp_path: Path) -> None:
    result = run("compile", good, "-o", tmp_path / "out", "--json", "-q", "--no-measure")
    report = json.loads(result.out)
    assert report["kind"] == "compile"
    assert report["targets"][0]["latency"] is None
    assert report["targets"][0]["not_measured"] == "--no-measure"
    assert result.err == ""


def test_without_output_a_folder_is_named_after_model_and_target(
    run: Callable[..., Result], good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("compile", good, "-q", "--no-measure", "--no-verify").code == 0
    assert (tmp_path / "build" / "good.native" / "good.so").exists()
    manifest = json.loads((tmp_path / "build" / "good.native" / "good.json").read_text())
    assert manifest["verification"]["how"] == "skipped"


def test_ir_is_dumped_phase_by_phase(run: Callable[..., Result], good: Path, tmp_path: Path) -> None:
    assert run("compile", good, "-q", "-o", tmp_path / "out", "--no-measure", "--dump-ir", tmp_path / "ir").code == 0
    names = sorted(p.name for p in (tmp_path / "ir").iterdir())
    assert [n[:3] for n in names] == [f"{i:02d}-" for i in range(len(names))]
    assert "conv" in (tmp_path / "ir" / names[0]).read_text()


def bad_cases(tmp_path: Path) -> dict[str, tuple[Sequence[object], int, str]]:
    """name -> (arguments after `compile`, exit code, what the sentence says)."""
    empty, folder, text = tmp_path / "empty.onnx", tmp_path / "folder", tmp_path / "text.onnx"
    empty.touch()
    folder.mkdir()
    text.write_text("hello")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(network(GOOD, w=random(4, 3, 3, 3)).SerializeToString()[:200])
    good = tmp_path / "g.onnx"
    onnx.save(network(GOOD, w=random(4, 3, 3, 3)), good)
    open_ = tmp_path / "open.onnx"
    onnx.save(network("(float[N,3,H,W] x) => (float[N,4,h,w] y) { y = Conv(x, k) }", k=random(4, 3, 3, 3)), open_)
    unknown = save(tmp_path, "(float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Det2(x) }")
    return {
        "missing": ([tmp_path / "no.onnx"], 2, "no such file"),
        "directory": ([folder], 2, "is a directory"),
        "empty": ([empty], 2, "is empty"),
        "truncated": ([cut], 2, "truncated or damaged"),
        "not ONNX": ([text], 2, "not an ONNX model"),
        "unknown operator": ([unknown], 3, "Det2"),
        "unknown target": ([good, "-t", "arm46"], 2, "'arm64'"),
        "unknown cpu": ([good, "-t", "arm64", "--cpu", "cortex-a7777"], 2, "cortex-a7"),
        "unknown zoo network": (["zoo:ghostnet"], 2, "ghostnet-1.0"),
        "bad shape": ([good, "--input-shape", "1,x,3"], 2, "1,x,3"),
        "wrong rank": ([good, "--input-shape", "1,3,8"], 2, "x"),
        "contradicting shape": ([good, "--input-shape", "1,3,9,9"], 2, "9"),
        "unknown input": ([good, "--input-shape", "q:1,3,8,8"], 2, "'x'"),
        "left open": ([open_], 2, "--input-shape"),
        "not numbers": ([good, "--mean", "a,b,c"], 2, "--mean a,b,c"),
        "bad prefix": ([good, "--symbol-prefix", "9 lives"], 2, "C identifier"),
    }


CASES = [
    "missing", "directory", "empty", "truncated", "not ONNX", "unknown operator", "unknown target", "unknown cpu",
    "unknown zoo network", "bad shape", "wrong rank", "contradicting shape", "unknown input", "left open", "not numbers",
    "bad prefix",
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence(name: str, run: Callable[..., Result], tmp_path: Path) -> None:
    arguments, code, says = bad_cases(tmp_path)[name]
    out = tmp_path / "out"
    result = run("compile", *arguments, "-o", out, "-q")
    assert result.code == code, result.err
    assert says in result.err
    assert result.err.startswith("edgevision: ")
    assert result.err.count("\n") == 1
    assert result.out == ""
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "weights", "says"),
    [
        ("(float[1,3,8,8] x) => (float[1,3,8,8] y) { y = BatchNormalization<training_mode=1>(x, s, s, s, s) }",
         {"s": np.ones(3, np.float32)}, "training"),
        ("(float16[1,3,8,8] x) => (float16[1,3,8,8] y) { y = Relu(x) }", {}, "float16"),
        ("(float[1,3,8,8] x) => (uint8[1,3,8,8] y) { y = QuantizeLinear(x, s, z) }",
         {"s": np.float32(1), "z": np.uint8(0)}, "QuantizeLinear"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_exit_3(
    body: str, weights: dict[str, np.ndarray], says: str, run: Callable[..., Result], tmp_path: Path
) -> None:
    result = run("compile", save(tmp_path, body, **weights), "-o", tmp_path / "out", "-q")
    assert result.code == 3, result.err
    assert says in result.err
    assert result.err.count("\n") == 1


def test_a_network_of_which_nothing_is_known(run: Callable[..., Result], tmp_path: Path) -> None:
    node = helper.make_node("TfIdfVectorizer", ["x"], ["y"], max_gram_length=1, max_skip_count=0, min_gram_length=1,
                            mode="TF", ngram_counts=[0], ngram_indexes=[0, 1], pool_int64s=[2, 3])  # fmt: skip
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.INT64, [6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    path = tmp_path / "text.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    result = run("compile", path, "-q", "-o", tmp_path / "out")
    assert result.code == 3
    assert "TfIdfVectorizer" in result.err
    assert "not an image network" in result.err


def test_an_output_folder_that_is_a_file(run: Callable[..., Result], good: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("mine")
    result = run("compile", good, "-q", "-o", blocked / "sub")
    assert result.code == 2
    assert "cannot be written to" in result.err
    assert blocked.read_text() == "mine"


def test_a_compiler_that_is_not_there(
    run: Callable[..., Result], good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEVISION_ZIG", str(tmp_path / "no-zig"))
    result = run("compile", good, "-q", "-o", tmp_path / "out")
    assert result.code == 4
    assert "zig" in result.err
    assert not (tmp_path / "out").exists()


def test_a_kill_half_way_leaves_the_old_artifact_alone(good: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-c",
        "from edgevision.cli.main import main; main()",
        "compile",
        str(good),
        "-o",
        str(out),
    ]
    assert subprocess.run([*command, "-q"], capture_output=True, check=False).returncode == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "verifying" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
