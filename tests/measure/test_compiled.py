"""Compiled artifacts, not hand-written ones: in Python from many threads, under qemu in both forms, in the reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnx.parser
import pytest

from edgevision import runtime
from edgevision import target as targets
from edgevision.artifact import Artifact
from edgevision.errors import VerificationError
from edgevision.measure.emulator import Emulator
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import Reference
from edgevision.measure.sampling import Sampling
from edgevision.measure.verify import verify
from edgevision.pipeline import Compilation, Options, compile_model
from edgevision.report import json as reports
from edgevision.report import manifest

GRAPH = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,20,20] x) => (float[1,8,10,10] features, float[1,5] y) {
    a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1)
    features = Relu(a)
    m = ReduceMean <axes = [2, 3], keepdims = 0> (features)
    y = MatMul(m, w2)
}"""

WEIGHTS = {"w1": (8, 3, 3, 3), "w2": (8, 5)}


def compiled(folder: Path, seed: int, names: tuple[str, ...]) -> Compilation:
    """The graph with other weights for another ``seed``."""
    proto = onnx.parser.parse_model(GRAPH)
    rng = np.random.default_rng(seed)
    for name, shape in WEIGHTS.items():
        weight = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.save(proto, folder / f"net{seed}.onnx")
    options = Options(output=folder / str(seed), measure=False)
    return compile_model(str(folder / f"net{seed}.onnx"), names, options)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Compilation:
    return compiled(tmp_path_factory.mktemp("first"), 1, ("native", "arm64"))


@pytest.fixture(scope="module")
def artifacts(first: Compilation) -> Mapping[str, Artifact]:
    return {outcome.target.name: outcome.artifact for outcome in first.outcomes}


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return compiled(tmp_path_factory.mktemp("second"), 2, ("native",)).outcomes[0].artifact


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 3, 20, 20)).astype(np.float32)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_two_models_and_eight_threads_give_the_bits_of_one(
    artifacts: Mapping[str, Artifact], second: Artifact, threads: int
) -> None:
    paths = artifacts["native"].path, second.path
    expected = []
    for path in paths:
        with runtime.load(path, threads=1) as alone:
            expected.append([tuple(map(np.ndarray.tobytes, alone.run(image(seed)))) for seed in range(8)])
    assert expected[0] != expected[1]

    with runtime.load(paths[0], threads=threads) as one, runtime.load(paths[1], threads=threads) as two:

        def runs(caller: int) -> int:
            mine = image(caller)
            return sum(
                tuple(map(np.ndarray.tobytes, network.run(mine))) == expected[number][caller]
                for _ in range(1000 // 2)
                for number, network in enumerate((one, two))
            )

        with ThreadPoolExecutor(8) as callers:
            assert list(callers.map(runs, range(8))) == [1000] * 8


def test_what_it_says_about_itself(first: Compilation, artifacts: Mapping[str, Artifact]) -> None:
    artifact = artifacts["native"]
    with runtime.load(artifact.path) as network:
        assert (network.inputs, network.outputs) == (artifact.inputs, artifact.outputs)
        assert network.model.model_sha256 == first.model.sha256 and network.model.target == "native"
        assert network.model.arena_bytes == artifact.arena_bytes and network.model.steps == len(artifact.steps)
        assert [name for name, _ in network.profile(image(0), runs=3)] == [step.name for step in artifact.steps]


def test_its_latency_is_measured(artifacts: Mapping[str, Artifact]) -> None:
    latency = LocalDevice(threads=1).time(artifacts["native"], [image(0)], Sampling(limit_s=0.3))
    assert 0 < latency.min_ms <= latency.median_ms < 1000
    assert [(s.name, s.macs) for s in latency.steps] == [(s.name, s.macs) for s in artifacts["native"].steps]
    assert sum(step.median_us for step in latency.steps) > 0


@pytest.mark.qemu("arm64")
def test_the_static_bench_stands_in_for_the_library(first: Compilation, artifacts: Mapping[str, Artifact]) -> None:
    emulator = Emulator(target=targets.load("arm64"), runner=None)
    record = verify(artifacts["arm64"], emulator, Reference.of(first.model), count=1)
    assert record.how == "qemu-bench" and record.max_error < 1e-5


def test_the_artifact_of_another_model_is_found_out(first: Compilation, second: Artifact) -> None:
    with pytest.raises(VerificationError, match="first at tensor 'features'"):
        verify(second, LocalDevice(), Reference.of(first.model))


def test_reports_and_manifests_fit_the_schema(first: Compilation, artifacts: Mapping[str, Artifact]) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(reports.SCHEMA.read_text()))
    validator.validate(json.loads(reports.dumps(reports.compile_report(first.model, first.outcomes))))
    for artifact in artifacts.values():
        validator.validate(json.loads(artifact.manifest.read_text()))
        assert manifest.artifact_of(artifact.path) == replace(artifact, versions=dict(artifact.versions))
