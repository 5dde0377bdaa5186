"""The tuning logs that come with edgevision: of this version, whole, and found by a compile; modelled ones say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevision.lower.phases import lower
from edgevision.pipeline import Options, read, scheduled_for
from edgevision.target import Target, load
from edgevision.tune.maintenance import logs, problems
from edgevision.tuning_log import FILE, Choice, append, folder_name, open_logs, setting_of, shipped, tuned
from tests.ingest.nets import network, random

ARM64 = load("arm64", cores=1)
AVX512 = replace(load("x86_64"), vector_bits=512, vector_registers=32, l2_bytes=1 << 20)


def test_each_log_is_whole_and_of_this_version() -> None:
    found = {log.name: log for log in logs(shipped())}
    assert set(found) == {"x86_64-avx512", "x86_64-avx2", "aarch64-neon"}
    for log in found.values():
        assert log.records and not list(problems(log, log.records[0].setting)), log.name


def test_what_is_for_arm_was_modelled() -> None:
    records = open_logs([shipped()], ARM64)
    found = tuned(records, setting_of(ARM64, 1))
    assert {record.how for record in records} == {"modelled"}
    assert not found.refused and found.ranked and all(map(found.is_modelled, found.ranked))
    assert all(ranked[0].ratio <= 1 for ranked in found.ranked.values()), "the default's own record has 1"


@pytest.mark.parametrize(("size", "said"), [(14, True), (15, False)], ids=["MobileNetV2's", "of no network"])
def test_a_compile_for_arm_finds_them_and_says_that_they_are_modelled(tmp_path: Path, size: int, said: bool) -> None:
    body = f"(float[1,96,{size},{size}] x) => (float[1,576,{size},{size}] y) {{ c = Conv(x, w, b) y = Clip(c, low, high) }}"
    bounds = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    onnx.save(network(body, w=random(576, 96, 1, 1), b=random(576), **bounds), tmp_path / "layer.onnx")
    model = read(tmp_path / "layer.onnx", Options())
    lines: list[str] = []

    def schedules(target: Target, options: Options) -> list[str]:
        program = scheduled_for(lower(model), target, model, options, lines.append)
        return [call.step.schedule for call in program.calls if call.step.macs]

    assert [schedule.startswith("tuned:conv2d") for schedule in schedules(ARM64, Options())] == [said]
    told = [line for line in lines if "modelled" in line]
    assert told == ["arm64: tuning records of 1 workloads are modelled, not measured"] * said
    lines.clear()
    assert not schedules(ARM64, Options(shipped_logs=False))[0].startswith("tuned") and not lines


def test_a_compile_leaves_records_beside_another_default_and_says_so(tmp_path: Path) -> None:
    body = "(float[1,96,14,14] x) => (float[1,576,14,14] y) { c = Conv(x, w, b) y = Clip(c, low, high) }"
    bounds = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    onnx.save(network(body, w=random(576, 96, 1, 1), b=random(576), **bounds), tmp_path / "layer.onnx")
    model, lines = read(tmp_path / "layer.onnx", Options()), []
    changed = [replace(r, choice=Choice.of("conv2d", {})) if r.is_default else r for r in open_logs([shipped()], ARM64)]
    append(tmp_path / folder_name(ARM64) / FILE, changed)
    told = ["arm64: 1 workloads were tuned beside another default; `edgevision tune` them again"]
    for winograd in (True, False):  # without templates, what is left is another default than what was tuned
        options = Options(tuning_logs=(tmp_path,), shipped_logs=False, winograd=winograd)
        program = scheduled_for(lower(model), ARM64, model, options, lines.append)
        assert any(call.step.schedule.startswith("tuned:conv2d") for call in program.calls) is not winograd
        assert [line for line in lines if "default" in line] == told * winograd
        lines.clear()


@pytest.mark.parametrize("name", ["mobilenetv3-large", "ghostnet-0.5", "repvgg-a0", "parnet-s"])
@pytest.mark.parametrize("target", [ARM64, load("x86_64"), AVX512], ids=["arm64", "avx2", "avx512"])
def test_what_ships_was_compared_with_the_defaults_of_today(name: str, target: Target) -> None:
    model, lines = read(f"zoo:{name}", Options()), []
    scheduled_for(lower(model), target, model, Options(), lines.append)
    assert not [line for line in lines if "another default" in line]
