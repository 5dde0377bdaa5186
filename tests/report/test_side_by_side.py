"""CPU and GPU side by side: which operators belong together, what is called slower, and what every form says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import jsonschema
import pytest
from rich.console import Console

from edgevision.artifact import Artifact, Step
from edgevision.latency import DeviceInfo, Latency
from edgevision.report.benchmark import benchmark_report
from edgevision.report.html import html
from edgevision.report.json import SCHEMA, dumps, side_by_side
from edgevision.report.markdown import markdown
from edgevision.report.side_by_side import trust, verdict, view
from edgevision.side_by_side import SideBySide, Timed, paired

DEVICE = DeviceInfo(name="this machine", cpu="c", cores=2, transport="local process")


def steps(*words: str) -> list[Timed]:
    """ "conv_relu 12.5": a step and its microseconds."""
    made = []
    for name, us in (word.split() for word in words):
        step = Step(name=name, ops=tuple(name.rstrip("0123456789").split("_")), macs=0, schedule="template")
        made.append(Timed(step=step, us=float(us)))
    return made


def compared(cpu: list[Timed], gpu: list[Timed], **more: object) -> SideBySide:
    made = SideBySide(
        device=DEVICE, threads=2, cpu_ms=2.0, gpu_ms=3.0, ratio=1.5, rounds=20, quiet=7, pairs=paired(cpu, gpu)
    )  # fmt: skip
    return replace(made, **more)


def names(found: SideBySide) -> list[tuple[list[str], list[str]]]:
    return [([t.step.name for t in pair.cpu], [t.step.name for t in pair.gpu]) for pair in found.pairs]


BELONG = {
    "the same": (["conv 1", "pool 2"], ["conv 1", "pool 2"], [(["conv"], ["conv"]), (["pool"], ["pool"])]),
    "read through": (["transpose 1", "conv 1", "mul 1", "conv1 1"], ["conv 1", "conv1 1"],
                     [(["transpose", "conv"], ["conv"]), (["mul", "conv1"], ["conv1"])]),
    "a second kernel": (["conv 1", "softmax 1"], ["conv 1", "softmax 1", "softmax_1 1", "softmax_2 1"],
                        [(["conv"], ["conv"]), (["softmax"], ["softmax", "softmax_1", "softmax_2"])]),
    "a copy that one needs": (["conv 1", "pool 1"], ["conv 1", "concat 1", "pool 1"],
                              [(["conv"], ["conv", "concat"]), (["pool"], ["pool"])]),
    "at the ends": (["conv 1", "mul 1"], ["cast 1", "conv 1"], [(["conv", "mul"], ["cast", "conv"])]),
    "the same thrice": (["conv 1", "conv 2", "conv 3"], ["conv 4", "conv 5", "conv 6"], [(["conv"], ["conv"])] * 3),
    "nothing": (["conv 1"], ["matmul 2"], [(["conv"], ["matmul"])]),
    "no operators": ([], [], []),
}  # fmt: skip


@pytest.mark.parametrize(("cpu", "gpu", "wanted"), BELONG.values(), ids=BELONG)
def test_what_computes_the_same_belongs_together(cpu: list[str], gpu: list[str], wanted: object) -> None:
    found = compared(steps(*cpu), steps(*gpu))
    assert names(found) == wanted
    assert sum(p.cpu_us for p in found.pairs) == sum(t.us for t in steps(*cpu))
    assert sum(p.gpu_us for p in found.pairs) == sum(t.us for t in steps(*gpu))


def test_slower_is_by_more_than_noise_and_the_greatest_loss_comes_first() -> None:
    cpu = steps("conv 100", "depthwise 100", "pool 10", "matmul 50")
    gpu = steps("conv 104", "depthwise 106", "pool 30", "matmul 20")
    found = compared(cpu, gpu)
    assert [pair.name for pair in found.slower] == ["pool", "depthwise"]
    assert [kind for kind, _ in found.kinds] == ["conv", "depthwise", "matmul", "pool"]


RATIOS = {
    1.5: "The GPU is slower, 1.50 times: it takes 3 ms, the CPU 2 ms with 2 threads.",
    1.019: "The GPU is as fast as the CPU: it takes 3 ms",
    1.03: "The GPU is slower, 1.03 times",
    0.981: "The GPU is as fast as the CPU",
    0.5: "The GPU is faster, 2.00 times",
}


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_verdict(ratio: float) -> None:
    said = verdict(side_by_side(compared(steps("conv 2"), steps("conv 1"), ratio=ratio)))
    assert said.startswith(RATIOS[ratio]) and said.endswith("No operator takes longer on it.")


def test_a_busy_machine_decides_nothing() -> None:
    said = verdict(side_by_side(compared(steps("conv 1"), steps("conv 2"), quiet=0)))
    assert said.startswith("Undecided, as other programs ran in every round: the GPU's fastest run took 3 ms, the CPU 2 ms")
    assert "1 of 1 operators take over 5% longer on it: conv (+1 µs)" in said


def test_the_operators_that_speak_against_it_are_named() -> None:
    cpu, gpu = [f"conv{i} 10" for i in range(14)], [f"conv{i} {10 + i}" for i in range(14)]
    said = verdict(side_by_side(compared(steps(*cpu), steps(*gpu))))
    assert "13 of 14 operators take over 5% longer on it: conv13 (+13 µs), conv12 (+12 µs)" in said
    assert said.endswith("conv4 (+4 µs) and 3 others.")


def test_how_far_the_figures_go_is_told() -> None:
    shown = side_by_side(compared(steps("conv 2"), steps("conv 1")))
    assert trust(shown) == "measured on this machine, 20 rounds in turn, 7 of them undisturbed"
    assert trust({**shown, "quiet": 0}).endswith("none of them undisturbed: these are the fastest runs")
    assert trust({**shown, "quiet": None}).endswith("20 rounds in turn")


def test_every_form_tells_it(artifact: Artifact, latency: Latency) -> None:
    found = compared(steps("transpose 5", "conv 100", "pool 10"), steps("conv 300", "pool 5"))
    document = json.loads(dumps(benchmark_report(artifact, latency, compared=found)))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    shown = document["side_by_side"]
    assert [(k["kind"], k["cpu_operators"], k["cpu_us"], k["gpu_launches"], k["gpu_us"]) for k in shown["kinds"]] == [
        ("conv", 2, 105, 1, 300), ("pool", 1, 10, 1, 5)
    ]  # fmt: skip
    assert [shown["operators"][i]["name"] for i in shown["slower"]] == ["conv"]
    console = Console(file=StringIO(), width=120)
    console.print(view(found))
    for text in (markdown([document]), html([document]), console.file.getvalue()):  # type: ignore[attr-defined]
        for word in ("The GPU is slower, 1.50 times", "7 of them undisturbed", "transpose conv", "2.86", "whole run"):
            assert word in text, (word, text)


def test_without_a_comparison_nothing_is_told(artifact: Artifact, latency: Latency) -> None:
    document = json.loads(dumps(benchmark_report(artifact, latency)))
    assert "side_by_side" not in document
    assert "in turn" not in markdown([document]) + html([document])
