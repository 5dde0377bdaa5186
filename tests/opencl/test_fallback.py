"""Artifacts with a CPU version beside the GPU's: which of them runs, what is told, and what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

from edgevision import runtime
from edgevision.errors import InputError
from edgevision.link import elf
from edgevision.pipeline import Options, compile_model
from edgevision.report.manifest import artifact_of
from tests.opencl import networks
from tests.opencl.test_sessions import FAILURES, MEMORIES, counted

IMAGE = (np.arange(3 * 8 * 8) % 13 * 0.25).astype(np.float32).reshape(1, 3, 8, 8)
"""What cycles.c makes up for the network `tiny`."""


@pytest.fixture
def both(artifact):
    return artifact("tiny", cpu_fallback=True)


@pytest.fixture
def scores(both):
    """What the CPU version answers."""
    with runtime.load(both, fallback="always") as network:
        assert network.processor == runtime.Processor(name="cpu", why="")
        return network.run(IMAGE)[0]


@pytest.fixture
def fallen(both, on_fake, tmp_path):
    """Runs sessions that may fall back on the fake driver; what was printed, and the outputs of the last run."""

    def run(count=2, *words, **environment):
        done = on_fake(both, count, *words, EV_OUTPUT=str(tmp_path / "scores"), **{"EV_FALLBACK": "1", **environment})
        assert done.returncode == 0, done.stderr
        assert all(made == freed for made, freed in counted(done.stderr).values()), done.stderr
        return done.stdout, np.fromfile(tmp_path / "scores", np.float32) if (tmp_path / "scores").exists() else None

    return run


@pytest.mark.parametrize("failure", FAILURES)
def test_the_cpu_takes_over_whatever_fails(failure, fallen, scores):
    printed, found = fallen(2, "profile", fails=failure)
    call, status, text = FAILURES[failure].split(": ", 2)
    assert f"cpu: {status}: {text}" in printed
    assert printed.endswith("done\n")
    np.testing.assert_array_equal(found, scores.reshape(-1))


@MEMORIES
@pytest.mark.parametrize("words", [(), ("profile",)], ids=["plain", "timed"])
def test_a_device_that_is_lost_at_any_call(words, memory, fallen, scores):
    """The first run ends on the CPU, and so does every later one; from the first call to one that no longer comes."""
    lost_at = 1
    while True:
        printed, found = fallen(1, *words, EV_FAKE_LOST_AT=str(lost_at), **memory)
        if "cpu: " not in printed:
            break
        assert printed.endswith("done\n")
        np.testing.assert_array_equal(found, scores.reshape(-1), err_msg=f"lost at call {lost_at}: {printed}")
        lost_at += 1
    assert lost_at > 30
    assert not np.array_equal(found, scores.reshape(-1))  # the fake driver computes nothing


def test_a_device_that_works_is_used(fallen, scores):
    printed, found = fallen()
    assert printed == "done\n"
    assert not np.array_equal(found, scores.reshape(-1))


def test_nothing_takes_over_unless_asked_to(both, on_fake):
    done = on_fake(both, 1, fails="launch")
    assert done.stdout.startswith("run: 5: the device did not take step")
    done = on_fake(both, 1, fails="no-device")
    assert done.stdout.startswith("create: 6: OpenCL's drivers offer no device")


def test_always_never_opens_the_driver(fallen, scores):
    printed, found = fallen(EV_FALLBACK="2")
    assert printed == "cpu: 0: \ndone\n"
    np.testing.assert_array_equal(found, scores.reshape(-1))


def test_what_has_no_cpu_version_says_so(artifact):
    with pytest.raises(InputError, match="tiny has no CPU version; compile it with --with-cpu-fallback"):
        runtime.load(artifact("tiny"), fallback="if-needed")


def test_other_words_are_refused(both):
    with pytest.raises(InputError, match="fallback is 'cpu'; give one of never, if-needed, always"):
        runtime.load(both, fallback="cpu")


def test_both_versions_give_the_network_on_the_device(both, pocl, scores):
    with runtime.load(both, fallback="if-needed") as network:
        found = network.run(IMAGE)[0]
        assert network.processor.name == "gpu"
        assert len(network.profile(IMAGE, runs=2)) > 0
    assert np.abs(found - scores).max() < 1e-5 * np.abs(scores).max()


def test_without_a_driver_python_is_told(both, pocl, tmp_path):
    """In a process of its own: drivers are looked for once."""
    code = (
        "import sys, numpy, edgevision.runtime as r\n"
        "image = numpy.zeros((1, 3, 8, 8), numpy.float32)\n"
        "network = r.load(sys.argv[1], fallback='if-needed', threads=2)\n"
        "network.run(image)\n"
        "print(network.processor.name, network.threads, len(network.profile(image)) > 0, network.processor.why)\n"
    )
    environment = {**os.environ, "OCL_ICD_VENDORS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, both], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("cpu 2 True OpenCL is here, but no driver"), done.stderr


def test_neither_starts(both, on_fake):
    """The CPU version's second thread is to run on a core that no machine has."""
    done = on_fake(both, 1, fails="no-device", EV_FALLBACK="1", EV_CORE="8191")
    told = "create: 6: OpenCL's drivers offer no device; nor does the CPU version start: "
    assert done.stdout.startswith(told) and "8191" in done.stdout.removeprefix(told)
    alone = on_fake(both, 1, EV_FALLBACK="2", EV_CORE="8191")
    assert alone.stdout.startswith("create: 4: ")
    assert on_fake(both, 1, EV_FALLBACK="1", EV_CORE="8191").stdout == "done\n"  # it is not needed
    lost = on_fake(both, 1, fails="launch", EV_FALLBACK="1", EV_CORE="8191")
    assert lost.stdout.startswith("run: 5: the device did not take step")


