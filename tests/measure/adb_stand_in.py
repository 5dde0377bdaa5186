"""A phone for the real adb client: speaks adbd's side of the adb protocol over TCP, its shell and disk are this machine's.

Services: shell with v2 and raw (exit status, separate streams), sync (push, pull, stat). Sources: AOSP packages/modules/adb,
protocol.txt, SYNC.TXT and shell_protocol.h.

    python -m tests.measure.adb_stand_in PORT_FILE [SHELL]
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

VERSION = 0x01000001  # since this one no checksums
MOST = 1 << 18
FEATURES = os.environ.get("STAND_IN_FEATURES", "shell_v2,cmd")
BANNER = f"device::ro.product.name=stand_in;ro.product.model=StandIn;ro.product.device=stand_in;features={FEATURES}".encode()
TOKEN, SIGNATURE = 1, 2
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


@dataclass(slots=True)
class Stream:
    """One service. A write waits until the client has acknowledged the one before."""

    phone: Phone
    ours: int
    theirs: int
    received: SimpleQueue[bytes] = field(default_factory=SimpleQueue)
    ready: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))
    rest: bytes = b""

    def write(self, content: bytes) -> None:
        for at in range(0, len(content), MOST // 2):
            self.ready.acquire()
            self.phone.send(b"WRTE", self.ours, self.theirs, content[at : at + MOST // 2])

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes; fewer at the end."""
        while len(self.rest) < size:
            chunk = self.received.get()
            if not chunk:
                break
            self.rest += chunk
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def close(self) -> None:
        self.phone.send(b"CLSE", self.ours, self.theirs)


class Phone:
    """One connection of a client (its adb server)."""

    def __init__(self, connection: socket.socket, shell: Sequence[str]) -> None:
        self.connection, self.shell = connection, shell
        self.streams: dict[int, Stream] = {}
        self.sending = threading.Lock()

    def serve(self) -> None:
        with suppress(ConnectionError, OSError):
            for command, first, second, content in self._messages():
                self._take(command, first, second, content)
        for stream in self.streams.values():
            stream.received.put(b"")

    def send(self, command: bytes, first: int, second: int, content: bytes = b"") -> None:
        number = int.from_bytes(command, "little")
        head = struct.pack("<6I", number, first, second, len(content), 0, number ^ 0xFFFFFFFF)
        with self.sending, suppress(OSError):
            self.connection.sendall(head + content)

    def _messages(self) -> Iterator[tuple[bytes, int, int, bytes]]:
        with self.connection.makefile("rb") as file:
            while head := file.read(24):
                number, first, second, size, _, _ = struct.unpack("<6I", head)
                yield number.to_bytes(4, "little"), first, second, file.read(size)

    def _take(self, command: bytes, first: int, second: int, content: bytes) -> None:
        if command in (b"CNXN", b"AUTH") and os.environ.get("STAND_IN_TRUSTS") == "nobody":
            if command == b"CNXN" or first == SIGNATURE:
                self.send(b"AUTH", TOKEN, 0, os.urandom(20))
        elif command == b"CNXN":
            self.send(b"CNXN", VERSION, MOST, BANNER)
        elif command == b"OPEN":
            stream = Stream(phone=self, ours=len(self.streams) + 1, theirs=first)
            self.streams[stream.ours] = stream
            threading.Thread(target=self._service, args=(stream, content.rstrip(b"\0").decode()), daemon=True).start()
        elif second in self.streams:
            stream = self.streams[second]
            if command == b"OKAY":
                stream.ready.release()
            elif command == b"WRTE":
                stream.received.put(content)
                self.send(b"OKAY", stream.ours, stream.theirs)
            elif command == b"CLSE":
                stream.received.put(b"")

    def _service(self, stream: Stream, name: str) -> None:
        service, _, argument = name.partition(":")
        if service != "sync" and not {"shell", "v2", "raw"} <= set(service.split(",")):
            self.send(b"CLSE", 0, stream.theirs)
            return
        self.send(b"OKAY", stream.ours, stream.theirs)
        if service == "sync":
            sync(stream)
        else:
            run(stream, [*self.shell, "-c", argument])
        stream.close()


def run(stream: Stream, words: Sequence[str]) -> None:
    """A command; like adbd, only its input ends when the client goes away."""
    child = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    assert child.stderr is not None
    threading.Thread(target=feed, args=(stream, child), daemon=True).start()
    pumps = [
        threading.Thread(target=pump, args=(stream, number, pipe), daemon=True)
        for number, pipe in ((STDOUT, child.stdout), (STDERR, child.stderr))
    ]
    for each in pumps:
        each.start()
    for each in pumps:
        each.join()
    status = child.wait()
    stream.write(struct.pack("<BIB", EXIT, 1, status if status >= 0 else 128 - status))


def feed(stream: Stream, child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    while head := stream.read(5):
        kind, size = struct.unpack("<BI", head)
        content = stream.read(size)
        with suppress(OSError, ValueError):
            if kind == STDIN:
                child.stdin.write(content)
                child.stdin.flush()
            elif kind == CLOSE_STDIN:
                child.stdin.close()
    with suppress(OSError):
        child.stdin.close()


def pump(stream: Stream, number: int, pipe: object) -> None:
    while chunk := os.read(pipe.fileno(), 1 << 16):  # type: ignore[attr-defined]
        stream.write(struct.pack("<BI", number, len(chunk)) + chunk)


def sync(stream: Stream) -> None:
    """Requests of a sync service until QUIT: four letters, a length, a path."""
    while len(head := stream.read(8)) == 8:
        request, size = head[:4], struct.unpack("<I", head[4:])[0]
        if request == b"QUIT":
            return
        path = stream.read(size).decode()
        if request == b"STAT":
            found = Path(path).stat() if Path(path).exists() else None
            facts = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
            stream.write(b"STAT" + struct.pack("<3I", *facts))
        elif request == b"SEND":
            take(stream, Path(path.rpartition(",")[0]))
        elif request == b"RECV":
            give(stream, Path(path))


def take(stream: Stream, path: Path) -> None:
    complaint = b""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    except OSError as error:
        path, complaint = Path(os.devnull), f"couldn't create file: {error.strerror}".encode()
    with suppress(OSError), path.open("wb") as file:
        while (head := stream.read(8))[:4] == b"DATA":
            content = stream.read(struct.unpack("<I", head[4:])[0])
            try:
                file.write(content)
                file.flush()
            except OSError as error:
                complaint = complaint or f"couldn't write: {error.strerror}".encode()
    stream.write(b"FAIL" + struct.pack("<I", len(complaint)) + complaint if complaint else b"OKAY" + bytes(4))


def give(stream: Stream, path: Path) -> None:
    content = path.read_bytes()
    for at in range(0, len(content), 1 << 16):
        chunk = content[at : at + (1 << 16)]
        stream.write(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
    stream.write(b"DONE" + bytes(4))


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        part = Path(f"{sys.argv[1]}.part")
        part.write_text(str(server.getsockname()[1]))
        part.rename(sys.argv[1])
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Phone(connection, sys.argv[2:] or ["sh"]).serve, daemon=True).start()


if __name__ == "__main__":
    main()
