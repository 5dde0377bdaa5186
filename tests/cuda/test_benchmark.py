"""The folder that is carried to a machine with a GPU: built here, run as it is run there, on the driver that checks every call."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from benchmarks import cuda, cuda_run
from edgevision import pipeline, zoo
from edgevision.link.cuda_source import device_source
from edgevision.lower.phases import lower
from edgevision.schedule.gpu.apply import schedule
from tests.cuda import on_cpu, stand_in
from tests.opencl import networks


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The folder for this machine's processor, and its kernels for the CPU."""
    place = tmp_path_factory.mktemp("carried")
    onnx.save(networks.tiny(), place / "tiny.onnx")
    cuda.main(["--target", "cuda-sm90", "--output", str(place / "out"), str(place / "tiny.onnx")])
    chosen = on_cpu.target.load("cuda-sm90")
    program = schedule(lower(pipeline.read(place / "tiny.onnx", pipeline.Options())), chosen)
    return place / "out", stand_in.build(device_source(program, chosen.compute_capability)[0], place)


def run(folder: Path, program: Path, kernels: Path | str = "", *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(program.parent), "PATH": "/usr/bin:/bin"}
    if kernels:
        environment["EV_FAKE_CUDA_KERNELS"] = str(kernels)
    command = [sys.executable, "-I", folder / "run.py", "--rounds", "2", "--seconds", "0.01", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_it_holds_all_that_the_other_machine_needs(here):
    folder, _ = here
    index = json.loads((folder / "networks.json").read_text())
    (network,) = index["networks"]
    paths = [network["bench"], *(path for case in network["cases"] for kind in case.values() for path in kind)]
    assert len(network["cases"]) == cuda.CASES
    assert all((folder / path).stat().st_size > 0 for path in paths)
    imported = {line.split()[1] for line in (folder / "run.py").read_text().splitlines() if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names


def test_it_compares_and_times_there(here, program):
    folder, kernels = here
    done = run(folder, program("cuda-sm90"), kernels)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads((folder / "results.json").read_text())["networks"]
    assert result["error"] < 1e-5
    assert len(result["samples_ms"]) >= 20
    assert len(result["steps_ms"]) == 3
    assert done.stdout.splitlines()[2].split()[0] == "tiny"


def test_a_network_that_computes_something_else_is_said_to_be_wrong(here, program):
    """Kernels that write nothing leave 0xFF bytes."""
    folder, _ = here
    done = run(folder, program("cuda-sm90"))
    assert done.returncode == 1, done.stderr
    assert done.stdout.rstrip().endswith("WRONG")


def test_without_a_driver_it_says_so(here, no_driver, tmp_path):
    folder, _ = here
    done = run(folder, tmp_path / "nothing")
    assert done.returncode == 4
    assert done.stderr == "tiny: no session: there is no CUDA here: libcuda.so.1 cannot be opened; install NVIDIA's driver\n"


def test_a_copy_that_lost_its_permissions_runs(here, program, tmp_path):
    folder, kernels = here
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "tiny" / "tiny-bench").chmod(0o644)
    assert run(tmp_path / "copy", program("cuda-sm90"), kernels).returncode == 0


def test_names_are_the_zoos_and_paths_are_files():
    assert [cuda._source(name) for name in cuda.NETWORKS] == [f"zoo:{name}" for name in cuda.NETWORKS]
    assert set(cuda.NETWORKS) <= set(zoo.names())
    assert cuda._source("models/mobilenetv2-1.0.onnx") == "models/mobilenetv2-1.0.onnx"


def floats(*values: float) -> bytes:
    return struct.pack(f"{len(values)}f", *values)


@pytest.mark.parametrize(
    ("actual", "expected", "dtype", "error"),
    [
        (floats(1, 2), floats(1, 2), "float32", 0),
        (floats(1, 2.02), floats(1, 2), "float32", 0.01),
        (floats(0, 0), floats(1, 2), "float32", 1),
        (floats(1, math.nan), floats(1, 2), "float32", math.inf),
        (floats(1, 2), floats(1, math.nan), "float32", math.inf),
        (floats(1, math.inf), floats(1, -math.inf), "float32", math.inf),
        (floats(1, math.inf), floats(1, math.inf), "float32", 0),
        (floats(1), floats(1, 2), "float32", math.inf),
        (floats(1, 0), floats(0, 0), "float32", math.inf),
        (b"\1\2", b"\1\2", "uint8", 0),
        (b"\1\3", b"\1\2", "uint8", math.inf),
    ],
)
def test_how_far_an_output_is_from_its_reference(actual, expected, dtype, error):
    assert cuda_run.error(actual, expected, dtype) == pytest.approx(error, rel=1e-5)
