"""An OpenSSH server on loopback, for whoever runs the tests, with keys, known hosts and a configuration of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshServer:
    """``config`` is what `ssh -F` takes; it calls the server "board", and "jumper" a way to it."""

    process: subprocess.Popen[bytes]
    port: int
    config: Path
    known_hosts: Path

    def connections(self) -> list[int]:
        """The server's processes, one or two a connection."""
        return descendants(self.process.pid)

    def cut(self) -> None:
        """End every connection as a pulled cable and a reboot do: the server's side vanishes, its commands stay."""
        self._end(self.connections())

    def die(self) -> None:
        """The same, and nobody can connect any more. What the listener leaves behind belongs to nobody that could be asked."""
        connections = self.connections()
        self.process.kill()
        self._end(connections)

    @staticmethod
    def _end(connections: Iterable[int]) -> None:
        for pid in connections:
            if "sshd" in command_line(pid):
                try_kill(pid)


@contextmanager
def ssh_server(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[SshServer]:
    """``environment``: of commands there; a PATH makes it a device of other programs."""
    assert SSHD is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    server = folder / "sshd_config"
    # bash does not read ~/.bashrc below the second level.
    variables = "".join(f' "{key}={value}"' for key, value in {"SHLVL": "2", **(environment or {})}.items())
    server.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nMaxStartups 100\nSetEnv{variables}\n"
    )
    config = folder / "ssh_config"
    config.write_text(
        f"Host board jumper\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentityFile {folder}/user\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
    )
    process = subprocess.Popen([SSHD, "-D", "-E", str(folder / "log"), "-f", str(server)])
    try:
        await_port(port)
        yield SshServer(process=process, port=port, config=config, known_hosts=known_hosts)
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            try_kill(pid)
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens at {port}"
            time.sleep(0.02)
        else:
            return


def descendants(pid: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    ]
    return [each for child in children for each in (child, *descendants(child))]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def try_kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
