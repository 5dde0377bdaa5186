"""One suite for every way to reach a device: files, commands, the lock, and what is left behind."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgevision.measure.transport import LostDeviceError
from tests.measure.boards import KINDS, QUICK, Board, board, wait_for


@pytest.fixture(scope="module", params=KINDS)
def device(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with board(request.param, tmp_path_factory.mktemp("board")) as made:
        yield made


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_commands_have_arguments_variables_input_and_a_status(device: Board, tmp_path: Path) -> None:
    with device.transport(QUICK).open() as workspace:
        program = workspace.push(script(tmp_path / "p", 'echo "$1|$V"; cat; echo oh >&2; exit 3'))
        ran = workspace.run([program, "a b'\"$c"], timeout_s=20, variables={"V": "x 'y"}, text="line\nline without end")
        assert (ran.status, ran.stdout, ran.stderr) == (3, "a b'\"$c|x 'y\nline\nline without end", "oh\n")
        assert workspace.run(["sh", "-c", "kill -9 $$"], timeout_s=20).status == 137
        assert workspace.info.cores >= 1 and workspace.info.cpu
    assert device.is_clean()


def test_output_of_any_bytes_arrives_whole(device: Board) -> None:
    with device.transport(QUICK).open() as workspace:
        ran = workspace.run(["sh", "-c", "seq 1 300000; printf '\\r\\n\\004\\032~.'"], timeout_s=30)
    assert ran.stdout == "".join(f"{n}\n" for n in range(1, 300001)) + "\r\n\x04\x1a~."


def test_nothing_is_sent_twice_and_a_spoiled_file_is_sent_again(device: Board, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * 2000)
    with device.transport(QUICK).open() as workspace:
        there = Path(workspace.push(file))
        assert there.read_bytes() == file.read_bytes()
        sent = there.stat().st_ino
    with device.transport(QUICK).open() as workspace:
        assert workspace.push(file) == str(there) and there.stat().st_ino == sent
    with device.transport(QUICK).open() as workspace:
        there.write_bytes(bytes(there.stat().st_size))
        workspace.push(file)
        assert there.read_bytes() == file.read_bytes()


def test_files_come_back(device: Board, tmp_path: Path) -> None:
    with device.transport(QUICK).open() as workspace:
        workspace.run(["sh", "-c", "seq 1 100000 >out"], timeout_s=20)
        workspace.pull("out", tmp_path / "back")
        assert (tmp_path / "back").read_text() == "".join(f"{n}\n" for n in range(1, 100001))
        with pytest.raises(LostDeviceError, match="no such file while fetching gone"):
            workspace.pull("gone", tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_the_store_is_bounded_and_keeps_what_is_in_use(device: Board, tmp_path: Path) -> None:
    files = [tmp_path / str(n) for n in range(4)]
    for n, file in enumerate(files):
        file.write_bytes(bytes([n]) * 200_000)
    terms = replace(QUICK, store_bytes=450_000)
    with device.transport(terms).open() as workspace:
        first = [Path(workspace.push(file)) for file in files[:3]]
        assert all(path.exists() for path in first), "too much, but all of it in use"
    with device.transport(terms).open() as workspace:
        last = Path(workspace.push(files[3]))
    assert last.exists() and sum(path.stat().st_size for path in last.parent.iterdir()) <= 450_000


def test_a_command_that_hangs_is_killed_with_what_it_started(device: Board) -> None:
    with device.transport(QUICK).open() as workspace:
        start = time.monotonic()
        with pytest.raises(LostDeviceError, match=r"timed out after 1 s while running sh") as raised:
            workspace.run(["sh", "-c", "sleep 301 & setsid sleep 302 & sleep 303"], timeout_s=1)
        assert raised.value.cause == "timed out after 1 s" and raised.value.exit_code == 4
        assert time.monotonic() - start < 8
        assert wait_for(lambda: not device.processes("sleep30"), 3) and not device.processes("sleep\x0030")
        assert workspace.run(["echo", "still there"], timeout_s=20).stdout == "still there\n"
    assert device.is_clean()


def test_a_session_ends_its_processes(device: Board) -> None:
    with device.transport(QUICK).open() as workspace:
        workspace.run(["sh", "-c", "setsid sleep 304 >/dev/null 2>&1 & "], timeout_s=20)
        assert device.processes("304")
    assert device.is_clean()


def test_the_second_waits_and_is_told_for_whom(device: Board) -> None:
    told: list[str] = []
    order: list[str] = []

    def second() -> None:
        with replace(device.transport(QUICK), told=told.append).open():  # type: ignore[type-var]
            order.append("second")

    with device.transport(QUICK).open():
        waiting = threading.Thread(target=second)
        waiting.start()
        assert wait_for(lambda: bool(told), 10)
        order.append("first")
    waiting.join(20)
    assert order == ["first", "second"]
    assert len(told) == 1 and " is in use by " in told[0] and "process " in told[0]
    assert device.is_clean()


def test_many_at_once_are_one_at_a_time(tmp_path: Path) -> None:
    """Each makes the same folder and removes it: two at a time would fail."""
    ran: list[int] = []
    command = ["sh", "-c", f"mkdir {tmp_path}/mine && sleep 0.1 && rmdir {tmp_path}/mine"]

    def use() -> None:
        with device.transport(QUICK).open() as workspace:
            ran.append(workspace.run(command, timeout_s=20).status)

    with board("local", tmp_path) as device:
        threads = [threading.Thread(target=use) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert ran == [0] * 6


def test_waiting_has_an_end(device: Board) -> None:
    with (
        device.transport(QUICK).open(),
        pytest.raises(LostDeviceError, match=r"in use by .*@.* while waiting for its lock"),
        device.transport(replace(QUICK, lock_s=1.0)).open(),
    ):
        pass
    assert device.is_clean()


def test_the_lock_of_one_who_is_gone_is_taken_over(device: Board) -> None:
    (device.folder / "lock").mkdir(parents=True, exist_ok=True)
    (device.folder / "lock" / "0123456789abcdef").write_text("1 somebody of before the restart\n")
    (device.folder / "sessions" / "0123456789abcdef").mkdir(parents=True)
    with device.transport(replace(QUICK, lock_s=1.0)).open():
        pass
    assert device.is_clean(), device.left()


def test_a_session_whose_keeper_is_killed_there_is_over(device: Board) -> None:
    with device.transport(QUICK).open() as workspace:
        assert wait_for(lambda: bool(device.processes("\0watch\0")), 5)
        assert device.kill("\0hold\0")
        with pytest.raises(LostDeviceError, match="connection closed"):
            while True:
                workspace.run(["true"], timeout_s=20)
    assert device.is_clean(), device.left()


def test_a_session_that_ends_in_a_command_is_over_and_kills_nothing_by_name(device: Board) -> None:
    """What the end of a session kills did not run out of memory."""
    with device.transport(QUICK).open() as workspace:
        threading.Timer(0.7, lambda: device.kill("\0hold\0")).start()
        with pytest.raises(LostDeviceError, match=r"connection closed|not attached"):
            workspace.run(["sleep", "312"], timeout_s=20)
    assert device.is_clean(), device.left()


def test_a_killed_command_shell_is_noticed(device: Board) -> None:
    with device.transport(QUICK).open() as workspace:
        threading.Timer(0.7, lambda: device.kill("\0run\0")).start()
        with pytest.raises(LostDeviceError, match=r"connection closed|not attached"):
            workspace.run(["sleep", "305"], timeout_s=20)
    assert device.is_clean(), device.left()


def test_a_folder_that_cannot_be_made_is_named(device: Board, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "folder"
    folder = folder if device.wire is None else str(folder)  # type: ignore[assignment]
    elsewhere = replace(device.transport(QUICK), folder=folder, lock=str(tmp_path / "lock"))  # type: ignore[type-var]
    told = r"no folder .*/file/folder while connecting; name another one, .*Not a directory"
    with pytest.raises(LostDeviceError, match=told), elsewhere.open():
        pass
