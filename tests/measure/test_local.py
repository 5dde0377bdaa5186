"""This machine as a device: verification and timing of the hand-written artifact, right and wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgevision.artifact import Artifact
from edgevision.errors import DeviceError, VerificationError
from edgevision.measure.local import LocalDevice
from edgevision.measure.sampling import Sampling
from edgevision.measure.verify import check, skipped, verify
from tests.measure.fakes import artifact, reference


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return artifact(tmp_path_factory.mktemp("right"))


def test_a_right_artifact_is_verified(right: Artifact) -> None:
    verification = verify(right, LocalDevice(threads=1), reference())
    assert (verification.how, verification.inputs_tried, verification.seed, verification.scale) == ("native", 3, 0, 1.0)
    assert [(e.name, e.error, e.allowed) for e in verification.errors] == [("y", 0.0, 1e-4), ("total", 0.0, 0.0)]
    assert verification.passed and verification.reference.startswith("onnxruntime")


def test_a_host_build_says_so(right: Artifact) -> None:
    assert verify(right, LocalDevice(how="host-build"), reference(), count=1).how == "host-build"


@pytest.mark.parametrize("define", ["SCALE=2.02f", "SPOILED=0.0f", "SPOILED=(0.0f/0.0f)"])
def test_a_wrong_artifact_names_its_output(tmp_path: Path, define: str) -> None:
    with pytest.raises(VerificationError, match="first at tensor 'y'") as raised:
        verify(artifact(tmp_path, define), LocalDevice(), reference())
    assert raised.value.exit_code == 1 and raised.value.how == "native" and raised.value.error > 1e-3


def test_another_tolerance_is_obeyed(tmp_path: Path) -> None:
    off = artifact(tmp_path, "SCALE=2.002f")
    assert 2e-4 < verify(off, LocalDevice(), reference(), allowed=0.01).max_error < 2e-3


def test_a_crash_is_an_error_that_names_the_signal(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="crashed with SIGABRT on this machine"):
        verify(artifact(tmp_path, "CRASH"), LocalDevice(), reference())


def test_a_failing_kernel_and_a_missing_file_are_errors(tmp_path: Path, right: Artifact) -> None:
    with pytest.raises(DeviceError, match=r"failed on this machine \(status 4\): .*kernel conv_1 failed"):
        verify(artifact(tmp_path, "KERNEL_FAILS"), LocalDevice(), reference())
    with pytest.raises(DeviceError, match=r"\(status 2\): .*gone.so: no such file"):
        verify(replace(right, path=tmp_path / "gone.so"), LocalDevice(), reference())


def test_a_run_that_does_not_end_is_stopped(right: Artifact) -> None:
    with pytest.raises(DeviceError, match="ran for more than 0 s"):
        verify(right, LocalDevice(timeout_s=0.01), reference())


def test_latency_is_measured_with_a_profile(right: Artifact) -> None:
    plan = Sampling(least=20, most=20, limit_s=30)
    latency = LocalDevice(threads=1).time(right, reference().cases(1)[0].inputs, plan)
    assert len(latency.samples_ms) == 20 and latency.warmup >= 1
    assert 1e-4 < latency.min_ms <= latency.median_ms <= latency.p90_ms < 100
    assert (latency.how, latency.threads, latency.artifact_sha256) == ("measured", 1, "c0ffee")
    assert [(s.name, s.median_us, s.macs) for s in latency.steps] == [("scale", 1.5, 60), ("add", 0.5, 0)]
    assert latency.device.name == "this machine" and latency.device.cores >= 1


def test_a_skipped_verification_passes_nothing_off_as_tried() -> None:
    assert (skipped().how, skipped().inputs_tried, skipped().errors) == ("skipped", 0, ())
    check(skipped())
