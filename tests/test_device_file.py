"""The file that lists devices: what it may say, and how it is told what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgevision import device_file, devices
from edgevision.device_file import DeviceEntry, DeviceFileError, added, find, read
from edgevision.errors import EdgevisionError, InputError, UnknownNameError
from edgevision.measure.adb import AdbTransport
from edgevision.measure.emulated import EmulatedTransport
from edgevision.measure.local_transport import LocalTransport
from edgevision.measure.ssh import SshTransport

WHOLE = """
[devices.pi5]
transport = "ssh"
address = "pi5.local"
port = 2222
user = "pi"
jump = "gate"
identity = "~/.ssh/pi"
ssh_config = "config"
cores = { big = [2, 3], all = [0, 1, 2, 3] }
labels = ["board", "arm"]
environment = { OMP_NUM_THREADS = "1" }
folder = "/mnt/edgevision"
lock = "/run/edgevision"
target = "arm64"

[devices.phone]
transport = "adb"
serial = "R5CT"
labels = ["arm"]

[devices.pretend]
transport = "emulator"
target = "arm64"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in the working folder, and none elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(device_file.VARIABLE, raising=False)
    path = tmp_path / "devices.toml"
    path.write_text(WHOLE)
    return path


def test_every_field_is_read(file: Path) -> None:
    pi, phone, pretend = read(file)
    assert pi == DeviceEntry(
        name="pi5", transport="ssh", address="pi5.local", port=2222, user="pi", jump="gate", identity="~/.ssh/pi",
        ssh_config="config", cores={"big": (2, 3), "all": (0, 1, 2, 3)}, labels=("board", "arm"),
        environment={"OMP_NUM_THREADS": "1"}, folder="/mnt/edgevision", lock="/run/edgevision", target="arm64",
    )  # fmt: skip
    assert (phone.serial, pretend.target) == ("R5CT", "arm64")


def test_each_transport_is_made(file: Path) -> None:
    kinds = {each.name: type(devices.load(each.name)) for each in devices.entries()}
    assert kinds == {"local": LocalTransport, "pi5": SshTransport, "phone": AdbTransport, "pretend": EmulatedTransport}
    pi = devices.load("pi5")
    assert isinstance(pi, SshTransport) and pi.how == "measured"
    assert (pi.jump, pi.folder, pi.cores["big"]) == ("gate", "/mnt/edgevision", (2, 3))
    assert devices.load("pretend").how == "emulated"


