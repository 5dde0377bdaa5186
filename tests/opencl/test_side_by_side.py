"""CPU and GPU of one artifact in turn, on this machine's OpenCL device: here, and through a device's transport."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import onnx
import pytest
from click.testing import CliRunner

from edgevision.cli.main import edgevision
from edgevision.errors import InputError
from edgevision.measure import side_by_side
from edgevision.measure.interleaved import Turns
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import inputs_for
from edgevision.pipeline import Options, compile_model
from edgevision.report.json import SCHEMA
from tests.opencl import networks

QUICK = Turns(starts=1, rounds=1, limit_s=0.5, burst_s=0.005, profiled=3)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory):
    """``small`` with both versions, compared while it was compiled."""
    folder = tmp_path_factory.mktemp("both")
    onnx.save(networks.small(), folder / "small.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side.compared_here, "__defaults__", (QUICK,))
        options = Options(output=folder / "out", compare_cpu=True)
        return compile_model(folder / "small.onnx", ("opencl",), options).outcomes[0]


def test_every_operator_is_timed_on_both(pocl: None, compiled) -> None:
    found, artifact = compiled.side_by_side, compiled.artifact
    assert [t.step for pair in found.pairs for t in pair.cpu] == list(artifact.steps_on("cpu"))
    assert [t.step for pair in found.pairs for t in pair.gpu] == list(artifact.steps_on("gpu"))
    assert len(found.pairs) > 8 and all(pair.cpu_us > 0 and pair.gpu_us > 0 for pair in found.pairs)
    first = found.pairs[0]
    assert [t.step.ops[0] for t in first.cpu] == ["transpose", "conv"] and len(first.gpu) == 1
    assert 0.01 < found.ratio < 100 and found.ratio == pytest.approx(found.gpu_ms / found.cpu_ms, rel=0.5)


def bench(*words: str) -> dict:
    done = CliRunner().invoke(edgevision, ["bench", *words, "--compare-cpu", "--json", "--seconds", "0.2"], standalone_mode=False)
    assert done.exception is None, done.output
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    return document


def test_bench_compares_what_was_compiled(pocl: None, compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side.compared_here, "__defaults__", (QUICK,))
    shown = bench(str(compiled.artifact.path))["side_by_side"]
    assert len(shown["operators"]) == len(compiled.side_by_side.pairs)
    assert shown["quiet"] is not None


def test_a_device_runs_its_bench_program_in_turn(pocl: None, compiled) -> None:
    document = bench(str(compiled.artifact.path), "--device", "local")
    shown = document["side_by_side"]
    assert [each["name"] for each in shown["operators"]] == [pair.name for pair in compiled.side_by_side.pairs]
    assert shown["rounds"] >= 1 and shown["quiet"] is None and document["measurement"]["starts"] >= 1


def test_without_a_cpu_version_there_is_nothing_to_compare(artifact, tmp_path: Path) -> None:
    onnx.save(networks.tiny(), tmp_path / "tiny.onnx")
    with pytest.raises(InputError, match="--compare-cpu is for GPUs; what is compiled for target native runs on the CPU"):
        compile_model(tmp_path / "tiny.onnx", ("native",), Options(output=tmp_path, compare_cpu=True))
    plain = compile_model(tmp_path / "tiny.onnx", ("native",), Options(output=tmp_path, verify=False, measure=False))
    alone = plain.outcomes[0].artifact
    with pytest.raises(InputError, match="nothing that the GPU could be compared with; compile it for a GPU with --with-cpu"):
        side_by_side.compared_here(alone, inputs_for(alone.inputs, 0, 1)[0], LocalDevice())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compile", "--compare-cpu", "--no-measure", "x.onnx"), "--compare-cpu measures; leave --no-measure out"),
        (("bench", "--compare-cpu", "--fallback", "always", "{}"), "--compare-cpu runs both versions; leave --fallback out"),
    ],
)
def test_words_that_contradict_it(words: tuple[str, ...], said: str, pocl: None, compiled) -> None:
    done = CliRunner().invoke(edgevision, [word.format(compiled.artifact.path) for word in words])
    assert done.exit_code == 2 and said in done.output
