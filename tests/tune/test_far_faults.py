"""What goes wrong with a device while candidates are measured there: a named cause, in bounded time, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgevision.measure.transport import LostDeviceError
from edgevision.tune import far
from edgevision.tune.far import FarBench
from tests.measure.boards import FAR, KINDS, QUICK, Board, board, keep_caches, wait_for
from tests.tune.test_far import Kernels, bench
from tests.tune.test_far import kernels as kernels

pytestmark = pytest.mark.large
BATCH = ("slow", "wrong", "slow", "partial", "slow", "slow")


@pytest.fixture
def device(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    keep_caches(monkeypatch)
    monkeypatch.setattr(far, "ANSWER_S", 2.0)
    monkeypatch.setattr("edgevision.tune.trial.LEAST_LIMIT_S", 1.0)
    with board(request.param, tmp_path) as found:
        yield found


def opened(measuring: FarBench) -> bool:
    """adb calls a phone offline for a moment after a cut."""
    try:
        measuring.open()
    except LostDeviceError:
        return False
    return True


def goes_on(measuring: FarBench, kernels: Kernels) -> None:
    assert wait_for(lambda: opened(measuring), 40)
    assert [verdict.outcome for verdict in measuring.trials([kernels.trial("wrong"), kernels.trial("slow")])] == ["wrong", "right"]


@pytest.mark.parametrize("device", FAR, indirect=True)
def test_a_cut_in_a_batch(device: Board, kernels: Kernels, tmp_path: Path) -> None:
    assert device.wire is not None
    with bench(device.transport(QUICK), tmp_path / "files") as measuring:
        goes_on(measuring, kernels)
        threading.Timer(1.0, device.wire.cut).start()
        with pytest.raises(LostDeviceError, match="device (board|phone): "):
            for _ in range(50):
                measuring.trials([kernels.trial(name) for name in BATCH])
        goes_on(measuring, kernels)
    assert device.is_clean()


@pytest.mark.parametrize("device", FAR, indirect=True)
def test_a_network_that_goes_silent_in_a_batch(device: Board, kernels: Kernels, tmp_path: Path) -> None:
    assert device.wire is not None
    with bench(device.transport(QUICK), tmp_path / "files") as measuring:
        goes_on(measuring, kernels)
        device.wire.silent = True
        began = time.monotonic()
        with pytest.raises(LostDeviceError, match="timed out|went silent|closed"):
            measuring.trials([kernels.trial(name) for name in BATCH])
        assert time.monotonic() - began < 120
        device.wire.silent = False
        device.wire.cut()
        goes_on(measuring, kernels)
    assert device.is_clean()


@pytest.mark.parametrize("device", FAR, indirect=True)
def test_a_device_that_answers_late(device: Board, kernels: Kernels, tmp_path: Path) -> None:
    assert device.wire is not None
    device.wire.delay_s = 0.1
    with bench(device.transport(QUICK), tmp_path / "files") as measuring:
        goes_on(measuring, kernels)


@contextmanager
def ten_times_slower(device: Board) -> Iterator[list[int]]:
    """What is measured there stands still for nine tenths of the time; whom it met."""
    over, met = threading.Event(), []

    def send(what: signal.Signals, to: list[int]) -> None:
        for pid in to:
            with suppress(ProcessLookupError):
                os.kill(pid, what)

    def slow() -> None:
        while not over.is_set():
            running = [pid for pid, _ in device.processes("/store/")]
            met.extend(running)
            for _ in range(10 if running else 0):
                send(signal.SIGSTOP, running)
                over.wait(0.018)
                send(signal.SIGCONT, running)
                over.wait(0.002)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield met
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("device", KINDS, indirect=True)
def test_a_device_that_becomes_ten_times_slower(device: Board, kernels: Kernels, tmp_path: Path) -> None:
    """The two that are compared run in turn: who is faster stays so, and what is wrong stays wrong."""
    with bench(device.transport(QUICK), tmp_path / "files") as measuring:
        goes_on(measuring, kernels)
        with ten_times_slower(device) as met:
            batch = [kernels.trial("right", incumbent="slow"), kernels.trial("slow"), kernels.trial("wrong")]
            verdicts = [verdict for _ in range(6) for verdict in measuring.trials(batch)]
        assert len(set(met)) > 1
        assert [verdict.outcome for verdict in verdicts] == ["right", "right", "wrong"] * 6, verdicts
        assert [verdict.better for verdict in verdicts] == [True, False, False] * 6, verdicts
        goes_on(measuring, kernels)
    assert device.is_clean()


@pytest.mark.parametrize("device", [KINDS[1]], indirect=True)
def test_another_host_key(device: Board, kernels: Kernels, tmp_path: Path) -> None:
    """It is not trusted, however often it is asked."""
    known = tmp_path / "server" / "known_hosts"
    host, kind, _ = known.read_text().split()[:3]
    other = (tmp_path / "server" / "user.pub").read_text().split()[1]
    known.write_text(f"{host} {kind} {other}\n")
    with bench(device.transport(QUICK), tmp_path / "files") as measuring:
        for _ in range(2):
            with pytest.raises(LostDeviceError, match="device board: host key changed"):
                measuring.trials([kernels.trial("wrong")])
    assert device.is_clean()


@pytest.mark.parametrize("device", KINDS, indirect=True)
def test_a_full_disk(device: Board, kernels: Kernels, tmp_path: Path) -> None:
    device.folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", device.folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs root: a file system of a megabyte is mounted")
    try:
        rest = device.folder / "rest"
        rest.write_bytes(bytes(950 << 10))
        with bench(device.transport(QUICK), tmp_path / "files") as measuring:
            with pytest.raises(LostDeviceError) as caught:
                measuring.trials([kernels.trial("wrong")])
            assert caught.value.cause == "no space left"
            rest.unlink()
            goes_on(measuring, kernels)
        assert device.is_clean()
    finally:
        subprocess.run(["umount", "-l", device.folder], check=True)