def test_where_it_is_looked_for(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, home = tmp_path / "other.toml", tmp_path / "config" / "edgevision" / "devices.toml"
    other.write_text("")
    home.parent.mkdir(parents=True)
    home.write_text("")
    assert find() == Path("devices.toml")
    monkeypatch.setenv(device_file.VARIABLE, str(other))
    assert find() == other and find(home) == home
    monkeypatch.delenv(device_file.VARIABLE)
    file.unlink()
    assert find() == home
    home.unlink()
    assert find() is None and [each.name for each in devices.entries()] == ["local"]


@pytest.mark.parametrize("named", ["option", "variable"])
def test_a_file_that_was_named_must_be_there(named: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device_file.VARIABLE, "gone.toml")
    with pytest.raises(DeviceFileError, match=r"gone.toml: no such file.*; `edgevision devices add` writes one"):
        find(Path("gone.toml") if named == "option" else None)


SSH = '[devices.a]\ntransport = "ssh"\naddress = "x"\n'
WRONG = {
    "no TOML": ("[devices.a", "cannot be read as TOML"),
    "twice": ('[devices.a]\ntransport = "local"\n[devices.a]\ntransport = "local"\n', r"twice.*line 3.*a name that stands"),
    "other table": ('[device.a]\ntransport = "local"\n', "unknown table in .*devices.toml 'device'; did you mean 'devices'"),
    "no table": ("devices = 3\n", "must be tables"),
    "no entry": ("devices.a = 3\n", "devices.a: must be a table"),
    "unknown key": ('[devices.a]\ntransport = "ssh"\nadress = "x"\n', "field of devices.a .* 'adress'; did you mean 'address'"),
    "no transport": ('[devices.a]\naddress = "x"\n', "devices.a: field 'transport' is missing"),
    "unknown transport": ('[devices.a]\ntransport = "telnet"\n', "unknown transport of devices.a"),
    "text for a number": (SSH + 'port = "22"\n', "'port' must be a whole number, not '22'"),
    "truth for a number": (SSH + 'port = true\n', "'port' must be a whole number"),
    "port": (SSH + 'port = 65536\n', "'port' must be 1 to 65535"),
    "number for text": ('[devices.a]\ntransport = "ssh"\naddress = 5\n', "'address' must be text, not 5"),
    "cores": ('[devices.a]\ntransport = "local"\ncores = { big = 3 }\n', "'cores' must be a table of lists of core numbers"),
    "negative core": ('[devices.a]\ntransport = "local"\ncores = { big = [-1] }\n', "'cores' must be a table"),
    "labels": ('[devices.a]\ntransport = "local"\nlabels = "arm"\n', "'labels' must be a list of texts"),
    "environment": ('[devices.a]\ntransport = "local"\nenvironment = { A = 1 }\n', "'environment' must be a table of texts"),
    "no address": ('[devices.a]\ntransport = "ssh"\n', "transport 'ssh' needs 'address'"),
    "no target": ('[devices.a]\ntransport = "emulator"\n', "transport 'emulator' needs 'target'"),
    "foreign": ('[devices.a]\ntransport = "adb"\njump = "x"\n', "'jump' has no meaning for transport 'adb'"),
    "both": ('[devices.a]\ntransport = "adb"\naddress = "x"\nserial = "y"\n', "exclude each other"),
    "an option": ('[devices.a]\ntransport = "ssh"\naddress = "-oProxyCommand=x"\n', "'address' must neither begin with '-'"),
    "name": ('[devices."a b"]\ntransport = "local"\n', "a name is made of"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(text: str, told: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=told) as raised:
        read(file)
    assert "devices.toml" in str(raised.value) and raised.value.exit_code == 2


def test_an_added_entry_is_read_back_and_the_rest_stays(file: Path) -> None:
    entry = DeviceEntry(
        name="board.2", transport="ssh", address="10.0.0.2", user='o"brien', labels=("a", "b"), cores={"big": (1,)},
        environment={"A": "b\\c"},
    )  # fmt: skip
    text = added(file, entry)
    assert text.startswith(WHOLE)
    device_file.write(file, text)
    assert read(file)[-1] == entry
    with pytest.raises(DeviceFileError, match=r"devices.board.2: is there already"):
        added(file, entry)


def test_unknown_names_have_neighbours(file: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown device 'pi'; did you mean 'pi5'"):
        devices.load("pi")
    with pytest.raises(UnknownNameError, match="unknown label 'boards'; did you mean 'board'"):
        devices.chosen((), ("boards",))


def test_labels_and_names_choose_each_device_once(file: Path) -> None:
    assert [each.name for each in devices.chosen(("phone", "local"), ("arm",))] == ["phone", "local", "pi5"]


def test_cores_by_set_and_by_number(file: Path) -> None:
    pi = devices.entry("pi5")
    assert devices.cores(pi, "big") == (2, 3) and devices.cores(pi, "0, 2") == (0, 2)
    with pytest.raises(UnknownNameError, match="unknown set of cores of device pi5 'bug'; did you mean 'big'"):
        devices.cores(pi, "bug")
    with pytest.raises(InputError, match="device phone names no sets of cores"):
        devices.cores(devices.entry("phone"), "big")


def test_an_emulator_needs_a_target_that_is_emulated(file: Path) -> None:
    file.write_text('[devices.a]\ntransport = "emulator"\ntarget = "x86_64"\n')
    with pytest.raises(InputError, match="target x86_64 runs on this machine"):
        devices.load("a")


def test_one_device_that_fails_costs_its_own_result(file: Path) -> None:
    def work(device: DeviceEntry) -> str:
        if device.name == "phone":
            raise InputError("gone")
        return device.name

    local, pi, phone, pretend = devices.each(devices.entries(), work)
    assert (local, pi, pretend) == ("local", "pi5", "pretend") and isinstance(phone, EdgevisionError)


def test_a_bug_keeps_its_traceback(file: Path) -> None:
    def work(device: DeviceEntry) -> None:
        raise KeyError(device.name)

    with pytest.raises(KeyError):
        devices.each(devices.entries(), work)
