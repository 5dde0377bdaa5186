"""What is ssh's own: keys, host keys, jump hosts, one connection."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgevision.errors import ToolchainError
from edgevision.measure.ssh import SshLine, SshTransport
from edgevision.measure.transport import LostDeviceError
from tests.measure.boards import ABSENT, QUICK, wait_for
from tests.measure.ssh_server import SshServer, free_port, ssh_server

pytestmark = pytest.mark.skipif(bool(ABSENT["ssh"]), reason=ABSENT["ssh"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def there(server: SshServer, tmp_path: Path) -> SshTransport:
    folder = tmp_path / "there"
    return SshTransport(
        name="board", address="board", ssh_config=str(server.config), folder=str(folder), lock=str(folder / "lock"), terms=QUICK
    )


def cause(transport: SshTransport) -> str:
    with pytest.raises(LostDeviceError) as raised, transport.open():
        pass
    assert raised.value.doing == "connecting" and raised.value.exit_code == 4
    return raised.value.cause


def test_a_session_is_one_connection(server: SshServer, there: SshTransport, tmp_path: Path) -> None:
    log = server.config.parent / "log"
    before = log.read_text().count("Accepted publickey")
    with there.open() as workspace:
        workspace.push(server.config)
        assert [workspace.run(["echo", str(n)], timeout_s=20).stdout for n in range(3)] == ["0\n", "1\n", "2\n"]
    assert log.read_text().count("Accepted publickey") == before + 1
    assert wait_for(lambda: not server.connections(), 5), "the connection outlives its session"


def test_key_port_and_user_of_the_entry(server: SshServer, there: SshTransport, tmp_path: Path) -> None:
    """With a configuration that says nothing of them."""
    plain = tmp_path / "plain"
    plain.write_text(f"UserKnownHostsFile {server.known_hosts}\nGlobalKnownHostsFile /dev/null\n")
    whole = replace(
        there, ssh_config=str(plain), address="127.0.0.1", port=server.port, identity=str(server.config.parent / "user")
    )
    with whole.open() as workspace:
        assert workspace.run(["true"], timeout_s=20).status == 0
    assert cause(replace(whole, identity=str(server.config.parent / "host"))).startswith("login refused (publickey")
    assert cause(replace(whole, port=free_port())) == "connection refused"
    assert cause(replace(whole, address="no-such-host.invalid")) == "unknown host no-such-host.invalid"


def test_through_another_host(server: SshServer, there: SshTransport) -> None:
    with replace(there, jump="jumper").open() as workspace:
        assert workspace.run(["echo", "far"], timeout_s=20).stdout == "far\n"
    assert cause(replace(there, jump="nowhere.invalid")) != ""


def test_a_host_key_that_is_unknown_or_changed_is_refused(server: SshServer, there: SshTransport, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    known = server.known_hosts.read_text()
    try:
        server.known_hosts.write_text("")
        assert cause(there) == "host key unknown"
        assert server.known_hosts.read_text() == "", "nothing is accepted silently"
        server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {(tmp_path / 'other.pub').read_text()}")
        assert cause(there) == "host key changed"
    finally:
        server.known_hosts.write_text(known)


def test_no_configuration_can_switch_the_check_off(server: SshServer, there: SshTransport, tmp_path: Path) -> None:
    careless = tmp_path / "careless"
    text = server.config.read_text().replace(str(server.known_hosts), "/dev/null")
    careless.write_text(f"StrictHostKeyChecking no\n{text}")
    assert cause(replace(there, ssh_config=str(careless))) == "host key unknown"


def test_a_server_whose_side_vanishes(server: SshServer, there: SshTransport) -> None:
    start = time.monotonic()
    with pytest.raises(LostDeviceError) as raised, there.open() as workspace:
        server.cut()
        while True:
            workspace.run(["true"], timeout_s=20)
    assert raised.value.cause == "connection closed" and time.monotonic() - start < 20
    folder = Path(there.folder)
    assert wait_for(lambda: not [*(folder / "sessions").iterdir(), *(folder / "lock").iterdir()], 8)


def test_without_a_client(there: SshTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolchainError, match="apt-get install openssh-client"), there.open():
        pass


def test_an_address_is_never_an_option() -> None:
    words = SshLine(folder="", options=("-S", "s"), address="-oProxyCommand=x").words("true")
    assert words[-3:] == ["--", "-oProxyCommand=x", "true"]
