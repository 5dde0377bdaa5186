"""Artifacts of small networks for OpenCL, made once; the fake driver; what is skipped where there is no device."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from edgevision import target
from edgevision.link import toolchain, zig
from edgevision.pipeline import Options, compile_model
from tests.opencl import device, networks

HERE = Path(__file__).parent
MODELS = {"small": networks.small, "tiny": networks.tiny}


@pytest.fixture
def pocl() -> None:
    if reason := device.why_absent():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """artifact("small", "opencl-mali"): the .so, linked once and not verified; with a CPU version where asked for."""
    made: dict[tuple[str, str, bool], Path] = {}

    def get(model: str, name: str = "opencl", *, cpu_fallback: bool = False) -> Path:
        if (model, name, cpu_fallback) not in made:
            folder = tmp_path_factory.mktemp(f"{model}-{name}")
            onnx.save(MODELS[model](), folder / f"{model}.onnx")
            options = Options(output=folder / "out", verify=False, measure=False, cpu_fallback=cpu_fallback)
            outcome = compile_model(folder / f"{model}.onnx", (name,), options).outcomes[0]
            made[model, name, cpu_fallback] = outcome.artifact.path
        return made[model, name, cpu_fallback]

    return get


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The program of cycles.c for a target, with the fake libOpenCL beside it under every name that artifacts look for."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        chosen = target.load(name)
        if chosen.runner_zig_target not in made:
            folder = tmp_path_factory.mktemp("fake")
            base = ["cc", "-target", chosen.runner_zig_target, "-O1", "-g", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror"]
            purpose = "building the fake OpenCL"
            library = ["-shared", "-fPIC", "-fvisibility=hidden", HERE / "fake_opencl.c", "-o", folder / "libOpenCL.so.1"]
            zig.run([*base, *library], purpose=purpose, scratch=folder / "zig")
            (folder / "libOpenCL.so").symlink_to("libOpenCL.so.1")
            cycles = [f"-I{toolchain.NATIVE}", HERE / "cycles.c", "-ldl", "-o", folder / "cycles"]
            zig.run([*base, *cycles], purpose=purpose, scratch=folder / "zig")
            made[chosen.runner_zig_target] = folder / "cycles"
        return made[chosen.runner_zig_target]

    return get


@pytest.fixture(scope="session")
def driver_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of driver_alone.c."""
    folder = tmp_path_factory.mktemp("alone")
    words = ["cc", "-target", target.load("opencl").runner_zig_target, "-O1", "-fno-sanitize=all", f"-I{toolchain.NATIVE}"]
    source = HERE / "driver_alone.c"
    zig.run([*words, source, "-ldl", "-o", folder / "alone"], purpose="building a session by hand", scratch=folder / "zig")
    return folder / "alone"


@pytest.fixture(scope="session")
def on_fake(program: Callable[[str], Path]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs sessions of an artifact on the fake driver, which fails in the way that is asked for."""

    def run(library: Path, count: int, *words: str, fails: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        cycles = program("opencl")
        environment = {**os.environ, "LD_LIBRARY_PATH": str(cycles.parent), "EV_FAKE_OPENCL": fails, **more}
        command = [cycles, library, str(count), *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run
