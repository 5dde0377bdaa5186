"""The bench program: its JSON, its files, its exit codes; and the results of the fake network against numpy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.native.builds import BETA, NATIVE, NETWORK, RUNTIME, ZIG, library, program

H, W, CLASSES, PERIOD = 24, 20, 10, 16
KEYS = [
    "abi",
    "name",
    "target",
    "model_sha256",
    "threads",
    "warmup",
    "create_ns",
    "first_run_ns",
    "samples_ns",
    "waited_ns",
    "threads_ran_ns",
    "threads_waited_ns",
    "elapsed_ns",
    "asleep_ns",
    "steps",
    "processor",
    "fell_back",
    "peak_rss_bytes",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    library(ZIG, folder / "alpha.so")
    library(ZIG, folder / "beta.so", *BETA)
    program(ZIG, folder / "runner", NATIVE / "bench.c", "-DEV_BENCH_DLOPEN")
    program(ZIG, folder / "bench", NATIVE / "bench.c", *map(str, (*RUNTIME, NETWORK)))
    return folder


def run(folder: Path, *arguments: str | Path, network: str = "alpha.so") -> subprocess.CompletedProcess[str]:
    """The runner on a library of ``folder``, or the bench that holds the network where ``network`` is ""."""
    command = [folder / "runner", folder / network] if network else [folder / "bench"]
    return subprocess.run([*map(str, command), *map(str, arguments)], capture_output=True, text=True, timeout=60)


def scores(image: np.ndarray, gain: float, seed: int) -> np.ndarray:
    """The formula of fake_network.c in float64."""
    values = np.pad(image.astype(np.float64), ((1, 1), (0, 0), (0, 0)))
    smooth = gain * (values[:-2] + 2 * values[1:-1] + values[2:])
    weights = (((np.arange(CLASSES * PERIOD) * 37 + seed * 11) % 23 - 11) / 1000).reshape(CLASSES, PERIOD)
    y, x, c = np.indices(image.shape)
    return np.asarray((smooth * weights[:, (y + x + c) % PERIOD]).sum(axis=(1, 2, 3)))


@pytest.mark.parametrize(("network", "seed"), [("alpha.so", 1), ("beta.so", 5), ("", 1)])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_files_in_files_out(folder: Path, tmp_path: Path, network: str, seed: int, threads: str) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)
    paths = [tmp_path / name for name in ("image", "gain", "nothing", "scores", "bright", "nothing_out")]
    for path, array in zip(paths[:3], (image, np.float32(0.25), np.zeros((0, 4), np.float32)), strict=True):
        path.write_bytes(array.tobytes())
    files = [a for path in paths[:3] for a in ("--input", path)] + [a for path in paths[3:] for a in ("--output", path)]
    done = run(folder, "--threads", threads, *files, network=network)
    assert done.returncode == 0, done.stderr
    expected = scores(image, 0.25, seed)
    got = np.frombuffer(paths[3].read_bytes(), np.float32)
    # 1,440 additions in float32: at most 1440 eps of the largest partial sum, usually a hundredth of it.
    assert np.max(np.abs(got - expected)) < 2e-5 * np.max(np.abs(expected))
    assert np.frombuffer(paths[4].read_bytes(), np.int64) == np.sum(image > 127)
    assert paths[5].read_bytes() == b""


@pytest.mark.parametrize("network", ["alpha.so", ""])
def test_what_it_prints(folder: Path, network: str) -> None:
    done = run(folder, "--threads", "2", "--runs", "7", "--warmup", "3", "--profile", network=network)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert list(result) == KEYS
    assert (result["abi"], result["name"], result["target"], result["model_sha256"]) == (
        1,
        "alpha",
        'fake "target"',
        "00ff",
    )
    assert (result["threads"], result["warmup"], len(result["samples_ns"])) == (2, 3, 7)
    assert (result["processor"], result["fell_back"]) == ("cpu", "")
    assert [step["name"] for step in result["steps"]] == ["smooth", "scores", "bright"]
    assert all(step["ns"] > 0 for step in result["steps"])
    assert result["create_ns"] > 0 and result["first_run_ns"] > 0 and min(result["samples_ns"]) > 0
    assert 100_000 < result["peak_rss_bytes"] < 8_000_000  # room for a million samples counts when it is used


def test_how_long_the_threads_waited(folder: Path) -> None:
    """A bench that shares its only core with a busy process waits for about as long as it runs; the sum is over all threads."""
    core = str(min(os.sched_getaffinity(0)))
    pinned = ["taskset", "-c", core]
    with subprocess.Popen([*pinned, sys.executable, "-c", "while True: pass"]) as busy:
        done = subprocess.run(
            [*pinned, folder / "bench", "--threads", "1", "--min-seconds", "0.4"], capture_output=True, text=True, timeout=60
        )
        busy.kill()
    result = json.loads(done.stdout)
    assert len(result["waited_ns"]) == len(result["samples_ns"])
    assert sum(result["waited_ns"]) > 0.05 * sum(result["samples_ns"])
    assert sum(result["waited_ns"]) <= result["threads_waited_ns"] < result["elapsed_ns"]
    assert sum(result["samples_ns"]) <= result["elapsed_ns"] and result["asleep_ns"] < 1e6


def test_the_same_results_from_pages_of_its_own(folder: Path, tmp_path: Path) -> None:
    for number, options in enumerate(([], ["--own-pages"])):
        done = run(folder, *options, "--output", tmp_path / str(number), network="")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_a_library_has_no_pages_of_its_own(folder: Path) -> None:
    assert "unknown option --own-pages" in run(folder, "--own-pages", "1").stderr


def test_no_steps_unless_asked_for(folder: Path) -> None:
    assert json.loads(run(folder).stdout)["steps"] == []


def test_it_goes_on_for_min_seconds(folder: Path) -> None:
    samples = json.loads(run(folder, "--runs", "1", "--min-seconds", "0.1").stdout)["samples_ns"]
    assert len(samples) > 10 and 0.02e9 < sum(samples) < 0.2e9


def test_the_seed_decides_the_inputs(folder: Path, tmp_path: Path) -> None:
    bright = []
    for number, seed in enumerate(("1", "1", "2")):
        path = tmp_path / str(number)
        run(folder, "--seed", seed, "--output", path)
        bright.append(path.read_bytes())
    assert bright[0] == bright[1] != bright[2]


def test_pinned(folder: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    assert json.loads(run(folder, "--cores", core).stdout)["threads"] == 1
    done = run(folder, "--cores", f"{core},8191", "--threads", "2")
    assert (done.returncode, done.stdout) == (4, "") and "cannot pin thread 1 to core 8191" in done.stderr


USAGE = {
    "unknown option": (["--fast", "1"], "unknown option --fast"),
    "no value": (["--runs"], "a value must follow --runs"),
    "no number": (["--runs", "7x"], "not a number in range for --runs"),
    "no runs": (["--runs", "0"], "not a number in range for --runs"),
    "too many threads": (["--threads", "65"], "not a number in range for --threads"),
    "negative time": (["--min-seconds", "-1"], "not a number in range for --min-seconds"),
    "no core": (["--cores", ","], "no core in --cores"),
    "one input of three": (["--input", "x"], "one --input for each input of the model"),
    "four outputs of three": (["--output", "x"] * 4, "more --output files than the model has outputs"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_usage_errors(folder: Path, arguments: list[str], message: str) -> None:
    done = run(folder, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


@pytest.mark.parametrize(
    ("size", "message"),
    [(1439, "wrong size of"), (1441, "it must hold the 1440 bytes of input image"), (None, "cannot read")],
)
def test_input_files_that_do_not_fit(folder: Path, tmp_path: Path, size: int | None, message: str) -> None:
    path = tmp_path / "image"
    if size is not None:
        path.write_bytes(bytes(size))
    done = run(folder, *("--input", path) * 3)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_an_output_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    done = run(folder, "--output", tmp_path / "absent" / "scores")
    assert done.returncode == 2 and "cannot write" in done.stderr


def test_libraries_that_do_not_open(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    done = run(folder, network=str(tmp_path / "text.so"))
    assert done.returncode == 4 and "cannot load" in done.stderr
    source = tmp_path / "other.c"
    source.write_text("int other(void);\nint other(void) { return 0; }\n")
    other = program(ZIG, tmp_path / "other.so", source, "-shared", "-fPIC")
    done = run(folder, network=str(other))
    assert done.returncode == 4 and "it has no ev_get_api" in done.stderr


def test_a_run_that_fails(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(H * W * 3))
    (tmp_path / "gain").write_bytes(np.float32(-1).tobytes())
    (tmp_path / "nothing").write_bytes(b"")
    files = [a for name in ("image", "gain", "nothing") for a in ("--input", tmp_path / name)]
    done = run(folder, *files)
    assert (done.returncode, done.stdout) == (4, "")
    assert "the run failed: step scores failed: ValueError: class three is out of range" in done.stderr
