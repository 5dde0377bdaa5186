"""What is adb's own: several phones, one switched off, one that was never there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgevision.errors import ToolchainError
from edgevision.measure.adb import AdbLine, AdbTransport
from edgevision.measure.transport import LostDeviceError
from tests.measure.adb_phone import Phone, adb_phone, adb_server
from tests.measure.boards import ABSENT, QUICK, wait_for
from tests.measure.ssh_server import free_port

pytestmark = pytest.mark.skipif(bool(ABSENT["adb"]), reason=ABSENT["adb"])


@pytest.fixture(scope="module")
def phones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Phone, Phone]]:
    folder = tmp_path_factory.mktemp("phones")
    with (
        pytest.MonkeyPatch.context() as patch,
        adb_server(folder / "home") as variables,
        adb_phone(folder / "one") as one,
        adb_phone(folder / "two") as two,
    ):
        for key, value in variables.items():
            patch.setenv(key, value)
        yield one, two


def reached(phone: Phone, folder: Path, name: str = "phone") -> AdbTransport:
    return AdbTransport(name=name, address="127.0.0.1", port=phone.port, folder=str(folder), terms=QUICK)


def test_two_phones_at_the_same_time(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    """Each waits for the other: one after the other they would wait for ever."""
    meeting = threading.Barrier(2, timeout=30)
    printed = {}

    def use(phone: Phone, name: str) -> None:
        with reached(phone, tmp_path / name, name).open() as workspace:
            meeting.wait()
            printed[name] = workspace.run(["sh", "-c", "pwd"], timeout_s=20).stdout

    threads = [threading.Thread(target=use, args=each) for each in zip(phones, ("one", "two"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {name: str(tmp_path / name) in folder for name, folder in printed.items()} == {"one": True, "two": True}


def test_by_serial_number(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    with reached(phones[0], tmp_path / "one").open():
        pass
    serial = f"127.0.0.1:{phones[0].port}"
    with AdbTransport(name="phone", serial=serial, folder=str(tmp_path / "one"), terms=QUICK).open() as workspace:
        assert workspace.run(["true"], timeout_s=20).status == 0
    gone = AdbTransport(name="phone", serial="R5CTnone", terms=QUICK)
    with pytest.raises(LostDeviceError, match="plug it in") as raised, gone.open():
        pass
    assert raised.value.cause == "not attached"


def test_more_than_one_and_none_named(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    for phone in phones:
        with reached(phone, tmp_path / str(phone.port)).open():
            pass
    with pytest.raises(LostDeviceError) as raised, AdbTransport(name="phone", terms=QUICK).open():
        pass
    assert raised.value.cause == "more than one device is attached"


def test_nothing_listens(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    gone = AdbTransport(name="phone", address="127.0.0.1", port=free_port(), terms=QUICK)
    with pytest.raises(LostDeviceError) as raised, gone.open():
        pass
    assert raised.value.cause == "connection refused"


@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("STAND_IN_TRUSTS", "nobody", "this computer is not authorized"),
        ("STAND_IN_FEATURES", "cmd", "its Android is too old"),
    ],
)
def test_a_phone_that_is_no_use(variable: str, value: str, cause: str, phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    with (
        adb_phone(tmp_path / "phone", {variable: value}) as phone,
        pytest.raises(LostDeviceError) as raised,
        reached(phone, tmp_path / "folder").open(),
    ):
        pass
    assert raised.value.cause == cause


def test_a_phone_that_is_switched_off(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    folder = tmp_path / "there"
    with adb_phone(tmp_path / "third") as third:
        with pytest.raises(LostDeviceError) as raised, reached(third, folder).open() as workspace:
            third.cut()
            while True:
                workspace.run(["true"], timeout_s=20)
        assert raised.value.cause in ("connection closed", "offline", "not attached")
    assert wait_for(lambda: not [*(folder / "sessions").iterdir(), *(folder / "lock").iterdir()], 8)


def test_without_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolchainError, match="apt-get install adb"), AdbTransport(name="phone").open():
        pass


def test_words() -> None:
    assert AdbLine(folder="", serial="a").words("x") == ["adb", "-s", "a", "shell", "-T", "x"]
    assert AdbLine(folder="", serial="").sending(Path("f"), "t") == ["adb", "push", "f", "t"]
    assert os.environ.get("ANDROID_ADB_SERVER_PORT") != "5037"
