"""CUDA artifacts of small networks, made once; the fake driver; sessions on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgevision import target
from edgevision.artifact import Artifact
from edgevision.ingest import read
from edgevision.link import package, toolchain, zig
from edgevision.lower.phases import lower
from edgevision.measure import cuda_device
from edgevision.measure.reference import Reference
from edgevision.schedule.apply import schedule as schedule_for_cpu
from edgevision.schedule.gpu.apply import schedule
from tests.cuda import stand_in
from tests.opencl import networks

HERE = Path(__file__).parent
MODELS = {"small": networks.small, "tiny": networks.tiny}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """``pieces`` is the folder of what was linked: kernels.cu, kernels.cubin, kernels.ptx."""

    artifact: Artifact
    pieces: Path
    reference: Reference

    @property
    def library(self) -> Path:
        return self.artifact.path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Built]:
    """built("small", "cuda-sm90"), linked once and not verified; with a CPU version where asked for."""
    made: dict[tuple[str, str, bool], Built] = {}

    def get(name: str, on: str = "cuda-sm90", *, cpu_fallback: bool = False) -> Built:
        if (name, on, cpu_fallback) not in made:
            folder, chosen = tmp_path_factory.mktemp(f"{name}-{on}"), target.load(on)
            model = read(MODELS[name]())
            (folder / "pieces").mkdir()
            program, host = lower(model), target.load(chosen.host)
            beside = package.Version(program=schedule_for_cpu(program, host), target=host) if cpu_fallback else None
            artifact = package.link(
                schedule(program, chosen), chosen, folder / "pieces", folder, name=name, bench=False, fallback=beside
            )  # fmt: skip
            made[name, on, cpu_fallback] = Built(artifact=artifact, pieces=folder / "pieces", reference=Reference.of(model))
        return made[name, on, cpu_fallback]

    return get


@pytest.fixture(scope="session")
def on_cpu(built: Callable[..., Built], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The kernels of a network for the CPU, for $EV_FAKE_CUDA_KERNELS."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            text = (built(name).pieces / "kernels.cu").read_text()
            made[name] = stand_in.build(text, tmp_path_factory.mktemp("kernels"))
        return made[name]

    return get


@pytest.fixture
def no_driver() -> None:
    if cuda_device.driver():
        pytest.skip("NVIDIA's driver is here")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The program that makes, runs and destroys sessions, for a target, with the fake libcuda beside it."""
    made: dict[str, Path] = {}

    def get(on: str) -> Path:
        chosen = target.load(on)
        if chosen.runner_zig_target not in made:
            folder = tmp_path_factory.mktemp("fake")
            base = ["cc", "-target", chosen.runner_zig_target, "-O1", "-g", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror"]
            library = ["-shared", "-fPIC", "-fvisibility=hidden", HERE / "fake_cuda.c", "-ldl", "-lpthread"]
            zig.run([*base, *library, "-o", folder / "libcuda.so.1"], purpose="building the fake CUDA", scratch=folder / "zig")
            cycles = [f"-I{toolchain.NATIVE}", HERE.parent / "opencl" / "cycles.c", "-ldl", "-o", folder / "cycles"]
            zig.run([*base, *cycles], purpose="building the program of sessions", scratch=folder / "zig")
            made[chosen.runner_zig_target] = folder / "cycles"
        return made[chosen.runner_zig_target]

    return get


@pytest.fixture(scope="session")
def on_fake(program: Callable[[str], Path]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs sessions of a library on the fake driver, which fails in the way that is asked for."""

    def run(library: Path, count: int, *words: str, fails: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        cycles = program("cuda-sm90")
        environment = {**os.environ, "LD_LIBRARY_PATH": str(cycles.parent), "EV_FAKE_CUDA": fails, **more}
        command = [cycles, library, str(count), *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run
