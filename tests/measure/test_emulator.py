"""qemu as a device: the hand-written artifact for arm64 and for Android's linker names, right, wrong and crashing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgevision import target as targets
from edgevision.artifact import Artifact
from edgevision.errors import DeviceError, ToolchainError, VerificationError
from edgevision.measure.emulator import Emulator, patience_s, why_absent, why_no_runner
from edgevision.measure.verify import emulated_inputs, verify
from tests.measure.fakes import artifact, reference
from tests.runtime.fake_artifact import ARM64, NATIVE, build

arm64 = targets.load("arm64")
needs_qemu = pytest.mark.qemu("arm64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arm64")


@pytest.fixture(scope="module")
def right(folder: Path) -> Artifact:
    return artifact(folder, target=ARM64)


@pytest.fixture(scope="module")
def runner(folder: Path) -> Path:
    return build(folder / "runner", "EV_BENCH_DLOPEN", target=ARM64, source=NATIVE / "bench.c", shared=False)


@needs_qemu
def test_a_right_artifact_is_verified(right: Artifact, runner: Path) -> None:
    verification = verify(right, Emulator(target=arm64, runner=runner), reference(), count=2)
    assert (verification.how, verification.inputs_tried, verification.max_error) == ("qemu", 2, 0.0)


@needs_qemu
def test_an_android_library_finds_its_libc(right: Artifact, runner: Path) -> None:
    android = targets.load("arm64-android")
    assert verify(right, Emulator(target=android, runner=runner), reference(), count=1).passed


def test_patience_grows_with_the_network(right: Artifact) -> None:
    large = replace(right, steps=(replace(right.steps[0], macs=28_000_000_000), right.steps[1]))
    assert patience_s(right) == pytest.approx(300, rel=1e-3) and patience_s(large) == pytest.approx(5900)


@needs_qemu
def test_a_wrong_artifact_is_found_out(tmp_path: Path, runner: Path) -> None:
    with pytest.raises(VerificationError, match=r"\(qemu\): first at tensor 'y'"):
        verify(artifact(tmp_path, "SCALE=2.02f", target=ARM64), Emulator(target=arm64, runner=runner), reference())


@needs_qemu
@pytest.mark.parametrize(
    ("define", "message"),
    [
        ("CRASH", "fake.aarch64.so crashed with SIGABRT under qemu-aarch64-static"),
        ("KERNEL_FAILS", r"failed under qemu-aarch64-static \(status 4\): the run failed: kernel conv_1 failed"),
        ("FAKE_ABI=2", r"\(status 4\): the library speaks another version of the interface"),
    ],
)
def test_failures_are_device_errors(tmp_path: Path, runner: Path, define: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        verify(artifact(tmp_path, define, target=ARM64), Emulator(target=arm64, runner=runner), reference(), count=1)


@needs_qemu
def test_a_run_that_does_not_end_is_stopped(right: Artifact, runner: Path) -> None:
    with pytest.raises(DeviceError, match="ran for more than 0.001 s under qemu-aarch64-static; `--no-verify`"):
        verify(right, Emulator(target=arm64, runner=runner, timeout_s=0.001), reference(), count=1)


@needs_qemu
def test_an_output_of_another_size_is_an_error(right: Artifact, runner: Path) -> None:
    longer = replace(right, outputs=(right.outputs[0]._replace(shape=(1, 3, 4, 6)), right.outputs[1]))
    with pytest.raises(DeviceError, match="output 'y' has 60 elements instead of 72"):
        Emulator(target=arm64, runner=runner).execute(longer, [reference().cases(1)[0].inputs])


def test_what_is_missing_is_named(tmp_path: Path, right: Artifact, runner: Path) -> None:
    gone = replace(arm64, emulator="qemu-of-no-distribution")
    assert "qemu-of-no-distribution is not installed (Debian: apt-get install" in why_absent(gone)
    with pytest.raises(ToolchainError, match="qemu-of-no-distribution is not installed"):
        verify(right, Emulator(target=gone, runner=runner), reference(), count=1)
    bare = replace(arm64, sysroot=str(tmp_path))
    assert f"no C library for aarch64 in {tmp_path} (Debian: apt-get install libc6-arm64-cross)" in why_no_runner(bare)
    assert why_absent(targets.load("native")) == "target native names no emulator"


@pytest.mark.parametrize(
    ("macs", "count"), [(0, 3), (1_000_000, 3), (150_000_000, 3), (300_000_000, 2), (500_000_000, 1), (10**10, 1)]
)
def test_large_networks_are_emulated_on_fewer_inputs(macs: int, count: int) -> None:
    assert emulated_inputs(macs) == count
