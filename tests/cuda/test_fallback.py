"""The CPU version beside CUDA's in one library: it answers where the driver is missing, refuses, or loses the device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest

from edgevision import runtime
from edgevision.elf import machine_of
from edgevision.link import elf
from edgevision.outcome import NOT_RUN
from edgevision.pipeline import Options, compile_model
from tests.cuda.test_sessions import DEVICES, DRIVERS, PIECE_BY_PIECE, REFUSED, WHILE_CAPTURING, WHILE_RUNNING, nothing_is_left
from tests.opencl import device, networks

IMAGE = (np.arange(3 * 8 * 8) % 13 * 0.25).astype(np.float32).reshape(1, 3, 8, 8)
"""What cycles.c makes up for the network `tiny`."""


@pytest.fixture
def both(built):
    return built("tiny", cpu_fallback=True).library


@pytest.fixture
def scores(both):
    """What the CPU version answers."""
    with runtime.load(both, fallback="always") as network:
        return network.run(IMAGE)[0].reshape(-1)


@pytest.fixture
def fallen(both, on_fake, tmp_path):
    """Runs sessions that may fall back; what was printed, and the outputs of the last run. Every object must be released."""

    def run(count=2, *words, fails="", **environment):
        kept = tmp_path / "scores"
        done = on_fake(both, count, *words, fails=fails, **{"EV_OUTPUT": str(kept), "EV_FALLBACK": "1", **environment})
        assert done.returncode == 0, done.stderr
        assert nothing_is_left(done.stderr), done.stderr
        return done.stdout, np.fromfile(kept, np.float32) if kept.exists() else None

    return run


@pytest.mark.parametrize("function", REFUSED)
def test_the_cpu_takes_over_from_a_driver_that_refuses(function, fallen, scores):
    status, text = REFUSED[function]
    printed, found = fallen(fails=f"L{function}:1:719")
    assert printed.startswith(f"cpu: {status}: {text}")
    assert printed.endswith("done\n")
    np.testing.assert_array_equal(found, scores)


@pytest.mark.parametrize("call", [*WHILE_RUNNING, *PIECE_BY_PIECE])
def test_the_cpu_takes_over_from_a_run_that_fails(call, fallen, scores):
    words = ["profile"] if call in PIECE_BY_PIECE else []
    printed, found = fallen(1, *words, fails=f"{call}:719")
    assert f"cpu: 5: {(WHILE_RUNNING | PIECE_BY_PIECE)[call]}" in printed
    np.testing.assert_array_equal(found, scores)


@pytest.mark.parametrize("words", [(), ("profile",)], ids=["plain", "timed"])
def test_a_device_that_is_lost_at_any_call(words, fallen, scores):
    """From the first call to one that no longer comes while a session runs."""
    lost_at = 1
    while True:
        printed, found = fallen(1, *words, EV_FAKE_LOST_AT=str(lost_at))
        if "cpu: " not in printed:
            break
        assert printed.endswith("done\n")
        np.testing.assert_array_equal(found, scores, err_msg=f"lost at call {lost_at}: {printed}")
        lost_at += 1
    assert lost_at > 25
    assert not np.array_equal(found, scores)  # the fake driver computes nothing


@pytest.mark.parametrize("devices", DEVICES)
def test_a_gpu_of_another_capability_leaves_it_to_the_cpu(devices, fallen, scores):
    printed, found = fallen(EV_FAKE_CUDA_DEVICES=devices)
    refused = DEVICES[devices].removeprefix("create: ") if DEVICES[devices] != "done\n" else ""
    assert printed.startswith(f"cpu: {refused}" if refused else "done\n")
    assert np.array_equal(found, scores) == bool(refused)


@pytest.mark.parametrize(("device", "driver"), DRIVERS)
def test_an_older_driver_leaves_it_to_the_cpu(device, driver, fallen, scores):
    printed, found = fallen(EV_FAKE_CUDA_DEVICES=device, EV_FAKE_CUDA_DRIVER=driver)
    taken = DRIVERS[device, driver] == "done\n"
    assert printed.startswith("done\n" if taken else f"cpu: {DRIVERS[device, driver].removeprefix('create: ')}")
    assert np.array_equal(found, scores) != taken


@pytest.mark.parametrize("call", WHILE_CAPTURING)
def test_a_graph_that_is_not_made_is_no_reason(call, fallen, scores):
    printed, found = fallen(1, fails=f"{call}:900")
    assert printed == "done\n"
    assert not np.array_equal(found, scores)


def test_both_versions_give_the_network(both, on_cpu, fallen, scores):
    """The fake driver leaves 0xFF bytes where no kernel computes."""
    printed, found = fallen(EV_FAKE_CUDA_KERNELS=str(on_cpu("tiny")))
    assert printed == "done\n"
    np.testing.assert_allclose(found, scores, rtol=0, atol=1e-5 * np.abs(scores).max())


def test_nothing_takes_over_unless_asked_to(both, on_fake):
    assert on_fake(both, 1, fails="cuInit:1:719").stdout.startswith("create: 6: CUDA's driver is here, but does not start")
    assert on_fake(both, 1, fails="cuGraphLaunch:1:719").stdout.startswith("run: 5: the device did not take the run")


def test_always_never_opens_the_driver(fallen, scores):
    printed, found = fallen(EV_FALLBACK="2", fails="LcuDriverGetVersion:1:719")
    assert printed == "cpu: 0: \ndone\n"
    np.testing.assert_array_equal(found, scores)


def test_what_has_no_cpu_version_says_so(built, on_fake):
    done = on_fake(built("tiny").library, 1, EV_FALLBACK="1")
    assert done.stdout.startswith("create: 1: ev_options.fallback is set, but tiny has no CPU version; compile it with ")


def test_without_a_driver_the_cpu_answers(both, program, no_driver, scores, tmp_path):
    alone, kept = tmp_path / "cycles", tmp_path / "scores"
    shutil.copy(program("cuda-sm90"), alone)
    environment = {**os.environ, "EV_FALLBACK": "1", "EV_OUTPUT": str(kept)}
    done = subprocess.run([alone, both, "1"], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "cpu: 6: there is no CUDA here: libcuda.so.1 cannot be opened; install NVIDIA's driver\ndone\n"
    np.testing.assert_array_equal(np.fromfile(kept, np.float32), scores)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """What `compile --no-verify` makes: library, manifest and bench."""
    folder = tmp_path_factory.mktemp("compiled")
    onnx.save(networks.tiny(), folder / "tiny.onnx")
    np.save(folder / "image.npy", IMAGE)
    return compile_model(folder / "tiny.onnx", ("cuda-sm90",), Options(output=folder, verify=False, cpu_fallback=True)).outcomes[0]


def edgevision(*words, **environment):
    command = [sys.executable, "-c", "from edgevision.cli.main import main; main()", *map(str, words)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100, check=False)


NO_DEVICE = "CUDA's driver is here, but offers no device: CUDA_ERROR_NO_DEVICE (100)"


@pytest.mark.parametrize("words", [["run", "-i", "image.npy"], ["bench", "--seconds", "0.1"]], ids=["run", "bench"])
def test_commands_on_a_machine_without_a_gpu(words, compiled, program, monkeypatch):
    library = compiled.artifact.path
    monkeypatch.chdir(library.parent)
    elsewhere = {"LD_LIBRARY_PATH": str(program("cuda-sm90").parent), "EV_FAKE_CUDA_DEVICES": ""}
    refused = edgevision(words[0], library.name, *words[1:], **elsewhere)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.startswith("edgevision: ") and NO_DEVICE in refused.stderr
    assert "Traceback" not in refused.stderr
    done = edgevision(words[0], library.name, *words[1:], "--fallback", "if-needed", **elsewhere)
    assert done.returncode == 0, done.stderr
    assert NO_DEVICE in done.stdout + done.stderr


def test_the_manifest_tells_both(compiled, no_driver):
    described = json.loads(compiled.artifact.manifest.read_text())
    assert (described["processor"], described["fallback"]["target"]) == ("gpu", "x86_64")
    assert described["versions"]["nvrtc"] == "12.6"
    assert (compiled.latency, compiled.not_measured) == (None, NOT_RUN)
    assert described["verification"]["how"] == described["fallback"]["verification"]["how"] == "skipped"


@pytest.mark.large
@pytest.mark.qemu("arm64")
def test_a_jetsons_cpu_version_is_emulated(tmp_path):
    """Without a GPU its kernels are compared as OpenCL; qemu runs the CPU version of the library itself."""
    if reason := device.why_absent():
        pytest.skip(reason)
    onnx.save(networks.tiny(), tmp_path / "tiny.onnx")
    outcome = compile_model(tmp_path / "tiny.onnx", ("cuda-sm87",), Options(output=tmp_path, cpu_fallback=True)).outcomes[0]
    assert (outcome.verification.how, outcome.fallback_verification.how) == ("host-build", "qemu")
    assert outcome.fallback_verification.max_error < 1e-5 > outcome.verification.max_error
    assert outcome.artifact.fallback.target == "arm64"
    assert set(elf.read(outcome.artifact.path).needed) <= {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"}
    assert machine_of(outcome.artifact.path) == "aarch64"
