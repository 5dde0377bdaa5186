"""A device that the OpenSSH client reaches: one connection a session, shared by all commands of it.

The user's configuration, agent and known_hosts hold. What is never up to them: host keys are checked strictly, and nothing is
asked on the terminal. A jump host is ssh's own -J.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgevision.errors import ToolchainError
from edgevision.measure.attended import attended, say_nothing
from edgevision.measure.keeper import Keeper
from edgevision.measure.line import CLOSED, NO_SPACE, Cause, first
from edgevision.measure.reached import Reached
from edgevision.measure.transport import LostDeviceError, Workspace

FOLDER = ".cache/edgevision"
"""In the home folder there."""

CONNECT_S = 10
LONGEST_SOCKET_FOLDER = 60
"""Characters: a socket's path has 107 at most (unix(7)), of which ssh takes some for itself."""

SETTLED = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", f"ConnectTimeout={CONNECT_S}", "ConnectionAttempts=1", "ServerAliveInterval=5",
    "ServerAliveCountMax=3", "ClearAllForwardings=yes", "ForwardAgent=no", "ForwardX11=no", "PermitLocalCommand=no",
    "RequestTTY=no", "ControlPersist=no", "LogLevel=ERROR",
)  # fmt: skip

CAUSES = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed", "host key changed",
     "if the device was set up anew, remove the old key with ssh-keygen -R and accept the new one with ssh, else find out why"),
    ("Host key verification failed|no matching host key|No .* host key is known", "host key unknown",
     "connect once with ssh, compare the key's fingerprint with the device's, and accept it"),
    ("Permission denied \\(([^)]*)\\)", "login refused ({0})",
     "add your public key there (ssh-copy-id), or name another user or identity"),
    ("Could not resolve hostname ([^:]*)", "unknown host {0}", "correct the address of its entry"),
    ("Connection refused", "connection refused", "see that sshd runs there and that the port is right"),
    ("Connection timed out|Operation timed out|timed out during banner", "no answer", "see that it is on and reachable"),
    ("No route to host|Network is unreachable", "not reachable", "see that it is on and reachable"),
    ("No space left", NO_SPACE, "make room on its disk, or name another folder in its entry"),
    ("Timeout, server .* not responding", "went silent", "see that it is on and reachable, then repeat"),
    ("Bad configuration option|(?:Can't|Cannot) open user config", "ssh configuration refused", "ssh says: see its ssh_config"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTransport(Reached):
    """Over the OpenSSH client."""

    address: str
    port: int = 0
    user: str = ""
    jump: str = ""
    identity: str = ""
    ssh_config: str = ""
    folder: str = FOLDER

    @contextmanager
    def open(self) -> Iterator[Workspace]:
        """Raises: LostDeviceError, ToolchainError."""
        if not shutil.which("ssh"):
            raise ToolchainError("ssh is not installed (Debian: apt-get install openssh-client)")
        beside = "/tmp" if len(tempfile.gettempdir()) > LONGEST_SOCKET_FOLDER else None
        with tempfile.TemporaryDirectory(prefix="edgevision-", dir=beside) as private:
            line = SshLine(folder=self.folder, options=self._options(f"{private}/s"), address=self.address)
            with self._connection(line), attended(line, self.site("ssh")) as session:
                yield session

    @contextmanager
    def _connection(self, line: SshLine) -> Iterator[None]:
        """The connection that all commands share, open until its standard input ends."""
        master = Keeper(line.words("echo ready; exec cat", "-M"))
        try:
            why = master.wait(CONNECT_S + self.terms.answer_s, 0, say_nothing)
            if why:
                late = Cause(what="no answer", then="see that it is on and reachable")
                cause = late if why == "silent" else line.explain(master.stderr)
                raise LostDeviceError(self.name, "connecting", cause.what, cause.then)
            yield
        finally:
            master.close(1.0)

    def _options(self, socket: str) -> tuple[str, ...]:
        options = ["-T", "-S", socket, *(word for each in SETTLED for word in ("-o", each))]
        if self.ssh_config:
            options += ["-F", str(Path(self.ssh_config).expanduser())]
        if self.identity:
            options += ["-i", str(Path(self.identity).expanduser()), "-o", "IdentitiesOnly=yes"]
        for option, value in (("-p", str(self.port or "")), ("-l", self.user), ("-J", self.jump)):
            if value:
                options += [option, value]
        return tuple(options)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshLine:
    """`edgevision.measure.line.Line` over the OpenSSH client."""

    folder: str
    options: tuple[str, ...]
    address: str

    def words(self, command: str, *more: str) -> Sequence[str]:
        """ssh that asks nobody: the one it starts for a jump host does not get BatchMode from it."""
        return ["env", "SSH_ASKPASS_REQUIRE=never", "ssh", *more, *self.options, "--", self.address, command]

    def sending(self, path: Path, there: str) -> None:
        return None

    def explain(self, stderr: str) -> Cause:
        cause = first(CAUSES, stderr)
        wire = r"mux_|closed by|reset by|Broken pipe|Shared connection"
        if cause.what == CLOSED and not first(((wire, "cut", ""),), stderr).then:
            return Cause(what=CLOSED, then="see that it is on and reachable, then repeat")
        return cause
