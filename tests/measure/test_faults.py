"""What goes wrong between here and a device costs a measurement, and is named: no hang, no wrong figure, nothing left behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgevision.errors import DeviceError
from edgevision.measure.timed import Plan, time_on
from edgevision.measure.transport import LostDeviceError
from tests.measure.boards import FAR, KINDS, QUICK, Board, board, wait_for
from tests.measure.conftest import Benched

SHORT = Plan(threads=1, starts=2, limit_s=0.3, warmup_s=0.02, process_s=0.1)
CUT = (
    "connection closed", "offline", "not attached", "connection refused", "not reachable", "no answer", "went silent",
    "login refused ()", "timed out after 8 s",
)  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def device(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with board(request.param, tmp_path_factory.mktemp("board")) as made:
        yield made


@pytest.fixture(scope="module", params=FAR)
def far(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with board(request.param, tmp_path_factory.mktemp("far")) as made:
        yield made


def bench_that(tmp_path: Path, benched: Benched, text: str) -> Benched:
    """An artifact whose bench program is a shell script; $REAL is the right one."""
    path = tmp_path / "script-bench"
    path.write_text(f"#!/bin/sh\nREAL={benched.artifact.bench}\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return replace(benched, artifact=replace(benched.artifact, bench=path))


def test_a_measurement_without_faults(device: Board, benched: Benched) -> None:
    found = time_on(device.transport(QUICK), benched.artifact, SHORT)
    assert benched.is_right(found.latency.median_ms), (found.latency.median_ms, benched.median_ms)
    assert found.starts >= 1 and len(found.looks) == found.starts + 1 and found.latency.how == "measured"
    assert found.latency.device.transport in ("local", "ssh", "adb") and found.latency.threads == 1
    assert found.latency.steps and found.create_ms > 0 and found.first_run_ms > 0
    assert device.is_clean(), device.left()


@pytest.mark.parametrize("moments", [6, pytest.param(20, marks=pytest.mark.large)])
def test_cut_at_random_moments(moments: int, far: Board, benched: Benched) -> None:
    assert far.wire is not None
    time_on(far.transport(QUICK), benched.artifact, SHORT)  # sends what later ones find there
    start = time.monotonic()
    time_on(far.transport(QUICK), benched.artifact, SHORT)
    whole_s, lost = time.monotonic() - start, []
    chance = random.Random(moments)
    for _ in range(moments):
        cut = threading.Timer(chance.uniform(0, 0.8 * whole_s), far.wire.cut)
        start = time.monotonic()
        cut.start()
        try:
            assert benched.is_right(time_on(far.transport(QUICK), benched.artifact, SHORT).latency.median_ms)
        except LostDeviceError as error:
            lost.append(error.cause)
        cut.cancel()
        assert time.monotonic() - start < whole_s + 3 * QUICK.answer_s
        assert far.is_clean(), far.left()
    assert lost and set(lost) <= set(CUT), lost
    assert wait_for(lambda: usable(far, benched), 30)


def usable(device: Board, benched: Benched) -> bool:
    """Some time after the last cut it is a device as before; adb needs a moment."""
    try:
        time_on(device.transport(QUICK), benched.artifact, SHORT)
    except LostDeviceError:
        return False
    return True


def test_a_network_that_goes_silent(far: Board, benched: Benched) -> None:
    assert far.wire is not None
    terms = replace(QUICK, answer_s=3.0)
    start = time.monotonic()
    with pytest.raises(LostDeviceError) as raised, far.transport(terms).open() as workspace:
        workspace.run(["true"], timeout_s=20)
        far.wire.silent = True
        workspace.run(["sleep", "309"], timeout_s=2)
    assert raised.value.cause == "timed out after 2 s" and time.monotonic() - start < 25
    assert far.is_clean(), f"the device did not notice by itself: {far.left()}"
    far.wire.cut()
    far.wire.silent = False
    assert wait_for(lambda: usable(far, benched), 30)


def test_a_long_way(far: Board, benched: Benched) -> None:
    assert far.wire is not None
    far.wire.delay_s = 0.05
    try:
        found = time_on(far.transport(replace(QUICK, answer_s=20)), benched.artifact, replace(SHORT, starts=1))
    finally:
        far.wire.delay_s = 0.0
    assert benched.is_right(found.latency.median_ms)


def test_a_cut_while_a_file_is_sent(far: Board, tmp_path: Path) -> None:
    assert far.wire is not None
    file = tmp_path / "big"
    file.write_bytes(os.urandom(1 << 20) * 24)
    with pytest.raises(LostDeviceError, match="while sending big") as raised, far.transport(QUICK).open() as workspace:
        far.wire.delay_s = 0.01
        threading.Timer(0.4, far.wire.cut).start()
        workspace.push(file)
    far.wire.delay_s = 0.0
    assert raised.value.cause in CUT and far.is_clean(), far.left()
    assert all(path.stat().st_size < 1 << 20 for path in (far.folder / "store").iterdir())


HOST = """
import sys
from pathlib import Path
from edgevision import devices
with devices.load("it", Path(sys.argv[1])).open() as workspace:
    print("open", flush=True)
    workspace.run(["sleep", "311"], timeout_s=60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda each: each.name)
