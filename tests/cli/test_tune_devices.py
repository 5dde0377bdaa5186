"""`edgevision tune` on devices, on boards that a tracker knows and over a Ray cluster, as a user calls it; what dies on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgevision import target as targets
from edgevision.schedule import metaschedule
from edgevision.tuning_log import FILE, Record, folder_name, read
from tests.cli.conftest import Command
from tests.cli.test_tune import fits, schedules
from tests.measure.adb_phone import adb_phone, adb_server
from tests.measure.boards import ABSENT, keep_caches, wait_for
from tests.measure.ssh_server import SshServer, ssh_server
from tests.pages import save_model

TUNE = [sys.executable, "-c", "from edgevision.cli.main import main; main()", "tune", "model.onnx", "--input-shape", "1,3,32,32"]
WORKLOADS = 6
KINDS = {"here": "local", "board": "ssh", "phone": "adb"}
"""The transport of each device of `desk`."""

needs_ssh = pytest.mark.skipif(bool(ABSENT["ssh"]), reason=ABSENT["ssh"])
needs_adb = pytest.mark.skipif(bool(ABSENT["adb"]), reason=ABSENT["adb"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """``folder`` holds model.onnx, devices.toml, and a folder for each device."""

    folder: Path
    server: SshServer | None

    def records(self, logs: str) -> tuple[Record, ...]:
        content = read(self.folder / logs / folder_name(targets.load("native")) / FILE)
        assert content.damaged == ()
        return tuple(content.records)

    def left(self) -> list[Path]:
        """What a session should not leave on a device."""
        return [path for name in KINDS for part in ("sessions", "lock") for path in (self.folder / name / part).glob("*")]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """This machine three times: as itself, over a real sshd, and over the real adb client."""
    keep_caches(monkeypatch)
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model.onnx")
    lines = [entry("here", tmp_path)]
    server = None
    with ExitStack() as stack:
        if not ABSENT["ssh"]:
            server = stack.enter_context(ssh_server(tmp_path / "server"))
            lines.append(entry("board", tmp_path) + f'address = "board"\nssh_config = "{server.config}"\nlabels = ["far"]\n')
        if not ABSENT["adb"]:
            for key, value in stack.enter_context(adb_server(tmp_path / "home")).items():
                monkeypatch.setenv(key, value)
            phone = stack.enter_context(adb_phone(tmp_path / "stand-in"))
            lines.append(entry("phone", tmp_path) + f'address = "127.0.0.1"\nport = {phone.port}\nlabels = ["far"]\n')
        (tmp_path / "devices.toml").write_text("\n".join(lines))
        yield Desk(folder=tmp_path, server=server)


def entry(name: str, folder: Path) -> str:
    place = folder / name
    return f'[devices.{name}]\ntransport = "{KINDS[name]}"\ntarget = "native"\nfolder = "{place}"\nlock = "{place}/lock"\n'


def tune(command: Command, *words: object) -> tuple[dict[str, Any], str]:
    out, err = command("tune", "model.onnx", "--json", "--input-shape", "1,3,32,32", "--jobs", 2, *words)
    return fits(json.loads(out)), err


def check_log(records: tuple[Record, ...], trials: int) -> None:
    """Each default and each candidate once, beside what was measured again at the end."""
    assert len({(each.workload, each.choice) for each in records}) == WORKLOADS + trials, "none is lost, none is there twice"
    ours = [each for each in records if each.choice.template != metaschedule.NAME]  # which finds nothing to change at times
    assert {each.outcome for each in ours} == {"right"}
    assert {each.how for each in records} == {"measured"}


def reached(records: tuple[Record, ...]) -> list[Record]:
    """Those that went to a device: what MetaSchedule cannot change goes nowhere."""
    return [each for each in records if each.device or each.choice.template != metaschedule.NAME]


# --- devices ---------------------------------------------------------------------------------------------------------


@needs_ssh
@needs_adb
def test_devices_of_one_label_share_the_work(desk: Desk, command: Command) -> None:
    report, _ = tune(command, "--label", "far", "--trials", 8, "--tuning-logs", "logs")
    shares = {device["name"]: device["measurements"] for device in report["devices"]}
    assert set(shares) == {"board", "phone"} and min(shares.values()) > 0, shares
    assert all(device["cpu"] and device["lost"] is None for device in report["devices"])
    records = desk.records("logs")
    check_log(records, 8)
    assert Counter(record.device.partition(" (")[0] for record in reached(records)) == shares
    assert report["trials"] == 8
    tuned, _ = schedules(command, "--tuning-logs", "logs", "--input-shape", "1,3,32,32")
    assert tuned == {"tuned": WORKLOADS}
    assert not desk.left()


@pytest.mark.large
@pytest.mark.parametrize("name", ["here", pytest.param("board", marks=needs_ssh), pytest.param("phone", marks=needs_adb)])
def test_a_log_from_a_device_is_like_one_from_here(desk: Desk, command: Command, name: str) -> None:
    tune(command, "-d", name, "--trials", 4, "--tuning-logs", "there")
    tune(command, "--trials", 4, "--tuning-logs", "here")
    there, here = desk.records("there"), desk.records("here")
    check_log(there, 4)
    assert {record.setting for record in there} == {record.setting for record in here}
    assert {(r.workload, r.what) for r in there} == {(r.workload, r.what) for r in here}
    assert {r.choice for r in there if r.ratio == 1.0} == {r.choice for r in here if r.ratio == 1.0}, "the same defaults"
    assert all(record.device.startswith(f"{name} (") for record in reached(there)) and {record.device for record in here} == {""}
    tuned, _ = schedules(command, "--tuning-logs", "there", "--input-shape", "1,3,32,32")
    assert tuned == {"tuned": WORKLOADS}
    assert not desk.left()


@pytest.mark.large
@needs_ssh
@needs_adb
def test_a_device_that_dies_half_way_costs_its_batch(desk: Desk) -> None:
    assert desk.server is not None
    words = ["--label", "far", "--trials", "240", "--tuning-logs", "logs", "--json"]
    process = subprocess.Popen([*TUNE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert wait_for(lambda: any(record.device.startswith("board") for record in so_far(desk, "logs")), 200)
    desk.server.die()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    board, phone = fits(json.loads(out))["devices"]
    assert "board" in board["lost"] and phone["lost"] is None and board["measurements"] > 0
    assert "others take its work" in err and "given up; others go on" in err
    check_log(desk.records("logs"), 240)


@pytest.mark.large
@needs_ssh
def test_the_last_device_gone_is_an_error_and_the_same_command_continues(desk: Desk) -> None:
    assert desk.server is not None
    words = ["--tuning-logs", "logs", "-q"]
    many = ["-d", "board", "--trials", "1000"]
    process = subprocess.Popen([*TUNE, *many, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert wait_for(lambda: len(so_far(desk, "logs")) > WORKLOADS, 200)
    desk.server.die()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 4 and "no device is left" in err and "same command continues" in err
    before = desk.records("logs")
    done = subprocess.run([*TUNE, "-d", "here", "--trials", "30", *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert desk.records("logs")[: len(before)] == before
    check_log(desk.records("logs"), len({(r.workload, r.choice) for r in before}) - WORKLOADS + 30)


@pytest.mark.large
@needs_ssh
def test_a_tuner_that_is_killed_leaves_its_device_clean_and_continues(desk: Desk) -> None:
    words = ["-d", "board", "--trials", "12", "--tuning-logs", "logs", "-q"]
    for _ in range(2):
        known = len(so_far(desk, "logs"))
        process = subprocess.Popen([*TUNE, *words], start_new_session=True)
        assert wait_for(lambda: len(so_far(desk, "logs")) > max(known, WORKLOADS) + 2, 200)  # noqa: B023
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = desk.records("logs")
    assert subprocess.run([*TUNE, *words], timeout=300, capture_output=True).returncode == 0
    check_log(desk.records("logs"), len({(r.workload, r.choice) for r in before}) - WORKLOADS + 12)
    assert wait_for(lambda: not desk.left(), 60), desk.left()


def so_far(desk: Desk, logs: str) -> list[Record]:
    path = desk.folder / logs / folder_name(targets.load("native")) / FILE
    return list(read(path).records) if path.exists() else []


# --- what does not go together ---------------------------------------------------------------------------------------

FILE_OF_REFUSED = """
[devices.here]
transport = "local"
target = "native"
cores = { first = [0] }
[devices.pretend]
transport = "emulator"
target = "arm64"
[devices.other]
transport = "ssh"
address = "nowhere.invalid"
target = "arm64"
[devices.silent]
transport = "adb"
"""
TRACKER = ("--rpc-tracker", "h:1", "--rpc-key", "k")
REFUSED = {
    "an emulator": (["-d", "pretend"], 4, "device pretend is emulated.*--modelled"),
    "a model and a device": (["-d", "other", "--modelled", "-t", "arm64"], 2, "other is a real one"),
    "a model and a tracker": (["--modelled", "-t", "arm64", *TRACKER], 2, "--modelled or --rpc-tracker"),
    "two kinds": (["-d", "here", *TRACKER], 2, "--device and --rpc-tracker"),
    "no key": (["--rpc-tracker", "h:1"], 2, "belong together"), "no tracker": (["--rpc-key", "k"], 2, "belong together"),
    "no port": (["--rpc-tracker", "h", "--rpc-key", "k"], 2, "HOST:PORT"),
    "priority there": (["-d", "here", "--nice", "5"], 2, "--nice"),
    "cores of nothing": (["--cores", "0"], 2, "--cores needs --device"),
    "unknown cores": (["-d", "here", "--cores", "big"], 2, "set of cores of device here"),
    "different targets": (["-d", "here", "-d", "other"], 2, "different targets: here native, other arm64"),
    "no target": (["-d", "silent"], 2, "device silent has no target"),
    "an unknown device": (["-d", "her"], 2, "did you mean 'here'"),
    "an unknown label": (["--label", "far"], 2, "label 'far'"),
    "nobody there": (["-d", "other", "--trials", "1"], 4, "unknown host nowhere.invalid.*no device is left"),
    "no tracker there": (["--rpc-tracker", "127.0.0.1:1", "--rpc-key", "k"], 4, "no RPC tracker at 127.0.0.1:1"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "status", "why"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(
    words: list[str], status: int, why: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgevision.tune.lanes.AGAIN_S", (0.0,))
    save_model(tmp_path / "model.onnx")
    (tmp_path / "devices.toml").write_text(FILE_OF_REFUSED)
    _, err = command("tune", "model.onnx", "--input-shape", "1,3,32,32", *words, status=status)
    assert re.search(why, " ".join(err.split())), err
