"""`edgevision check` and `report` as a user meets them: answers, exit codes, files, and one sentence for what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import onnx
import pytest

from benchmarks.slower import with_branch
from edgevision import checking
from edgevision.artifact import Artifact
from edgevision.measure.modelled.mca import CPUS
from edgevision.modelled import ModelledCost, StepCost
from edgevision.pipeline import Options, compile_model
from edgevision.report.json import SCHEMA
from tests.pages import save_model
from tests.report.bouts import Ring

Command = Callable[..., tuple[str, str]]
SHAPE = {"image": (1, 3, 32, 32)}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("baseline")
    save_model(folder / "model.onnx")
    options = Options(output=folder / "out", input_shapes=SHAPE, measure=False)
    return compile_model(str(folder / "model.onnx"), ("native",), options).outcomes[0].artifact


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ring:
    made = Ring()
    monkeypatch.setattr(checking, "alternate", made)
    monkeypatch.chdir(tmp_path)
    return made


ANSWERS = {"unchanged": (1.0, 0, "PASS"), "slower": (1.1, 1, "FAIL"), "at the limit": (1.03, 5, "INCONCLUSIVE")}


@pytest.mark.parametrize(("ratio", "status", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_each_answer_has_its_exit_code(
    command: Command, ring: Ring, artifact: Artifact, ratio: float, status: int, answer: str
) -> None:
    ring.ratio = ratio
    out, _ = command("check", "-q", "--baseline", artifact.path, artifact.path, "--json", "check.json", status=status)
    assert f"{answer}: " in out
    document = json.loads(Path("check.json").read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    assert (document["decision"], document["exit_code"]) == (answer, status)


def test_what_is_asked_reaches_the_bout(command: Command, ring: Ring, artifact: Artifact) -> None:
    ring.ratio = 1.1
    options = ["--allow", "20%", "--threads", "2", "--cores", "0,1", "--limit", "30", "--seed", "9"]
    command("check", "-q", "--baseline", artifact.path, artifact.path, *options)
    [(device, _, _, plan)] = ring.asked
    assert device == "local" and (plan.threads, plan.cores, plan.limit_s, plan.seed) == (2, (0, 1), 30.0, 9)


BUDGETS = {
    "time kept": (["--budget", "1.2ms"], 0),
    "time exceeded": (["--budget", "800us"], 1),
    "memory kept": (["--budget-memory", "10MB"], 0),
    "memory exceeded": (["--budget-memory", "9.9MB"], 1),
    "size exceeded": (["--budget-size", "1kB"], 1),
    "one of two exceeded": (["--budget", "1.2ms", "--budget-size", "1kB"], 1),
}


@pytest.mark.parametrize(("options", "status"), BUDGETS.values(), ids=BUDGETS)
def test_budgets(command: Command, ring: Ring, artifact: Artifact, options: list[str], status: int) -> None:
    command("check", "-q", artifact.path, *options, status=status)


def test_a_size_needs_no_device(command: Command, ring: Ring, artifact: Artifact) -> None:
    command("check", "-q", artifact.path, "--budget-size", "1GB")
    assert ring.asked == []


def test_a_saved_baseline_and_what_becomes_of_it(command: Command, ring: Ring, artifact: Artifact) -> None:
    command("check", "-q", artifact.path, "--save", "base.json")
    command("check", "-q", artifact.path, "--baseline", "base.json")
    assert ring.asked[-1][1].resolve() == artifact.path.resolve()
    ring.ratio = 1.2
    command("check", "-q", artifact.path, "--baseline", "base.json", "--save", "next.json", status=1)
    assert not Path("next.json").exists()
    library = artifact.path.read_bytes()
    try:
        artifact.path.write_bytes(library + b"x")
        _, err = command("check", "-q", artifact.path, "--baseline", "base.json", status=2)
    finally:
        artifact.path.write_bytes(library)
    assert "is not what it was" in err and "--save" in err and err.count("\n") == 1


def test_a_model_is_compiled_elsewhere(command: Command, ring: Ring, artifact: Artifact) -> None:
    save_model(Path("model.onnx"))
    given = ["check", "-q", "--baseline", artifact.path, "--input-shape", "1,3,32,32", "model.onnx"]
    _, err = command(*given, "-o", artifact.path.parent, status=2)
    assert "would be compiled over it" in err
    command(*given)
    [(_, first, second, _)] = ring.asked
    assert first == artifact.path and second == Path("build/check/model.so")


WRONG = {
    "no such baseline": (["--baseline", "absent.json"], "absent.json: no such file"),
    "no unit": (["--budget", "12"], "'12' is no time"),
    "nothing allowed for": (["--budget", "0ms"], "'0ms' is no time"),
    "no percent": (["--allow", "0.03"], "'0.03' is no share"),
    "no such device": (["--budget", "1ms", "--device", "phone9"], "unknown device 'phone9'"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_sentence(command: Command, ring: Ring, artifact: Artifact, options: list[str], message: str) -> None:
    _, err = command("check", "-q", artifact.path, *options, status=2)
    assert message in err


def test_a_baseline_for_another_machine(command: Command, ring: Ring, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter(("aarch64", "x86_64"))
    monkeypatch.setattr(checking, "machine_of", lambda path: next(found))
    _, err = command("check", "-q", "--baseline", artifact.path, artifact.path, status=2)
    assert "is for x86_64" in err and "for aarch64" in err


def test_reports_from_files(command: Command, ring: Ring, artifact: Artifact) -> None:
    for name in ("first", "second"):
        command("check", "-q", "--baseline", artifact.path, artifact.path, "--json", f"{name}.json")
    out, _ = command("report", "first.json", "second.json", "--html", "r.html", "--junit", "r.xml", "--markdown", "r.md")
    assert out.count("PASS") == 2 and all(Path(name).stat().st_size for name in ("r.html", "r.xml", "r.md"))
    Path("bad.json").write_text("[]")
    _, err = command("report", "bad.json", status=2)
    assert "bad.json: not what `edgevision check --json` writes" in err


def costs(cycles: float, instructions: int, artifact: Artifact) -> tuple[ModelledCost, ...]:
    step = StepCost(
        step=artifact.steps[0], instructions=instructions, cycles=cycles, port_bound=cycles, fma_lanes=1, mul_lanes=0
    )
    return tuple(ModelledCost(name="model", target="arm64", cpu=cpu, steps=(step,)) for cpu in CPUS)


def test_the_gate_without_a_device(command: Command, ring: Ring, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter(costs(*each, artifact) for each in ((1000.0, 500), (1000.0, 500), (1031.0, 500), (900.0, 501)))
    monkeypatch.setattr(checking, "cost", lambda *given, **more: next(figures))
    command("check", "-q", "--modelled", "--save", "cost.json", "model.onnx")
    command("check", "-q", "--modelled", "--allow", "0%", "--baseline", "cost.json", "model.onnx", "--json", "check.json")
    document = json.loads(Path("check.json").read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    assert document["how"] == "modelled" and len(document["checks"]) == 3
    out, _ = command("check", "-q", "--modelled", "--baseline", "cost.json", "model.onnx", status=1)
    assert "FAIL: cycles of" in out and "+3.1 %" in out
    out, _ = command("check", "-q", "--modelled", "--allow", "0%", "--baseline", "cost.json", "model.onnx", status=1)
    assert "FAIL: instructions" in out and ring.asked == []
    _, err = command("check", "-q", "--baseline", "cost.json", artifact.path, status=2)
    assert "holds modelled costs alone" in err


@pytest.mark.modelled
@pytest.mark.large
@pytest.mark.timeout(1800)
def test_modelled_figures_repeat_to_the_bit(artifact: Artifact) -> None:
    seen = {repr(checking.check(artifact.path, checking.Ask(modelled=True, target="arm64")).costs) for _ in range(20)}
    assert len(seen) == 1


@pytest.mark.large
def test_fifteen_per_cent_more_work_fails_here(command: Command, artifact: Artifact, tmp_path: Path) -> None:
    """On this machine, noisy as it is: MobileNetV3 with a branch that adds 15 % of its MACs, and without."""
    from edgevision.counting import count
    from edgevision.zoo import export

    plain, slower = tmp_path / "plain.onnx", tmp_path / "slower.onnx"
    export("mobilenetv3-small", plain)
    model = onnx.load(plain)
    channels = 8
    while count(with_branch(model, channels)).macs < 1.15 * count(model).macs:
        channels += 8
    onnx.save(with_branch(model, channels), slower)
    built = compile_model(str(plain), ("native",), Options(output=tmp_path / "base", measure=False)).outcomes[0].artifact
    command("check", "-q", "--baseline", built.path, plain, "-o", tmp_path / "same")
    command("check", "-q", "--baseline", built.path, slower, "-o", tmp_path / "slow", status=1)