def test_a_host_that_is_ended(how: signal.Signals, device: Board, tmp_path: Path) -> None:
    listed = tmp_path / "devices.toml"
    listed.write_text(entry(device))
    host = subprocess.Popen([sys.executable, "-c", HOST, listed], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert host.stdout is not None and host.stdout.readline() == b"open\n"
    assert wait_for(lambda: bool(device.processes("311")), 10)
    host.send_signal(how)
    host.wait(20)
    host.stdout.close()
    assert device.is_clean(), device.left()


def entry(device: Board) -> str:
    """Its entry in a file of devices."""
    made = device.transport(QUICK)
    kind = {"LocalTransport": "local", "SshTransport": "ssh", "AdbTransport": "adb"}[type(made).__name__]
    given = {"transport": kind, "folder": str(device.folder), "lock": str(device.folder / "lock")}
    given |= {each: getattr(made, each) for each in ("address", "port", "ssh_config") if getattr(made, each, "")}
    return "[devices.it]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())


def test_a_program_that_is_killed(device: Board, benched: Benched, tmp_path: Path) -> None:
    killed = bench_that(tmp_path, benched, "kill -9 $$")
    with pytest.raises(LostDeviceError) as raised:
        time_on(device.transport(QUICK), killed.artifact, SHORT)
    assert raised.value.doing == "running script-bench"
    assert raised.value.cause == "killed by SIGKILL" and device.is_clean()


def test_a_program_that_hangs(device: Board, benched: Benched, tmp_path: Path) -> None:
    hangs = bench_that(tmp_path, benched, "case $* in *profile*) sleep 310 ;; esac; exec $REAL $*")
    plan = replace(SHORT, patience=2.0)
    with pytest.raises(LostDeviceError, match="timed out after .* s while running script-bench") as raised:
        time_on(device.transport(QUICK), hangs.artifact, plan)
    assert raised.value.cause.startswith("timed out after") and device.is_clean(), device.left()


def test_a_device_that_becomes_ten_times_slower(device: Board, benched: Benched, tmp_path: Path) -> None:
    slow = bench_that(tmp_path, benched, "case $* in *profile*) sleep 1.5 ;; esac; exec $REAL $*")
    assert benched.is_right(time_on(device.transport(QUICK), slow.artifact, SHORT).latency.median_ms)


GARBAGE = {
    "nothing": ("exit 0", "garbled output"),
    "bytes": ("head -c 5000 /dev/urandom", "garbled output"),
    "cut JSON": ("$REAL $* | head -c 200", "garbled output"),
    "another network's": ("$REAL $* | sed 's/\"model_sha256\": \"/&0/'", "garbled output"),
    "no time at all": ("$REAL $* | sed 's/\"samples_ns\": .[0-9]*/\"samples_ns\": [0/'", "garbled output"),
    "no samples": ("$REAL $* | sed 's/\"samples_ns\": .[^]]*/\"samples_ns\": [/'", "garbled output"),
    "text for numbers": ("$REAL $* | sed 's/\"samples_ns\": ./\"samples_ns\": [\"fast\", /'", "garbled output"),
    "more time than passed": ("$REAL $* | sed 's/\"samples_ns\": ./\"samples_ns\": [99000000000, /'", "its clock is wrong"),
    "without end": ("yes", "more than 256 MiB of output"),
}


@pytest.mark.parametrize(("text", "cause"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_no_figure(text: str, cause: str, benched: Benched, tmp_path: Path) -> None:
    spoiled = bench_that(tmp_path, benched, text)
    with board("local", tmp_path) as device:
        with pytest.raises(LostDeviceError) as raised:
            time_on(device.transport(QUICK), spoiled.artifact, SHORT)
        assert raised.value.cause == cause and device.is_clean()


def test_bytes_that_change_on_the_way(benched: Benched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "cat").write_text(f"#!/bin/sh\n{shutil.which('cat')} \"$@\" | sed s/samples/simples/\n")
    (tools / "cat").chmod(0o755)
    with board("local", tmp_path) as device, pytest.raises(LostDeviceError) as raised, device.transport(QUICK).open() as workspace:
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        workspace.run([str(benched.artifact.bench)], timeout_s=20)
    assert raised.value.cause == "garbled output"


def test_files_that_change_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools, file = tmp_path / "bin", tmp_path / "file"
    tools.mkdir()
    file.write_text("right\n" * 1000)
    (tools / "cat").write_text(f'#!/bin/sh\n{shutil.which("cat")} "$@" | sed s/right/wrong/\n')
    (tools / "cat").chmod(0o755)
    with board("local", tmp_path) as device, pytest.raises(LostDeviceError) as raised, device.transport(QUICK).open() as workspace:
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        workspace.push(file)
    assert raised.value.cause == "files arrive changed"
    assert not [*(device.folder / "store").iterdir()] and device.is_clean()


def test_a_clock_that_is_set_is_noted_and_changes_no_figure(
    benched: Benched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    clock = f"#!/bin/sh\n[ -e {tmp_path}/set ] && echo 4102444800 || {shutil.which('date')} +%s\n: >{tmp_path}/set\n"
    (tools / "date").write_text(clock)
    (tools / "date").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with board("local", tmp_path) as device:
        found = time_on(device.transport(QUICK), benched.artifact, SHORT)
    assert benched.is_right(found.latency.median_ms)
    assert any(doubt.startswith("its clock was set by +") for doubt in found.doubts)


def test_a_full_disk(device: Board, benched: Benched, tmp_path: Path) -> None:
    """Needs root, for a small disk."""
    shutil.rmtree(device.folder, ignore_errors=True)
    device.folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", device.folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted (needs root)")
    try:
        old, big = tmp_path / "old", tmp_path / "big"
        old.write_bytes(os.urandom(900_000))
        big.write_bytes(os.urandom(1_500_000))
        with device.transport(QUICK).open() as workspace:
            workspace.push(old)
        with device.transport(QUICK).open() as workspace:
            assert Path(workspace.push(big)).read_bytes() == big.read_bytes(), "room is made of what nobody uses"
            with pytest.raises(LostDeviceError) as raised:
                workspace.push(old)
            assert raised.value.cause == "no space left"
            with pytest.raises(LostDeviceError) as raised:
                workspace.run(["sh", "-c", "head -c 3000000 /dev/zero >out"], timeout_s=20)
            assert raised.value.cause == "no space left"
        assert device.is_clean(), device.left()
    finally:
        subprocess.run(["umount", "-l", device.folder], check=True)


def test_an_artifact_for_another_machine_is_named(device: Board, benched: Benched, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign-bench"
    head = bytearray(benched.artifact.bench.read_bytes()[:4096])
    head[18] = 0xF3  # RISC-V
    foreign.write_bytes(head)
    foreign.chmod(0o755)
    with pytest.raises(DeviceError, match="does not start on device .*: it is compiled for target native"):
        time_on(device.transport(QUICK), replace(benched.artifact, bench=foreign), SHORT)