def test_the_manifest_tells_both(tmp_path, pocl):
    onnx.save(networks.small(), tmp_path / "small.onnx")
    outcome = compile_model(tmp_path / "small.onnx", ("opencl",), Options(output=tmp_path, cpu_fallback=True)).outcomes[0]
    described = json.loads(outcome.artifact.manifest.read_text())
    beside = described["fallback"]
    assert (described["processor"], beside["target"]) == ("gpu", "x86_64")
    assert described["verification"]["max_error"] < 1e-5 > beside["verification"]["max_error"]
    assert described["verification"]["how"] == beside["verification"]["how"] == "native"
    assert outcome.latency.processor == "gpu"
    assert 0 < beside["weight_bytes"] < described["weight_bytes"]
    alone = sum(np.prod(w.dims) * 4 for w in onnx.load(outcome.artifact.model).graph.initializer)
    assert beside["weight_bytes"] < alone  # biases, at least, are laid out alike
    again = artifact_of(outcome.artifact.path)
    assert again.steps_on("cpu") == again.fallback.steps != again.steps_on("gpu") == again.steps
    assert again == outcome.artifact


def test_it_is_for_gpus(tmp_path):
    onnx.save(networks.tiny(), tmp_path / "tiny.onnx")
    with pytest.raises(InputError, match="what is compiled for target native runs on the CPU as it is"):
        compile_model(tmp_path / "tiny.onnx", ("native",), Options(output=tmp_path, cpu_fallback=True))


@pytest.mark.qemu("arm64")
def test_a_phones_cpu_version_is_emulated(tmp_path, pocl):
    """`link` held the library against Android's gate; qemu runs the CPU version of that very file."""
    onnx.save(networks.tiny(), tmp_path / "tiny.onnx")
    outcome = compile_model(tmp_path / "tiny.onnx", ("opencl-mali",), Options(output=tmp_path, cpu_fallback=True)).outcomes[0]
    assert outcome.verification.how == "host-build"
    assert outcome.fallback_verification.how == "qemu"
    assert outcome.fallback_verification.max_error < 1e-5
    assert outcome.artifact.fallback.target == "arm64-android"
    assert set(elf.read(outcome.artifact.path).needed) <= {"libc.so", "libm.so", "libdl.so"}
