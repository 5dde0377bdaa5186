"""Two models and eight threads at once: the same bits as one thread alone, for any number of threads a session."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgevision import runtime
from edgevision.link.toolchain import NATIVE
from edgevision.pipeline import Options, compile_model
from tests.parity import networks

RUNS = 1000
THREADS = 8


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("threads")
    found = []
    for name in ("mobilenetv3-small", "ghostnet-0.5"):
        source = networks.small(name, 32, folder)
        options = Options(output=folder / f"{name}-out", measure=False)
        found.append(compile_model(source, options=options).outcomes[0].artifact.path)
    return found[0], found[1]


def test_through_python(libraries: tuple[Path, Path]) -> None:
    rng = np.random.default_rng(0)
    images = [rng.standard_normal((1, 3, 32, 32)).astype(np.float32) for _ in range(4)]
    expected = {}
    for path in libraries:
        with runtime.load(path, threads=1) as alone:
            expected[path] = [alone.run(image)[0] for image in images]
    for threads in (1, 2, 3):
        networks_ = {path: runtime.load(path, threads=threads) for path in libraries}

        def worker(number: int, networks_: dict[Path, runtime.LoadedModel] = networks_) -> int:
            wrong = 0
            for i in range(RUNS // 3):
                path, k = libraries[(number + i) % 2], (number * 7 + i) % len(images)
                (actual,) = networks_[path].run(images[k])
                wrong += not np.array_equal(actual, expected[path][k])
            return wrong

        with ThreadPoolExecutor(THREADS) as pool:
            assert sum(pool.map(worker, range(THREADS))) == 0
        for network in networks_.values():
            network.close()


@pytest.mark.parametrize("session_threads", [1, 2])
def test_through_c(libraries: tuple[Path, Path], tmp_path: Path, session_threads: int) -> None:
    program = tmp_path / "stress"
    source = Path(__file__).with_name("stress.c")
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-O2",
        f"-I{NATIVE}",
        str(source),
        "-o",
        str(program),
        "-lpthread",
        "-ldl",
    ]
    subprocess.run(command, check=True)
    arguments = [str(THREADS), str(RUNS), str(session_threads), *map(str, libraries)]
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{THREADS * RUNS * 2} runs, 0 differ\n"
