"""A bench program of the fake network, for this machine."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from statistics import median

import pytest

from edgevision.artifact import Artifact, Step
from edgevision.tensor import TensorSpec
from tests.native.builds import NATIVE, NETWORK, RUNTIME, ZIG, program


@dataclass(frozen=True, slots=True, kw_only=True)
class Benched:
    """``median_ms`` of a run here, by the program itself."""

    artifact: Artifact
    median_ms: float

    def is_right(self, median_ms: float) -> bool:
        """Whether it is a time that this machine may take when others use it too; seconds for milliseconds are none."""
        return self.median_ms / 10 < median_ms < 100 * self.median_ms


@pytest.fixture(scope="session")
def benched(tmp_path_factory: pytest.TempPathFactory) -> Benched:
    path = program(ZIG, tmp_path_factory.mktemp("bench") / "fake-bench", NATIVE / "bench.c", *map(str, (*RUNTIME, NETWORK)))
    said = json.loads(subprocess.run([path, "--runs", "50"], capture_output=True, check=True, timeout=60).stdout)
    spec = TensorSpec(name="image", shape=(1, 3), layout="")
    artifact = Artifact(
        path=path, header=path, bench=path, model=path, manifest=path, target="native", inputs=(spec,), outputs=(spec,),
        sha256="c0ffee", model_sha256=said["model_sha256"], weight_bytes=1, arena_bytes=1, file_bytes=1, versions={},
        steps=(Step(name="step", ops=("Conv",), macs=1000, schedule="default:loops"),),
    )  # fmt: skip
    return Benched(artifact=artifact, median_ms=median(said["samples_ns"]) / 1e6)
